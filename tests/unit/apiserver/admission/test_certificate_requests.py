"""A certificate request says who asks, and since when something was decided of it."""

from __future__ import annotations

from apimachinery.meta import Object, find_condition
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apimachinery.time import rfc3339
from apiserver.admission import CREATE, UPDATE, Attributes, certificate_requests
from apiserver.request_info import AUTHENTICATED, User
from tests.support.access import Objects
from tests.support.certificate_requests import pem, request

JANE = User("jane", "7", ("developers", AUTHENTICATED), (("scope", ("a",)),))
NOW = 1_800_000_000.0


async def admit(new: Object, old: Object | None = None, subresource: str = "") -> None:
    plugin = certificate_requests.plugin(lambda: NOW)
    operation = CREATE if old is None else UPDATE
    attributes = Attributes(operation, CERTIFICATESIGNINGREQUESTS, "", "csr", JANE, new, old, subresource)
    assert plugin.handles(attributes) and plugin.mutate is not None
    await plugin.mutate(attributes, Objects())  # type: ignore[arg-type]


async def test_who_asks_is_told_by_the_server() -> None:
    asked = request(pem("joe"), username="root", groups=["system:masters"], uid="0")
    await admit(asked)
    spec = {key: asked["spec"].get(key) for key in ("username", "uid", "groups", "extra")}
    assert spec == {"username": "jane", "uid": "7", "groups": list(JANE.groups), "extra": {"scope": ["a"]}}


async def test_since_when_it_is_approved_is_said() -> None:
    new = request(pem("joe"), "Approved")
    await admit(new, request(pem("joe")), "approval")
    condition = find_condition(new, "Approved")
    assert condition is not None and condition["lastUpdateTime"] == rfc3339(NOW)
