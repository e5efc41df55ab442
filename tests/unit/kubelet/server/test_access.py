"""Who may ask a node agent what: by certificates and tokens, as the API server knows their rights."""

from __future__ import annotations

from typing import Any

import pytest

from apiclient.serving import reviews
from apiclient.serving.users import bearer_token, of_certificate
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import TOKENREVIEWS, Resource
from kubelet.server.access import Access
from kubelet.server.attributes import subresources
from tests.support.clock import ManualClock


def certificate(name: str, *groups: str) -> dict[str, Any]:
    return {"subject": ((("commonName", name),), *((("organizationName", group),) for group in groups))}


PROMETHEUS = "system:serviceaccount:monitoring:prometheus"


class Reviewer:
    """An API server that knows one token, and some rights to subresources of nodes."""

    def __init__(self, *rights: tuple[str, str, str]) -> None:
        self.rights = set(rights)
        self.asked: list[Object] = []
        self.error: ApiError | None = None

    async def create(self, resource: Resource, review: Object) -> Object:
        self.asked.append(review["spec"])
        if self.error is not None:
            raise self.error
        spec = review["spec"]
        if resource is TOKENREVIEWS:
            if spec["token"] != "good":
                return {**review, "status": {"user": {}, "error": "invalid bearer token"}}
            user = {"username": PROMETHEUS, "uid": "u", "groups": ["system:authenticated"], "extra": {"k": ["v"]}}
            return {**review, "status": {"authenticated": True, "user": user}}
        about = spec["resourceAttributes"]
        assert (about["resource"], about["name"]) == ("nodes", "node-1")
        allowed = (spec["user"], about["verb"], about["subresource"]) in self.rights
        return {**review, "status": {"allowed": allowed}}


def entrance(reviewer: Reviewer | None, clock: ManualClock | None = None) -> Access:
    return Access("node-1", reviewer, clock or ManualClock())  # type: ignore[arg-type]


async def refused(door: Access, *what: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as raised:
        await door.admit(*what)
    return raised.value.code, raised.value.message


async def test_masters_get_in_without_being_asked_about() -> None:
    reviewer = Reviewer()
    user = await entrance(reviewer).admit(certificate("admin", "system:masters"), "", "POST", "/exec/a/b/c")
    assert user.name == "admin" and not reviewer.asked


async def test_nobody_gets_in_without_a_name() -> None:
    door = entrance(Reviewer())
    assert await refused(door, None, "", "GET", "/healthz") == (401, "Unauthorized")
    assert await refused(door, None, "Bearer bad", "GET", "/healthz") == (401, "Unauthorized")
    assert await refused(door, None, "Basic good", "GET", "/healthz") == (401, "Unauthorized")


async def test_a_token_opens_what_its_owner_may() -> None:
    reviewer = Reviewer((PROMETHEUS, "get", "metrics"))
    door = entrance(reviewer)
    assert (await door.admit(None, "Bearer good", "GET", "/metrics/cadvisor")).name == PROMETHEUS
    code, message = await refused(door, None, "Bearer good", "POST", "/run/{namespace}/{pod}/{container}")
    assert code == 403
    assert message == f"Forbidden (user={PROMETHEUS}, verb=create, resource=nodes, subresource(s)=[proxy])"
    assert reviewer.asked[-1]["extra"] == {"k": ["v"]} and reviewer.asked[-1]["uid"] == "u"


async def test_certificates_of_others_than_masters_are_asked_about() -> None:
    reviewer = Reviewer(("scraper", "get", "stats"))
    door = entrance(reviewer)
    await door.admit(certificate("scraper", "tools"), "", "GET", "/stats/summary")
    assert reviewer.asked[0]["groups"] == ["tools", "system:authenticated"]
    assert (await refused(door, certificate("system:node:node-2", "system:nodes"), "", "GET", "/pods"))[0] == 403


@pytest.mark.parametrize("right", ["pods", "proxy"])
async def test_a_finer_right_or_the_coarse_one_is_enough(right: str) -> None:
    door = entrance(Reviewer(("reader", "get", right)))
    await door.admit(certificate("reader"), "", "GET", "/pods")


async def test_answers_are_remembered_for_a_while() -> None:
    clock, reviewer = ManualClock(), Reviewer((PROMETHEUS, "get", "metrics"))
    door = entrance(reviewer, clock)
    for _ in range(3):
        await door.admit(None, "Bearer good", "GET", "/metrics")
    assert len(reviewer.asked) == 2
    reviewer.rights.clear()
    await clock.advance(reviews.ALLOWED_SECONDS + 1)
    assert (await refused(door, None, "Bearer good", "GET", "/metrics"))[0] == 403
    reviewer.rights.add((PROMETHEUS, "get", "metrics"))
    assert (await refused(door, None, "Bearer good", "GET", "/metrics"))[0] == 403
    await clock.advance(reviews.REFUSED_SECONDS + 1)
    await door.admit(None, "Bearer good", "GET", "/metrics")


async def test_a_token_that_is_nobodys_is_not_remembered() -> None:
    reviewer = Reviewer()
    door = entrance(reviewer)
    for _ in range(2):
        await refused(door, None, "Bearer bad", "GET", "/metrics")
    assert len(reviewer.asked) == 2


async def test_no_more_is_remembered_than_has_room() -> None:
    memory: reviews.Memory[int] = reviews.Memory(ManualClock())
    for number in range(reviews.REMEMBERED_MAX + 1):
        memory.put(number, number, 60)
    assert memory.get(0) is None and memory.get(1) == 1


async def test_without_the_api_server_nobody_new_gets_in() -> None:
    reviewer = Reviewer()
    reviewer.error = ApiError(503, "ServiceUnavailable", "away")
    door = entrance(reviewer)
    assert (await refused(door, None, "Bearer good", "GET", "/metrics"))[0] == 401
    assert await refused(door, certificate("reader"), "", "GET", "/metrics") == (
        500,
        "Authorization error (user=reader, verb=get, resource=nodes, subresource=metrics)",
    )
    await door.admit(certificate("admin", "system:masters"), "", "GET", "/metrics")


async def test_an_agent_that_can_ask_nobody_lets_only_masters_in() -> None:
    door = entrance(None)
    assert (await refused(door, None, "Bearer good", "GET", "/metrics"))[0] == 401
    assert (await refused(door, certificate("reader"), "", "GET", "/metrics"))[0] == 403


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/stats/summary", ("stats",)),
        ("/metrics", ("metrics",)),
        ("/metrics/resource", ("metrics",)),
        ("/metricsexec", ("proxy",)),
        ("/logs/{path}", ("log",)),
        ("/pods", ("pods", "proxy")),
        ("/runningpods/", ("pods", "proxy")),
        ("/healthz", ("healthz", "proxy")),
        ("/configz", ("configz", "proxy")),
        ("/exec/{namespace}/{pod}/{container}", ("proxy",)),
        ("/", ("proxy",)),
        ("", ("proxy",)),
    ],
)
def test_each_path_takes_its_right(path: str, wanted: tuple[str, ...]) -> None:
    assert subresources(path) == wanted


def test_names_are_read() -> None:
    assert of_certificate(None) is None and of_certificate({}) is None
    assert bearer_token("bearer  x ") == "x" and bearer_token("Bearer") == "" and bearer_token("") == ""
