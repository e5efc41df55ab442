"""From a request for a token to who its holder is: bounds, bindings, audiences, and when a token ends."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.time import rfc3339
from apiserver.certificates import generate_key
from apiserver.request_info import AUTHENTICATED
from apiserver.serviceaccounts import claims
from apiserver.serviceaccounts.signing import SigningKey
from apiserver.serviceaccounts.token_requests import EXTENDED_IF_SECONDS, TokenRequests, complete
from apiserver.serviceaccounts.verification import TokenError, TokenVerifier
from apiserver.storage.entry import Entry
from tests.support.access import Objects

NOW = 1_800_000_000.0
ISSUER, US = "https://issuer", "https://us"
KEY = SigningKey(generate_key()[0], "sa.key")
ACCOUNT = {"kind": "ServiceAccount", "metadata": {"name": "robot", "namespace": "ci", "uid": "u-account"}}
NODE = {"kind": "Node", "metadata": {"name": "n1", "uid": "u-node"}}


def pod(name: str = "web", **metadata: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "ci", "uid": f"u-{name}", **metadata},
        "spec": {"serviceAccountName": "robot", "nodeName": "n1"},
    }


class World:
    """A cluster, its clock, and the two ends of a token's life."""

    def __init__(self, *objects: Object, **settings: Any) -> None:
        self.cluster = Objects(ACCOUNT, NODE, *objects)
        self.now = NOW
        self.requests = TokenRequests(
            KEY, self.cluster, issuer=ISSUER, audiences=[US], now=lambda: self.now, **settings
        )
        self.verifier = TokenVerifier(
            [KEY.public], self._find, issuers=[ISSUER], audiences=[US], now=lambda: self.now
        )
        self.warnings: list[str] = []

    def _find(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        obj = self.cluster.get(resource, namespace, name)
        return Entry(namespace, name, 1, orjson.dumps(obj)) if obj is not None else None

    async def request(self, **spec: Any) -> Object:
        call: Any = SimpleNamespace(namespace="ci", name="robot", warnings=self.warnings)
        sent: Object = {"metadata": {}, "spec": spec}
        complete(sent)
        return await self.requests.answer(call, sent)

    async def token(self, **spec: Any) -> str:
        found: str = (await self.request(**spec))["status"]["token"]
        return found

    def holder(self, token: str, *audiences: str) -> Any:
        return self.verifier.verify(token, token.encode(), audiences)


def bound_to(obj: Object, **more: str) -> Object:
    return {"apiVersion": "v1", "kind": obj["kind"], "name": obj["metadata"]["name"], **more}


async def refused(world: World, **spec: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await world.request(**spec)
    return caught.value


async def test_a_token_stands_for_its_account_for_an_hour() -> None:
    world = World()
    answer = await world.request()
    assert answer["spec"] == {"audiences": [US], "expirationSeconds": 3600}
    assert answer["status"]["expirationTimestamp"] == rfc3339(NOW + 3600)
    user, audiences = world.holder(answer["status"]["token"])
    assert (user.name, user.uid, audiences) == ("system:serviceaccount:ci:robot", "u-account", [US])
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:ci", AUTHENTICATED)
    ((key, (token_id,)),) = user.extra
    assert key == "authentication.kubernetes.io/credential-id" and token_id.startswith("JTI=")


@pytest.mark.parametrize(
    ("seconds", "why"),
    [
        (599, "may not specify a duration less than 10 minutes"),
        ((1 << 32) + 1, "may not specify a duration larger than 2^32 seconds"),
    ],
)
async def test_a_tokens_life_has_bounds(seconds: int, why: str) -> None:
    error = await refused(World(), expirationSeconds=seconds)
    assert error.code == 422 and error.message.endswith(f"Invalid value: {seconds}: {why}")


async def test_no_token_lives_longer_than_the_operator_allows() -> None:
    world = World(seconds_max=1000)
    assert (await world.request(expirationSeconds=5000))["spec"]["expirationSeconds"] == 1000
    assert world.warnings == ["requested expiration of 5000 seconds shortened to 1000 seconds"]


async def test_a_pods_token_names_the_pod_and_its_node() -> None:
    world = World(pod())
    user, _ = world.holder(await world.token(boundObjectRef=bound_to(pod(), uid="u-web")))
    extra = {key.removeprefix("authentication.kubernetes.io/"): value for key, (value,) in user.extra}
    assert {key: extra[key] for key in sorted(extra) if key != "credential-id"} == {
        "node-name": "n1",
        "node-uid": "u-node",
        "pod-name": "web",
        "pod-uid": "u-web",
    }


async def test_a_token_for_an_old_client_lives_for_a_year_and_is_renewed_within_the_hour() -> None:
    world = World(pod())
    answer = await world.request(expirationSeconds=EXTENDED_IF_SECONDS, boundObjectRef=bound_to(pod()))
    assert answer["status"]["expirationTimestamp"] == rfc3339(NOW + EXTENDED_IF_SECONDS)
    world.now += 300 * 86400
    assert world.holder(answer["status"]["token"]) is not None


@pytest.mark.parametrize("spec", [{"expirationSeconds": EXTENDED_IF_SECONDS}, {"audiences": ["vault"]}])
async def test_no_other_token_is_extended(spec: Any) -> None:
    world = World(pod())
    if "audiences" in spec:
        spec = {**spec, "expirationSeconds": EXTENDED_IF_SECONDS, "boundObjectRef": bound_to(pod())}
    token = await world.token(**spec)
    world.now += 2 * EXTENDED_IF_SECONDS
    with pytest.raises(TokenError, match="has expired"):
        world.holder(token, *spec.get("audiences", ()))


@pytest.mark.parametrize(
    ("ref", "code", "why"),
    [
        ({"kind": "Pod", "name": "none"}, 404, 'pods "none" not found'),
        ({"kind": "Pod", "name": "other"}, 400, "to pod running with different serviceaccount name."),
        ({"kind": "Pod", "name": "web", "uid": "old"}, 409, "the UID in the bound object reference (old) does not"),
        ({"kind": "ConfigMap", "name": "x"}, 400, "cannot bind token to object of type /v1, Kind=ConfigMap"),
        ({"kind": "Secret", "name": "none"}, 404, 'secrets "none" not found'),
        ({"kind": "Node", "name": "n2"}, 404, 'nodes "n2" not found'),
    ],
)
async def test_what_a_token_can_be_bound_to(ref: Any, code: int, why: str) -> None:
    other = pod("other")
    other["spec"]["serviceAccountName"] = "default"
    error = await refused(World(pod(), other), boundObjectRef={"apiVersion": "v1", **ref})
    assert error.code == code and why in error.message


async def test_an_account_that_is_not_there_gets_no_token() -> None:
    world = World()
    world.cluster.objects.remove(ACCOUNT)
    assert (await refused(world)).code == 404


async def test_a_token_ends_with_its_time() -> None:
    world = World()
    token = await world.token()
    world.now += 3600 + 59
    assert world.holder(token)
    world.now += 2
    with pytest.raises(TokenError, match="service account token has expired"):
        world.holder(token)


async def test_a_token_is_for_its_audiences_alone() -> None:
    world = World()
    token = await world.token(audiences=["vault", "store"])
    assert world.holder(token, "vault", "bank")[1] == ["vault"]
    with pytest.raises(TokenError, match="invalid for the target audiences"):
        world.holder(token)


@pytest.mark.parametrize("bound", [pod(), NODE, {"kind": "Secret", "metadata": {"name": "s", "namespace": "ci"}}])
async def test_a_token_ends_with_what_it_is_bound_to(bound: Object) -> None:
    bound = {**bound, "metadata": {"uid": "u-bound", **bound["metadata"]}}
    world = World(*([] if bound["kind"] == "Node" else [bound]))
    token = await world.token(boundObjectRef=bound_to(bound))
    assert world.holder(token)
    found = next(one for one in world.cluster.objects if one["metadata"]["name"] == bound["metadata"]["name"])
    world.cluster.objects.remove(found)
    with pytest.raises(TokenError, match="service account token has been invalidated"):
        world.holder(token)
    world.cluster.objects.append({**found, "metadata": {**found["metadata"], "uid": "another"}})
    with pytest.raises(TokenError, match="does not match"):
        world.holder(token)


async def test_a_token_ends_with_its_account() -> None:
    world = World()
    token = await world.token()
    world.cluster.objects.remove(ACCOUNT)
    with pytest.raises(TokenError, match='"robot" not found'):
        world.holder(token)
    world.cluster.objects.append({**ACCOUNT, "metadata": {**ACCOUNT["metadata"], "uid": "new"}})
    with pytest.raises(TokenError, match="does not match claim"):
        world.holder(token)


async def test_a_pod_that_is_ending_keeps_its_rights_until_it_should_be_gone() -> None:
    ending = pod(deletionTimestamp=rfc3339(NOW + 30))
    world = World(ending)
    token = await world.token(boundObjectRef=bound_to(ending))
    world.now += 80
    assert world.holder(token)
    world.now += 20
    with pytest.raises(TokenError, match="has been invalidated"):
        world.holder(token)


async def test_a_token_that_a_secret_holds_ends_with_it() -> None:
    token = KEY.sign(claims.legacy(ACCOUNT, "held"))
    data = {"token": base64.b64encode(token.encode()).decode()}
    secret = {"kind": "Secret", "metadata": {"name": "held", "namespace": "ci", "uid": "u"}, "data": data}
    world = World(secret)
    user, audiences = world.holder(token)
    assert (user.name, user.extra, audiences) == ("system:serviceaccount:ci:robot", (), [US])
    world.now += 10 * 365 * 86400
    assert world.holder(token)
    world.cluster.objects[-1] = {**secret, "data": {"token": "b3RoZXI="}}
    with pytest.raises(TokenError, match="does not match server's copy"):
        world.holder(token)


async def test_tokens_of_others_are_not_ours_to_judge() -> None:
    world = World()
    assert world.holder("opaque") is None
    foreign = SigningKey(generate_key()[0], "other")
    assert world.holder(foreign.sign({"iss": "https://elsewhere"})) is None
    with pytest.raises(TokenError, match="invalid signature"):
        world.holder(foreign.sign({"iss": ISSUER}))


@pytest.mark.parametrize(
    "claim", [{}, {"kubernetes.io": {}}, {"kubernetes.io": {"namespace": "ci"}}, {"kubernetes.io": []}, {"exp": []}]
)
async def test_a_token_that_names_nobody_is_refused(claim: Any) -> None:
    with pytest.raises(TokenError, match="could not be validated"):
        World().holder(KEY.sign({"iss": ISSUER, **claim}))
