"""Many objects created by one request: each has its own answer, and none has to do with another."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import BINDINGS, CONFIGMAPS, PODS


def binding(pod: Object, node: str) -> Object:
    metadata = {"name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": {"kind": "Node", "name": node}}


def codes(answers: list[Object | ApiError]) -> list[int | None]:
    return [answer.code if isinstance(answer, ApiError) else None for answer in answers]


async def make_pod(client: Client, scope: str, name: str, **spec: Any) -> Object:
    containers = [{"name": "c", "image": "i"}]
    return await client.create(PODS, {"metadata": {"name": name}, "spec": {"containers": containers, **spec}}, scope)


async def test_pods_are_bound_together_and_one_that_cannot_be_keeps_no_other_back(client: Client, scope: str) -> None:
    pods = [await make_pod(client, scope, f"p{number}") for number in range(20)]
    gated = await make_pod(client, scope, "gated", schedulingGates=[{"name": "example.com/wait"}])
    gone = {"metadata": {"name": "gone", "uid": "no"}}
    another = {"metadata": {"name": "p0", "uid": "of-another-pod"}}
    wanted = [gone, *pods, gated, another]
    answers = await client.create_each(BINDINGS, [binding(pod, "n") for pod in wanted], scope)
    assert codes(answers) == [404, *[None] * 20, 409, 409]
    assert str(answers[-2]) == (
        'Operation cannot be fulfilled on pods/binding "gated": pod gated has non-empty .spec.schedulingGates'
    )
    listed = await client.list(PODS, scope)
    assert sum(pod["spec"].get("nodeName") == "n" for pod in listed["items"]) == 20


async def test_of_two_bindings_of_a_pod_in_one_list_one_counts(client: Client, scope: str) -> None:
    pod = await make_pod(client, scope, "wanted")
    answers = await client.create_each(BINDINGS, [binding(pod, "a"), binding(pod, "b")], scope)
    bound = (await client.get(PODS, "wanted", scope))["spec"]["nodeName"]
    refused = {"a": answers[1], "b": answers[0]}[bound]
    assert isinstance(refused, ApiError) and f'already assigned to node "{bound}"' in refused.message
    assert sorted(codes(answers), key=str) == [409, None]


async def test_objects_of_any_kind_are_created_together(client: Client, scope: str) -> None:
    names = ["a", "b", "a", "Not a name"]
    answers = await client.create_each(CONFIGMAPS, [{"metadata": {"name": name}} for name in names], scope)
    assert codes(answers) in ([None, None, 409, 422], [409, None, None, 422])
    listed = (await client.list(CONFIGMAPS, scope))["items"]
    versions = {item["metadata"]["name"]: item["metadata"]["resourceVersion"] for item in listed}
    told = [answer["metadata"] for answer in answers if not isinstance(answer, ApiError)]
    assert {metadata["name"]: metadata["resourceVersion"] for metadata in told} == versions


async def test_a_dry_run_holds_for_all_of_them(client: Client, scope: str) -> None:
    listed = {"kind": "List", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]}
    path = CONFIGMAPS.path(scope)
    _, _, answer = await client.request("POST", path, params={"dryRun": "All"}, body=orjson.dumps(listed))
    assert [item["status"] for item in orjson.loads(answer)["items"]] == ["Success"]
    assert (await client.list(CONFIGMAPS, scope))["items"] == []


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"kind":"List","apiVersion":"v1"}', "a List must have items"),
        (b'{"kind":"List","apiVersion":"v1","items":{}}', "a List must have items"),
        (b'{"kind":"List","apiVersion":"v1","items":[],"items":[]}', "no field of it twice"),
        (b'{"kind":"List","apiVersion":"v1","items":[%s]}' % b",".join([b"{}"] * 257), "may have 256 items, not 257"),
        (b'{"kind":"List","apiVersion":"v2","items":[]}', "the API version in the data (v2) does not match"),
        (b'{"kind":"List","apiVersion":"v1","items":[', "the object provided is unrecognized"),
    ],
)
async def test_what_is_no_list_is_refused(client: Client, scope: str, body: bytes, told: str) -> None:
    with pytest.raises(ApiError, match="400|recognized|List|version") as caught:
        await client.request("POST", CONFIGMAPS.path(scope), body=body)
    assert caught.value.code == 400 and told in caught.value.message


async def test_an_item_that_is_no_object_is_told_in_its_place(client: Client, scope: str) -> None:
    items: list[Any] = [{"metadata": {"name": "good"}}, 7, None, {"kind": "Pod", "metadata": {"name": "x"}}]
    answers = await client.create_each(CONFIGMAPS, items, scope)
    assert codes(answers) == [None, 400, 400, 400]


async def test_what_is_too_large_together_is_created_one_by_one(client: Client, scope: str) -> None:
    large = [{"metadata": {"name": f"large-{number}"}, "data": {"text": "x" * 900_000}} for number in range(4)]
    assert codes(await client.create_each(CONFIGMAPS, large, scope)) == [None] * 4
    small = [{"metadata": {"name": f"small-{number}"}} for number in range(2)]
    assert codes(await client.create_each(CONFIGMAPS, small, scope)) == [None] * 2
