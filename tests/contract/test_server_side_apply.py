"""Server-side apply and managedFields over HTTP: who manages what after each kind of write."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import orjson
import pytest

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    HORIZONTALPODAUTOSCALERS_V1,
    NODES,
    PODS,
    Resource,
)
from tests.support.apiserver import ApiServerProcess

APPLY, MERGE = "application/apply-patch+yaml", "application/merge-patch+json"
JSON, JSON_PATCH = "application/json", "application/json-patch+json"
SERVED_SECONDS_MAX = 60.0


async def send(
    client: Client,
    method: str,
    path: str,
    body: Any = None,
    content_type: str = JSON,
    *,
    accept: str = JSON,
    **params: str,
) -> tuple[int, Object]:
    """A request as stock clients send it: (status, document), errors included."""
    data = body if isinstance(body, bytes | None) else orjson.dumps(body)
    headers = {"Content-Type": content_type, "Accept": accept}
    try:
        status, _, answer = await client.request(method, path, params=params, body=data, headers=headers)
    except ApiError as error:
        return error.code, error.status()
    return status, orjson.loads(answer)


async def apply(
    client: Client, resource: Resource, scope: str | None, obj: Object, manager: str, part: str = "", **params: str
) -> tuple[int, Object]:
    """Apply a configuration."""
    config = {"apiVersion": resource.api_version, "kind": resource.kind, **obj}
    path = resource.path(scope, obj["metadata"]["name"], part or None)
    return await send(client, "PATCH", path, config, APPLY, fieldManager=manager, **params)


def configmap(name: str = "c", **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


def deployment(**spec: Any) -> Object:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "metadata": {"name": "web"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template, **spec},
    }


def managers(obj: Object) -> list[str]:
    """`manager/operation`, with the subresource if there is one, of each entry in order."""
    entries = obj["metadata"].get("managedFields") or []
    return ["/".join(filter(None, (e["manager"], e["operation"], e.get("subresource")))) for e in entries]


def fields(obj: Object, manager: str, subresource: str = "") -> Any:
    """What a manager owns."""
    for entry in obj["metadata"].get("managedFields") or ():
        if entry["manager"] == manager and entry.get("subresource", "") == subresource:
            return entry["fieldsV1"]
    return None


async def get(client: Client, resource: Resource, scope: str | None, name: str, **options: str) -> Object:
    return (await send(client, "GET", resource.path(scope, name), **options))[1]


async def test_apply_makes_what_is_not_there_and_changes_what_is(client: Client, scope: str) -> None:
    status, made = await apply(client, CONFIGMAPS, scope, configmap(a="1", b="2"), "me")
    assert (status, made["data"], managers(made)) == (201, {"a": "1", "b": "2"}, ["me/Apply"])
    assert fields(made, "me") == {"f:data": {"f:a": {}, "f:b": {}}}
    status, changed = await apply(client, CONFIGMAPS, scope, configmap(a="2"), "me")
    assert (status, changed["data"]) == (200, {"a": "2"})
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]


async def test_to_apply_the_same_again_writes_nothing(client: Client, scope: str) -> None:
    first = (await apply(client, DEPLOYMENTS, scope, deployment(replicas=2), "me"))[1]
    second = (await apply(client, DEPLOYMENTS, scope, deployment(replicas=2), "me"))[1]
    assert second == first
    assert second["spec"]["strategy"]["type"] == "RollingUpdate"  # a default, which nobody has applied
    assert "f:strategy" not in fields(second, "me")["f:spec"]


async def test_equal_quantities_are_no_conflict_however_they_are_written(client: Client, scope: str) -> None:
    def pod(cpu: str) -> Object:
        container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
        return {"metadata": {"name": "p"}, "spec": {"containers": [container]}}

    await apply(client, PODS, scope, pod("1"), "one")
    status, found = await apply(client, PODS, scope, pod("1000m"), "two")
    assert (status, managers(found)) == (200, ["one/Apply", "two/Apply"])


async def test_a_conflict_says_whose_it_is_and_force_ends_it(client: Client, scope: str) -> None:
    await apply(client, DEPLOYMENTS, scope, deployment(replicas=2), "one")
    status, refused = await apply(client, DEPLOYMENTS, scope, deployment(replicas=3), "two")
    told = 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    assert (status, refused["reason"], refused["message"]) == (409, "Conflict", told)
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": ".spec.replicas"}
    assert refused["details"]["causes"] == [cause]
    status, found = await apply(client, DEPLOYMENTS, scope, deployment(replicas=3), "two", force="true")
    assert (status, found["spec"]["replicas"]) == (200, 3)
    assert "f:replicas" not in fields(found, "one")["f:spec"]


async def test_every_write_is_known_by_its_manager(server: ApiServerProcess, client: Client, scope: str) -> None:
    path, config = CONFIGMAPS.path(scope), load(str(server.kubeconfig))
    async with await Client.connect(config, user_agent="kubectl/v1.35.2 (linux/amd64) kubernetes/abc") as kubectl:
        made = (await send(kubectl, "POST", path, configmap(a="1")))[1]
    assert managers(made) == ["kubectl/Update"]
    assert fields(made, "kubectl") == {"f:data": {".": {}, "f:a": {}}}
    put = {**made, "data": {"a": "1", "b": "2"}}
    put = (await send(client, "PUT", f"{path}/c", put, fieldManager="editor"))[1]
    assert fields(put, "editor") == {"f:data": {"f:b": {}}}
    async with await Client.connect(config, user_agent="") as nameless:
        patched = (await send(nameless, "PATCH", f"{path}/c", {"data": {"a": "9"}}, MERGE))[1]
    assert fields(patched, "unknown") == {"f:data": {"f:a": {}}}
    assert fields(patched, "kubectl") == {"f:data": {}}
    gone = (await send(client, "PATCH", f"{path}/c", {"data": {"b": None}}, MERGE))[1]
    assert sorted(managers(gone)) == ["kubectl/Update", "unknown/Update"]


async def test_a_status_is_managed_on_its_own(client: Client, scope: str) -> None:
    made = (
        await apply(
            client, PODS, scope, {"metadata": {"name": "p"}, "spec": deployment()["spec"]["template"]["spec"]}, "me"
        )
    )[1]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    path = PODS.path(scope, "p", "status")
    found = (await send(client, "PATCH", path, {"status": status}, MERGE, fieldManager="kubelet"))[1]
    assert managers(found) == ["me/Apply", "kubelet/Update/status"]
    condition = {".": {}, "f:status": {}, "f:type": {}}
    assert fields(found, "kubelet", "status") == {
        "f:status": {"f:conditions": {".": {}, 'k:{"type":"Ready"}': condition}, "f:phase": {}}
    }
    assert fields(found, "me") == fields(made, "me")
    taken = {"metadata": {"name": "p"}, "status": {"phase": "Failed"}}
    answer, told = await apply(client, PODS, scope, taken, "you", "status")
    assert (answer, told["details"]["causes"][0]["message"]) == (
        409,
        'conflict with "kubelet" with subresource "status" using v1',
    )
    answer, found = await apply(client, PODS, scope, taken, "you", "status", force="true")
    assert (answer, found["status"]["phase"]) == (200, "Failed")
    assert fields(found, "you", "status") == {"f:status": {"f:phase": {}}}


async def test_a_status_that_is_applied_to_the_object_itself_belongs_to_nobody(client: Client, scope: str) -> None:
    config = {**deployment(replicas=1), "status": {"replicas": 7}}
    found = (await apply(client, DEPLOYMENTS, scope, config, "me"))[1]
    assert "f:status" not in fields(found, "me") and not found.get("status")


async def test_a_scale_takes_the_number_of_replicas_and_nothing_else(client: Client, scope: str) -> None:
    await apply(client, DEPLOYMENTS, scope, deployment(replicas=2), "me")
    path = DEPLOYMENTS.path(scope, "web", "scale")
    await send(client, "PATCH", path, {"spec": {"replicas": 5}}, MERGE, fieldManager="autoscaler")
    found = await get(client, DEPLOYMENTS, scope, "web")
    assert managers(found) == ["me/Apply", "autoscaler/Update/scale"]
    assert fields(found, "autoscaler", "scale") == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in fields(found, "me")["f:spec"]
    status, told = await apply(client, DEPLOYMENTS, scope, deployment(replicas=2), "me")
    assert (status, told["message"]) == (
        409,
        'Apply failed with 1 conflict: conflict with "autoscaler" with subresource "scale" using apps/v1: '
        ".spec.replicas",
    )
    kept = (await apply(client, DEPLOYMENTS, scope, deployment(), "me"))[1]
    assert kept["spec"]["replicas"] == 5
    # The same number through the scale is shared; another is a conflict.
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "web"}, "spec": {"replicas": 5}}
    assert (await send(client, "PATCH", path, scale, APPLY, fieldManager="too"))[0] == 200
    scale["spec"] = {"replicas": 6}
    status, told = await send(client, "PATCH", path, scale, APPLY, fieldManager="three")
    assert (status, {cause["field"] for cause in told["details"]["causes"]}) == (409, {".spec.replicas"})
    assert (await send(client, "PATCH", path, scale, APPLY, fieldManager="three", force="true"))[0] == 200
    found = await get(client, DEPLOYMENTS, scope, "web")
    assert managers(found) == ["me/Apply", "three/Apply/scale"] and found["spec"]["replicas"] == 6


async def test_what_the_scheduler_binds_has_no_manager(client: Client, scope: str) -> None:
    spec = deployment()["spec"]["template"]["spec"]
    await apply(client, PODS, scope, {"metadata": {"name": "p"}, "spec": spec}, "me")
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
    await client.create(PODS, binding, scope, name="p", subresource="binding")
    found = await get(client, PODS, scope, "p")
    assert found["spec"]["nodeName"] == "n" and managers(found) == ["me/Apply"]


async def test_managers_can_be_forgotten_and_are_then_found_before_the_first_apply(
    client: Client, scope: str
) -> None:
    path = CONFIGMAPS.path(scope, "c")
    await send(client, "POST", CONFIGMAPS.path(scope), configmap(a="1"))
    forgotten = (await send(client, "PATCH", path, {"metadata": {"managedFields": [{}]}}, MERGE))[1]
    assert managers(forgotten) == []
    changed = (await send(client, "PATCH", path, {"data": {"b": "2"}}, MERGE))[1]
    assert managers(changed) == []
    applied = (await apply(client, CONFIGMAPS, scope, configmap(c="3"), "me"))[1]
    assert managers(applied) == ["me/Apply", "before-first-apply/Update"]
    assert fields(applied, "before-first-apply") == {"f:data": {".": {}, "f:a": {}, "f:b": {}}}
    operations = [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]
    assert managers((await send(client, "PATCH", path, operations, JSON_PATCH))[1]) == []


async def test_managers_can_be_set_and_nonsense_is_ignored(client: Client, scope: str) -> None:
    path = CONFIGMAPS.path(scope, "c")
    made = (await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me"))[1]
    operations = [{"op": "replace", "path": "/metadata/managedFields/0/manager", "value": "renamed"}]
    renamed = (await send(client, "PATCH", path, operations, JSON_PATCH))[1]
    assert managers(renamed) == ["renamed/Apply"]
    wrong = [{**made["metadata"]["managedFields"][0], "operation": "Guess"}]
    kept = (await send(client, "PATCH", path, {"metadata": {"managedFields": wrong}}, MERGE))[1]
    assert managers(kept) == ["renamed/Apply"]
    operations[0]["value"] = "m" * 129
    status, told = await send(client, "PATCH", path, operations, JSON_PATCH)
    assert (status, told["details"]["causes"][0]["field"]) == (422, "metadata.managedFields[0].manager")


async def test_a_client_that_knows_nothing_of_managers_does_not_remove_them(client: Client, scope: str) -> None:
    made = (await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me"))[1]
    del made["metadata"]["managedFields"]
    put = (await send(client, "PUT", CONFIGMAPS.path(scope, "c"), {**made, "data": {"a": "1", "b": "2"}}))[1]
    assert managers(put) == ["me/Apply", "wherry/Update"]


async def test_managers_are_in_every_form_of_an_answer_but_for_who_does_not_want_them(
    client: Client, scope: str
) -> None:
    await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me")
    path = CONFIGMAPS.path(scope)
    listed = (await send(client, "GET", path))[1]["items"][0]
    partial = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
    table = (await send(client, "GET", path, accept=f"{JSON};as=Table;g=meta.k8s.io;v=v1"))[1]
    found = [listed, await get(client, CONFIGMAPS, scope, "c", accept=partial), table["rows"][0]["object"]]
    assert [managers(one) for one in found] == [["me/Apply"]] * 3
    for accept in (JSON, partial, f"{JSON};as=Table;g=meta.k8s.io;v=v1"):
        answer = await get(client, CONFIGMAPS, scope, "c", accept=f"{accept};managedFields=omit")
        assert "managedFields" not in orjson.dumps(answer).decode()
    params = {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}
    lines = [line async for line in client.stream(path, params, headers={"Accept": JSON})]
    assert managers(orjson.loads(b"".join(lines).split(b"\n")[0])["object"]) == ["me/Apply"]


async def test_a_dry_run_shows_the_managers_and_writes_nothing(client: Client, scope: str) -> None:
    status, tried = await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me", dryRun="All")
    assert (status, managers(tried)) == (201, ["me/Apply"])
    assert (await send(client, "GET", CONFIGMAPS.path(scope, "c")))[0] == 404
    await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me")
    status, tried = await apply(client, CONFIGMAPS, scope, configmap(a="2"), "you", dryRun="All")
    assert status == 409
    status, tried = await apply(client, CONFIGMAPS, scope, configmap(b="2"), "you", dryRun="All")
    assert managers(tried) == ["me/Apply", "you/Apply"]
    assert managers(await get(client, CONFIGMAPS, scope, "c")) == ["me/Apply"]


async def test_an_apply_can_be_meant_for_one_version_or_one_object(client: Client, scope: str) -> None:
    made = (await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me"))[1]
    metadata = {"name": "c", "resourceVersion": made["metadata"]["resourceVersion"]}
    assert (await apply(client, CONFIGMAPS, scope, {"metadata": metadata, "data": {"a": "2"}}, "me"))[0] == 200
    status, told = await apply(client, CONFIGMAPS, scope, {"metadata": metadata, "data": {"a": "3"}}, "me")
    assert (status, told["reason"]) == (409, "Conflict") and "the object has been modified" in told["message"]
    metadata = {"name": "new", "uid": "5d4f8c7b-0000-4000-8000-000000000000"}
    status, told = await apply(client, CONFIGMAPS, scope, {"metadata": metadata}, "me")
    assert status == 409 and "uid mismatch: the provided object specified uid 5d4f8c7b" in told["message"]


REFUSED: list[tuple[str, Any, dict[str, str], int, str]] = [
    ("no manager", {}, {"fieldManager": ""}, 422, "fieldManager: Required value: is required for apply patch"),
    ("a long name", {}, {"fieldManager": "m" * 129}, 422, "fieldManager: Too long: may not be more than 128 bytes"),
    ("a name that can't be printed", {}, {"fieldManager": "a\nb"}, 422, "invalid character U+000A (at position 1)"),
    ("another kind", {"kind": "Secret"}, {}, 400, "invalid object type: /v1, Kind=Secret"),
    ("another version", {"apiVersion": "v2"}, {}, 400, "invalid object type: /v2, Kind=ConfigMap"),
    ("another name", {"metadata": {"name": "d"}}, {}, 400, "does not match the name on the URL"),
    ("managers", {"metadata": {"name": "c", "managedFields": []}}, {}, 400, "metadata.managedFields must be nil"),
    ("a field that is unknown", {"dada": {}}, {}, 400, ".dada: field not declared in schema"),
    ("a wrong type", {"data": {"a": 1}}, {}, 400, ".data.a: expected string, got 1"),
    ("a list", [], {}, 400, "it must be a ConfigMap"),
    ("no YAML", b"{a: [", {}, 400, "error decoding YAML"),
    (
        "a key twice",
        b"apiVersion: v1\nkind: ConfigMap\ndata: {}\ndata: {}",
        {"fieldValidation": "Strict"},
        400,
        "data",
    ),
]


@pytest.mark.parametrize(("what", "change", "params", "code", "told"), REFUSED, ids=[one[0] for one in REFUSED])
async def test_what_can_not_be_applied_is_refused_with_a_reason(
    client: Client, scope: str, what: str, change: Any, params: dict[str, str], code: int, told: str
) -> None:
    body = change
    if isinstance(change, dict):
        body = {"apiVersion": "v1", "kind": "ConfigMap", **configmap(a="1"), **change}
    path = CONFIGMAPS.path(scope, "c")
    status, found = await send(client, "PATCH", path, body, APPLY, **{"fieldManager": "me", **params})
    assert (status, told in found["message"]) == (code, True), found["message"]


async def test_force_is_for_apply_alone(client: Client, scope: str) -> None:
    await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me")
    status, told = await send(client, "PATCH", CONFIGMAPS.path(scope, "c"), {}, MERGE, force="true")
    assert (status, "force: Forbidden: may not be specified for non-apply patch" in told["message"]) == (422, True)


async def test_who_may_not_create_can_apply_only_to_what_is_there(client: Client, scope: str) -> None:
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}]
    metadata = {"name": "patcher", "namespace": scope}
    roles = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{scope}"
    await send(client, "POST", f"{roles}/roles", {"metadata": metadata, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"}
    subjects = [{"kind": "User", "name": "ann", "apiGroup": "rbac.authorization.k8s.io"}]
    binding = {"metadata": metadata, "roleRef": reference, "subjects": subjects}
    await send(client, "POST", f"{roles}/rolebindings", binding)
    await apply(client, CONFIGMAPS, scope, configmap("there", a="1"), "me")
    for name, expected in (("there", 200), ("new", 403)):
        config = {"apiVersion": "v1", "kind": "ConfigMap", **configmap(name, b="2")}
        path, headers = CONFIGMAPS.path(scope, name), {"Content-Type": APPLY, "Impersonate-User": "ann"}
        try:
            params, body = {"fieldManager": "ann"}, orjson.dumps(config)
            status = (await client.request("PATCH", path, params=params, body=body, headers=headers))[0]
        except ApiError as error:
            status = error.code
        assert status == expected


async def test_an_autoscaler_is_managed_in_both_of_its_versions(client: Client, scope: str) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 5, "targetCPUUtilizationPercentage": 70}
    old, new = HORIZONTALPODAUTOSCALERS_V1, HORIZONTALPODAUTOSCALERS
    status, made = await apply(client, old, scope, {"metadata": {"name": "h"}, "spec": spec}, "one")
    assert (status, made["apiVersion"]) == (201, "autoscaling/v1")
    found = await get(client, new, scope, "h")
    assert found["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    assert found["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v1"
    path = new.path(scope, "h")
    changed = (await send(client, "PATCH", path, {"spec": {"maxReplicas": 6}}, MERGE, fieldManager="two"))[1]
    assert "f:maxReplicas" not in fields(changed, "one")["f:spec"]
    assert fields(changed, "two") == {"f:spec": {"f:maxReplicas": {}}}
    status, told = await apply(client, old, scope, {"metadata": {"name": "h"}, "spec": spec}, "one")
    assert (status, told["message"]) == (
        409,
        'Apply failed with 1 conflict: conflict with "two" using autoscaling/v2: .spec.maxReplicas',
    )


async def test_a_custom_resource_is_merged_as_its_schema_says(client: Client, scope: str) -> None:
    gadgets = await define_gadgets(client)

    def gadget(**spec: Any) -> Object:
        return {"metadata": {"name": "g"}, "spec": spec}

    made = (await apply(client, gadgets, scope, gadget(parts=[{"name": "a", "size": 1}], tags=["x"]), "one"))[1]
    assert fields(made, "one") == {
        "f:spec": {"f:parts": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:size": {}}}, "f:tags": {'v:"x"': {}}}
    }
    merged = (await apply(client, gadgets, scope, gadget(parts=[{"name": "b"}], tags=["y"]), "two"))[1]
    assert [part["name"] for part in merged["spec"]["parts"]] == ["a", "b"] and merged["spec"]["tags"] == ["x", "y"]
    status, told = await apply(client, gadgets, scope, gadget(parts=[{"name": "a", "size": 2}]), "two")
    assert (status, told["details"]["causes"][0]["field"]) == (409, '.spec.parts[name="a"].size')
    status, told = await apply(client, gadgets, scope, gadget(colour="red"), "two")
    assert (status, ".spec.colour: field not declared in schema" in told["message"]) == (400, True)
    left = (await apply(client, gadgets, scope, gadget(), "one"))[1]
    assert left["spec"] == {"parts": [{"name": "b"}], "tags": ["y"]}
    path = gadgets.path(scope, "g", "status")
    found = (await send(client, "PATCH", path, {"status": {"ready": True}}, MERGE, fieldManager="operator"))[1]
    assert fields(found, "operator", "status") == {"f:status": {".": {}, "f:ready": {}}}


async def define_gadgets(client: Client) -> Resource:
    """A custom resource that is served."""
    part = {"type": "object", "required": ["name"]}
    part["properties"] = {"name": {"type": "string"}, "size": {"type": "integer"}}
    parts = {"type": "array", "items": part, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    tags = {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}
    spec = {"type": "object", "properties": {"parts": parts, "tags": tags}}
    status = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    schema = {"type": "object", "properties": {"spec": spec, "status": status}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "gadgets", "kind": "Gadget", "singular": "gadget"}
    definition = {
        "metadata": {"name": "gadgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": names,
            "versions": [{**version, "subresources": {"status": {}}}],
        },
    }
    await client.create(CUSTOMRESOURCEDEFINITIONS, definition)
    gadgets = Resource("example.com", "v1", "Gadget", "gadgets", "gadget")
    await until_served(client, gadgets)
    return gadgets


async def until_served(client: Client, resource: Resource) -> None:
    """Return once a new resource is there."""
    async with asyncio.timeout(SERVED_SECONDS_MAX):
        while (await send(client, "GET", resource.path("default")))[0] != 200:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)


async def test_managers_outlive_the_server(server: ApiServerProcess, client: Client, scope: str) -> None:
    await apply(client, CONFIGMAPS, scope, configmap(a="1"), "me")
    await send(client, "PATCH", NODES.path(None, "n"), {}, MERGE)
    before = (await send(client, "PATCH", CONFIGMAPS.path(scope, "c"), {"data": {"b": "2"}}, MERGE))[1]
    server.kill(signal.SIGKILL)
    server.start()
    await server.wait_ready()
    async with await server.client() as again:
        assert await get(again, CONFIGMAPS, scope, "c") == before
        status, _ = await apply(again, CONFIGMAPS, scope, configmap(), "me")
        assert (status, (await get(again, CONFIGMAPS, scope, "c"))["data"]) == (200, {"b": "2"})
