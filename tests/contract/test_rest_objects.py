"""Objects over the API as any client sees them: made, read, changed and deleted, and refused in clear words."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
)

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def config(name: str = "a", **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str = "a", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def deployment(name: str = "web", replicas: int = 1) -> Object:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    selector = {"matchLabels": {"app": name}}
    return {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": selector, "template": template}}


async def send(
    client: Client, method: str, path: str, body: Any = None, content_type: str = "application/json", **params: str
) -> tuple[int, Any, Object]:
    """A request with a body as it is: (status, headers, document), errors included."""
    data = body if isinstance(body, bytes | None) else orjson.dumps(body)
    headers = {"Content-Type": content_type}
    try:
        status, found, answer = await client.request(method, path, params=params, body=data, headers=headers)
    except ApiError as error:
        return error.code, {}, error.status()
    return status, found, orjson.loads(answer)


async def refused(awaitable: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await awaitable
    return caught.value


# Creating


async def test_a_new_object_gets_what_the_server_gives(client: Client, scope: str) -> None:
    sent = config("a", key="value") | {"kind": "ConfigMap", "apiVersion": "v1"}
    sent["metadata"] |= {"uid": "mine", "creationTimestamp": "2001-01-01T00:00:00Z", "selfLink": "/x"}
    made = await client.create(CONFIGMAPS, sent, scope)
    metadata = made["metadata"]
    assert (made["kind"], made["apiVersion"], made["data"]) == ("ConfigMap", "v1", {"key": "value"})
    assert (metadata["name"], metadata["namespace"]) == ("a", scope)
    assert metadata["uid"] != "mine" and len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"] > "2026" and "selfLink" not in metadata
    assert await client.get(CONFIGMAPS, "a", scope) == made


async def test_generated_names_begin_as_asked_and_end_in_five_letters(client: Client, scope: str) -> None:
    body = {"metadata": {"generateName": "job-"}}
    names = {(await client.create(CONFIGMAPS, body, scope))["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20
    for name in names:
        assert name.startswith("job-") and len(name) == 9
        assert set(name[4:]) <= set("bcdfghjklmnpqrstvwxz2456789")


async def test_a_name_is_taken_once(client: Client, scope: str) -> None:
    results = await asyncio.gather(
        *(client.create(CONFIGMAPS, config(), scope) for _ in range(10)), return_exceptions=True
    )
    errors = [result for result in results if isinstance(result, ApiError)]
    assert len(errors) == 9
    assert all((error.code, error.reason) == (409, "AlreadyExists") for error in errors)
    assert errors[0].message == 'configmaps "a" already exists'
    assert errors[0].details == {"name": "a", "kind": "configmaps"}


async def test_the_namespace_of_the_object_must_be_that_of_the_url(client: Client, scope: str) -> None:
    body = {"metadata": {"name": "a", "namespace": "elsewhere"}}
    status, _, document = await send(client, "POST", CONFIGMAPS.path(scope), body)
    assert status == 400
    assert document["message"] == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )
    error = await refused(client.create(CONFIGMAPS, config(), "nowhere"))
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')


async def test_wrong_metadata_is_told_of_field_by_field(client: Client, scope: str) -> None:
    body = {"metadata": {"name": "Bad_Name", "labels": {"a b": "c"}, "finalizers": ["not qualified"]}}
    error = await refused(client.create(CONFIGMAPS, body, scope))
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message.startswith('ConfigMap "Bad_Name" is invalid: [metadata.name: Invalid value: "Bad_Name": ')
    fields = {cause["field"] for cause in (error.details or {})["causes"]}
    assert fields == {"metadata.name", "metadata.labels", "metadata.finalizers"}


async def test_an_object_without_a_name_is_refused(client: Client, scope: str) -> None:
    error = await refused(client.create(CONFIGMAPS, {"metadata": {}}, scope))
    assert error.message.endswith("metadata.name: Required value: name or generateName is required")


@pytest.mark.parametrize(
    ("body", "content_type", "status", "told"),
    [
        (b"{", "application/json", 400, "unexpected end of data"),
        (b"", "application/json", 400, "the body of the request is empty"),
        (b"[1]", "application/json", 400, "it must be a ConfigMap, as a JSON object"),
        (b"[" * 300 + b"]" * 300, "application/json", 400, "nested too deeply"),
        (b"a: b: c", "application/yaml", 400, "mapping values are not allowed"),
        (b"x: &x [*x]", "application/yaml", 400, "recursive"),
        (b'{"kind":"Pod"}', "application/json", 400, 'Pod in version "v1" cannot be handled as a ConfigMap'),
        (
            b'{"apiVersion":"v2"}',
            "application/json",
            400,
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (b'{"metadata":{"name":"a"},"data":{"a":1}}', "application/json", 400, "data.a: Invalid value: 1"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "accepted media types include: application/json"),
        (b"{" + b" " * (3 << 20) + b"}", "application/json", 413, "limit is 3145728"),
    ],
)
async def test_a_body_that_cannot_be_understood_is_refused_with_a_reason(
    client: Client, scope: str, body: bytes, content_type: str, status: int, told: str
) -> None:
    found, _, document = await send(client, "POST", CONFIGMAPS.path(scope), body, content_type)
    assert found == status, document
    assert told in document["message"]
    assert (await client.list(CONFIGMAPS, scope))["items"] == []


async def test_yaml_is_read_as_kubernetes_reads_it(client: Client, scope: str) -> None:
    body = b"metadata:\n  name: a\n  annotations: {date: 2020-01-01}\ndata: {x: 'yes'}\n"
    status, _, made = await send(client, "POST", CONFIGMAPS.path(scope), body, "application/yaml")
    assert (status, made["data"]) == (201, {"x": "yes"})
    assert made["metadata"]["annotations"] == {"date": "2020-01-01"}


# Unknown and repeated fields


@pytest.mark.parametrize("directive", ["", "Warn", "Ignore", "Strict"])
async def test_unknown_and_repeated_fields_are_treated_as_the_client_asks(
    client: Client, scope: str, directive: str
) -> None:
    body = b'{"metadata":{"name":"a","colour":"red"},"data":{"x":"1","x":"2"},"dota":{}}'
    params = {"fieldValidation": directive} if directive else {}
    status, headers, document = await send(client, "POST", CONFIGMAPS.path(scope), body, **params)
    problems = ['duplicate field "data.x"', 'unknown field "metadata.colour"', 'unknown field "dota"']
    if directive == "Strict":
        assert status == 400
        assert document["message"].endswith(f"strict decoding error: {', '.join(problems)}")
        return
    assert status == 201
    assert document["data"] == {"x": "2"} and "dota" not in document
    warnings = headers.getall("Warning", []) if hasattr(headers, "getall") else []
    expected = [] if directive == "Ignore" else ["299 - " + orjson.dumps(problem).decode() for problem in problems]
    assert warnings == expected


async def test_a_wrong_directive_is_refused(client: Client, scope: str) -> None:
    body = b'{"metadata":{"name":"a"},"dota":{}}'
    status, _, document = await send(client, "POST", CONFIGMAPS.path(scope), body, fieldValidation="Sometimes")
    assert status == 422
    assert "fieldValidation: Unsupported value" in document["message"]


# Updating


async def test_an_update_of_an_old_version_is_a_conflict(client: Client, scope: str) -> None:
    first = await client.create(CONFIGMAPS, config("a", x="1"), scope)
    second = await client.update(CONFIGMAPS, {**first, "data": {"x": "2"}})
    assert second["metadata"]["resourceVersion"] != first["metadata"]["resourceVersion"]
    error = await refused(client.update(CONFIGMAPS, {**first, "data": {"x": "3"}}))
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes '
        "to the latest version and try again"
    )
    assert (await client.get(CONFIGMAPS, "a", scope))["data"] == {"x": "2"}


async def test_an_update_without_a_version_is_unconditional(client: Client, scope: str) -> None:
    made = await client.create(CONFIGMAPS, config("a", x="1"), scope)
    body = {"metadata": {"name": "a", "namespace": scope}, "data": {"x": "2"}}
    updated = await client.update(CONFIGMAPS, body)
    assert updated["data"] == {"x": "2"}
    for field in ("uid", "creationTimestamp"):
        assert updated["metadata"][field] == made["metadata"][field]


async def test_some_kinds_are_only_updated_in_a_version_that_is_named(client: Client, scope: str) -> None:
    made = await client.create(LEASES, {"metadata": {"name": "a"}, "spec": {"holderIdentity": "x"}}, scope)
    body = {"metadata": {"name": "a", "namespace": scope}, "spec": {"holderIdentity": "y"}}
    error = await refused(client.update(LEASES, body))
    assert error.message == (
        'leases.coordination.k8s.io "a" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified '
        "for an update"
    )
    await client.update(LEASES, {**made, "spec": {"holderIdentity": "y"}})
    await client.patch(LEASES, "a", {"spec": {"holderIdentity": "z"}}, scope)


async def test_an_owner_is_named_once(client: Client, scope: str) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "1"}
    body = config() | {"metadata": {"name": "a", "ownerReferences": [owner, {**owner, "name": "p"}, owner]}}
    _, headers, made = await send(client, "POST", CONFIGMAPS.path(scope), body)
    assert made["metadata"]["ownerReferences"] == [owner, {**owner, "name": "p"}]
    assert "metadata.ownerReferences contains duplicate entries" in headers["Warning"]
    assert headers["Warning"].endswith('duplicate UID(s) observed: 1"')


async def test_an_update_that_changes_nothing_writes_nothing(client: Client, scope: str) -> None:
    made = await client.create(DEPLOYMENTS, deployment(), scope)
    assert await client.update(DEPLOYMENTS, made) == made
    assert await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 1}}, scope) == made


async def test_an_update_may_not_change_who_the_object_is(client: Client, scope: str) -> None:
    made = await client.create(CONFIGMAPS, config("a"), scope)
    path = CONFIGMAPS.path(scope, "a")
    status, _, document = await send(client, "PUT", path, config("b"))
    assert (status, document["message"]) == (
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )
    other = {**made, "metadata": {**made["metadata"], "uid": "0"}}
    status, _, document = await send(client, "PUT", path, other)
    assert status == 409
    assert f"Precondition failed: UID in precondition: 0, UID in object meta: {made['metadata']['uid']}" in str(
        document
    )
    error = await refused(client.update(CONFIGMAPS, {"metadata": {"name": "none", "namespace": scope}}))
    assert (error.code, error.message) == (404, 'configmaps "none" not found')


async def test_generation_counts_changes_of_the_spec_alone(client: Client, scope: str) -> None:
    made = await client.create(DEPLOYMENTS, deployment(), scope)
    assert made["metadata"]["generation"] == 1
    labelled = await client.patch(DEPLOYMENTS, "web", {"metadata": {"labels": {"a": "b"}}}, scope)
    assert labelled["metadata"]["generation"] == 1
    scaled = await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 3}}, scope)
    assert scaled["metadata"]["generation"] == 2
    status = {"status": {"replicas": 3, "observedGeneration": 2}}
    counted = await client.patch(DEPLOYMENTS, "web", status, scope, subresource="status")
    assert (counted["metadata"]["generation"], counted["status"]["replicas"]) == (2, 3)


async def test_status_and_spec_are_written_apart(client: Client, scope: str) -> None:
    made = await client.create(REPLICASETS, deployment("rs") | {"status": {"replicas": 9}}, scope)
    assert made.get("status", {}).get("replicas", 0) == 0
    both = {"spec": {"replicas": 5}, "status": {"replicas": 4, "readyReplicas": 4}}
    changed = await client.patch(REPLICASETS, "rs", both, scope, subresource="status")
    assert (changed["spec"]["replicas"], changed["status"]["readyReplicas"]) == (1, 4)
    changed = await client.patch(REPLICASETS, "rs", both | {"status": {"readyReplicas": 1}}, scope)
    assert (changed["spec"]["replicas"], changed["status"]["readyReplicas"]) == (5, 4)


# Patching


async def test_the_three_patches_change_what_they_say(client: Client, scope: str) -> None:
    await client.create(DEPLOYMENTS, deployment(), scope)
    path = DEPLOYMENTS.path(scope, "web")
    container = {"name": "sidecar", "image": "s:1"}
    strategic = {"spec": {"template": {"spec": {"containers": [container]}}}}
    _, _, found = await send(client, "PATCH", path, strategic, STRATEGIC)
    assert [c["name"] for c in found["spec"]["template"]["spec"]["containers"]] == ["sidecar", "c"]
    operations = [
        {"op": "test", "path": "/spec/replicas", "value": 1},
        {"op": "replace", "path": "/spec/replicas", "value": 2},
    ]
    _, _, found = await send(client, "PATCH", path, operations, JSON_PATCH)
    assert found["spec"]["replicas"] == 2
    status, _, found = await send(client, "PATCH", path, operations, JSON_PATCH)
    assert status == 422
    _, _, found = await send(client, "PATCH", path, {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert found["metadata"]["labels"] == {"a": "b"}


async def test_patches_of_one_object_at_once_all_take_effect(client: Client, scope: str) -> None:
    await client.create(CONFIGMAPS, config(), scope)
    await asyncio.gather(*(client.patch(CONFIGMAPS, "a", {"data": {f"k{n}": str(n)}}, scope) for n in range(12)))
    found = await client.get(CONFIGMAPS, "a", scope)
    assert found["data"] == {f"k{n}": str(n) for n in range(12)}


async def test_a_patch_of_an_old_version_is_a_conflict(client: Client, scope: str) -> None:
    made = await client.create(CONFIGMAPS, config(), scope)
    await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, scope)
    old = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"x": "2"}}
    error = await refused(client.patch(CONFIGMAPS, "a", old, scope))
    assert (error.code, error.reason) == (409, "Conflict")


@pytest.mark.parametrize(
    ("content_type", "body", "status", "told"),
    [
        ("application/json", b"{}", 415, "application/merge-patch+json"),
        ("application/apply-patch+yaml", b"a: b", 422, "fieldManager: Required value: is required for apply patch"),
        (MERGE, b"[]", 400, "must be a JSON object"),
        (MERGE, b'{"metadata":{"name":"b"}}', 400, "does not match the name on the URL"),
        (JSON_PATCH, b"{}", 400, "must be a list of operations"),
        (MERGE, b'{"data":{"x":1}}', 400, "data.x: Invalid value: 1: must be of type string"),
        (MERGE, b'{"metadata":{"labels":{"x":"-"}}}', 422, "metadata.labels: Invalid value"),
        (MERGE, b'{"metadata":{"creationTimestamp":"2020-01-01T00:00:00Z"}}', 422, "field is immutable"),
    ],
)
async def test_a_patch_that_does_not_fit_is_refused_with_a_reason(
    client: Client, scope: str, content_type: str, body: bytes, status: int, told: str
) -> None:
    made = await client.create(CONFIGMAPS, config(), scope)
    found, _, document = await send(client, "PATCH", CONFIGMAPS.path(scope, "a"), body, content_type)
    assert found == status, document
    assert told in document["message"]
    assert await client.get(CONFIGMAPS, "a", scope) == made


async def test_strict_patches_refuse_unknown_fields(client: Client, scope: str) -> None:
    await client.create(CONFIGMAPS, config(), scope)
    path, body = CONFIGMAPS.path(scope, "a"), b'{"dota":{"x":"1"}}'
    status, _, document = await send(client, "PATCH", path, body, MERGE, fieldValidation="Strict")
    assert status == 422
    assert 'strict decoding error: unknown field "dota"' in document["message"]
    status, headers, _ = await send(client, "PATCH", path, body, MERGE)
    assert (status, headers["Warning"]) == (200, '299 - "unknown field \\"dota\\""')


# Deleting


async def test_a_plain_object_is_gone_at_once(client: Client, scope: str) -> None:
    made = await client.create(CONFIGMAPS, config(), scope)
    answer = await client.delete(CONFIGMAPS, "a", scope)
    assert answer["status"] == "Success"
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    error = await refused(client.delete(CONFIGMAPS, "a", scope))
    assert (error.code, error.message) == (404, 'configmaps "a" not found')


async def test_a_finalizer_keeps_an_object_until_it_is_taken_away(client: Client, scope: str) -> None:
    body = {"metadata": {"name": "a", "finalizers": ["example.com/wait"]}}
    await client.create(CONFIGMAPS, body, scope)
    marked = await client.delete(CONFIGMAPS, "a", scope)
    assert marked["metadata"]["deletionTimestamp"] and marked["metadata"]["deletionGracePeriodSeconds"] == 0
    again = await client.delete(CONFIGMAPS, "a", scope)
    assert again == marked
    error = await refused(client.create(CONFIGMAPS, config(), scope))
    assert error.message == 'object is being deleted: configmaps "a" already exists'
    more = {"metadata": {"finalizers": ["example.com/wait", "example.com/more"]}}
    error = await refused(client.patch(CONFIGMAPS, "a", more, scope))
    assert "no new finalizers can be added if the object is being deleted" in error.message
    await client.patch(CONFIGMAPS, "a", {"metadata": {"finalizers": None}}, scope)
    assert (await refused(client.get(CONFIGMAPS, "a", scope))).code == 404


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Orphan", ["orphan"]), ("Foreground", ["foregroundDeletion"]), ("Background", None)]
)
async def test_the_propagation_policy_leaves_word_for_the_garbage_collector(
    client: Client, scope: str, policy: str, finalizers: list[str] | None
) -> None:
    await client.create(DEPLOYMENTS, deployment(), scope)
    answer = await client.delete(DEPLOYMENTS, "web", scope, propagation_policy=policy)
    if finalizers is None:
        assert answer["status"] == "Success"
    else:
        assert answer["metadata"]["finalizers"] == finalizers
        assert answer["metadata"]["generation"] == 2


async def test_a_deletion_of_some_kinds_is_answered_with_what_is_gone(client: Client, scope: str) -> None:
    made = await client.create(PODS, pod(), scope)
    gone = await client.delete(PODS, "a", scope)
    assert (gone["kind"], gone["metadata"]["uid"]) == ("Pod", made["metadata"]["uid"])
    assert (await client.list(PODS, scope))["items"] == []


async def test_a_trial_of_a_deletion_shows_what_would_become_of_the_object(client: Client, scope: str) -> None:
    await client.create(CONFIGMAPS, {"metadata": {"name": "a", "finalizers": ["x.io/y"]}}, scope)
    path = CONFIGMAPS.path(scope, "a")
    status, _, shown = await send(client, "DELETE", path, {"dryRun": ["All"], "orphanDependents": False})
    assert (status, "deletionTimestamp" in shown["metadata"]) == (202, True)
    assert "deletionTimestamp" not in (await client.get(CONFIGMAPS, "a", scope))["metadata"]


async def test_jobs_leave_their_pods_unless_told_otherwise(client: Client, scope: str) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}
    await client.create(JOBS, {"metadata": {"name": "a"}, "spec": {"template": template}}, scope)
    _, headers, left = await send(client, "DELETE", JOBS.path(scope, "a"))
    assert left["metadata"]["finalizers"] == ["orphan"]
    assert "child pods are preserved by default when jobs are deleted" in headers["Warning"]


async def test_a_deletion_is_only_of_the_object_that_was_meant(client: Client, scope: str) -> None:
    made = await client.create(CONFIGMAPS, config(), scope)
    error = await refused(client.delete(CONFIGMAPS, "a", scope, uid="other"))
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the UID in the precondition (other) does not match the UID in record" in error.message
    await client.patch(CONFIGMAPS, "a", {"data": {"x": "1"}}, scope)
    version = made["metadata"]["resourceVersion"]
    error = await refused(client.delete(CONFIGMAPS, "a", scope, resource_version=version))
    assert "the ResourceVersion in the precondition" in error.message
    await client.delete(CONFIGMAPS, "a", scope, uid=made["metadata"]["uid"])


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        ({"propagationPolicy": "Sideways"}, 422, "propagationPolicy: Unsupported value"),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, 422, "cannot be both set"),
        ({"dryRun": ["Some"]}, 422, 'dryRun: Unsupported value: "Some": supported values: "All"'),
        ({"gracePeriodSeconds": "5"}, 400, 'gracePeriodSeconds: Invalid value: "5": must be of type integer'),
        ({"kind": "Pod"}, 400, "must be DeleteOptions"),
    ],
)
async def test_wrong_options_of_a_deletion_are_refused(
    client: Client, scope: str, body: Object, status: int, told: str
) -> None:
    await client.create(CONFIGMAPS, config(), scope)
    found, _, document = await send(client, "DELETE", CONFIGMAPS.path(scope, "a"), body)
    assert found == status, document
    assert told in document["message"]
    await client.get(CONFIGMAPS, "a", scope)


async def test_a_running_pod_gets_its_grace_period_and_a_later_request_may_shorten_it(
    client: Client, scope: str
) -> None:
    await client.create(PODS, pod(nodeName="n1", terminationGracePeriodSeconds=20), scope)
    first = (await client.delete(PODS, "a", scope))["metadata"]
    assert first["deletionGracePeriodSeconds"] == 20
    longer = (await client.delete(PODS, "a", scope, grace_period_seconds=40))["metadata"]
    assert longer == first
    shorter = (await client.delete(PODS, "a", scope, grace_period_seconds=5))["metadata"]
    assert shorter["deletionGracePeriodSeconds"] == 5
    assert shorter["deletionTimestamp"] < first["deletionTimestamp"]
    await client.delete(PODS, "a", scope, grace_period_seconds=0)
    assert (await refused(client.get(PODS, "a", scope))).code == 404


async def test_a_collection_is_deleted_as_far_as_it_is_selected(client: Client, scope: str) -> None:
    for number in range(150):
        labels = {"even": str(number % 2 == 0).lower()}
        await client.create(CONFIGMAPS, {"metadata": {"name": f"c{number}", "labels": labels}}, scope)
    answer = await client.delete_collection(CONFIGMAPS, scope, label_selector="even=true")
    assert len(answer["items"]) == 75
    assert len((await client.list(CONFIGMAPS, scope))["items"]) == 75


async def test_a_namespace_waits_for_its_finalizer(client: Client) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": "leaving"}})
    marked = await client.delete(NAMESPACES, "leaving")
    assert marked["status"]["phase"] == "Terminating" and marked["spec"]["finalizers"] == ["kubernetes"]
    error = await refused(client.create(CONFIGMAPS, config(), "leaving"))
    assert error.code == 403 and "because it is being terminated" in error.message
    body = {**marked, "spec": {"finalizers": []}}
    await client.update(NAMESPACES, body, subresource="finalize")
    assert (await refused(client.get(NAMESPACES, "leaving"))).code == 404


# Dry runs


async def test_a_dry_run_does_everything_but_write(client: Client, scope: str) -> None:
    path = CONFIGMAPS.path(scope)
    status, _, made = await send(client, "POST", path, config("a", x="1"), dryRun="All")
    assert status == 201 and made["metadata"]["uid"]
    assert (await client.list(CONFIGMAPS, scope))["items"] == []
    stored = await client.create(CONFIGMAPS, config("a", x="1"), scope)
    status, _, document = await send(client, "POST", path, config("a"), dryRun="All")
    assert status == 409
    status, _, changed = await send(client, "PATCH", f"{path}/a", {"data": {"x": "2"}}, MERGE, dryRun="All")
    assert (status, changed["data"]) == (200, {"x": "2"})
    status, _, document = await send(client, "DELETE", f"{path}/a", {"dryRun": ["All"]})
    assert (status, document["status"]) == (200, "Success")
    status, _, document = await send(client, "POST", path, config("b"), dryRun="Some")
    assert status == 422
    assert await client.get(CONFIGMAPS, "a", scope) == stored


# Subresources


async def test_scale_is_read_and_written_alike_for_all_that_scales(client: Client, scope: str) -> None:
    made = await client.create(DEPLOYMENTS, deployment(replicas=2), scope)
    scale = await client.get(DEPLOYMENTS, "web", scope, subresource="scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2} and scale["status"] == {"replicas": 0, "selector": "app=web"}
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    scale["spec"]["replicas"] = 5
    scaled = await client.update(DEPLOYMENTS, scale, subresource="scale")
    assert scaled["spec"] == {"replicas": 5}
    error = await refused(client.update(DEPLOYMENTS, scale, subresource="scale"))
    assert error.reason == "Conflict"
    await client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 7}}, scope, subresource="scale")
    found = await client.get(DEPLOYMENTS, "web", scope)
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (7, 3)
    error = await refused(client.patch(DEPLOYMENTS, "web", {"spec": {"replicas": -1}}, scope, subresource="scale"))
    assert error.message == (
        'Scale.autoscaling "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0'
    )


async def test_a_binding_puts_a_pod_on_a_node_once(client: Client, scope: str) -> None:
    await client.create(PODS, pod(), scope)
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n1"}}
    answer = await client.create(PODS, binding, scope, name="a", subresource="binding")
    assert (answer["kind"], answer["status"], answer["code"]) == ("Status", "Success", 201)
    found = await client.get(PODS, "a", scope)
    assert found["spec"]["nodeName"] == "n1"
    condition = found["status"]["conditions"][0]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
    error = await refused(client.create(PODS, binding, scope, name="a", subresource="binding"))
    assert (error.code, error.reason) == (409, "Conflict")
    assert 'pod a is already assigned to node "n1"' in error.message
    await client.create(PODS, pod("b"), scope)
    empty = {"metadata": {"name": "b"}, "target": {"kind": "Node", "name": ""}}
    error = await refused(client.create(PODS, empty, scope, name="b", subresource="binding"))
    assert error.code == 422 and "target.name: Required value" in error.message


async def test_a_pod_can_be_bound_by_its_name_alone(client: Client, scope: str) -> None:
    await client.create(PODS, pod(), scope)
    binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
    status, _, answer = await send(client, "POST", f"/api/v1/namespaces/{scope}/bindings", binding)
    assert (status, answer["status"]) == (201, "Success")
    assert (await client.get(PODS, "a", scope))["spec"]["nodeName"] == "n"
    status, _, answer = await send(client, "POST", f"/api/v1/namespaces/{scope}/bindings", binding)
    assert (status, answer["reason"]) == (409, "Conflict")
    binding["metadata"]["name"] = "none"
    assert (await send(client, "POST", f"/api/v1/namespaces/{scope}/bindings", binding))[0] == 404


async def test_the_parts_of_the_control_plane_are_told_of(client: Client) -> None:
    _, headers, found = await send(client, "GET", "/api/v1/componentstatuses")
    assert headers["Warning"] == '299 - "v1 ComponentStatus is deprecated in v1.19+"'
    healthy = {item["metadata"]["name"]: item["conditions"][0]["status"] for item in found["items"]}
    assert healthy == {"controller-manager": "False", "etcd-0": "True", "scheduler": "False"}
    _, _, one = await send(client, "GET", "/api/v1/componentstatuses/scheduler")
    assert one["conditions"][0]["error"] == "nobody holds the Lease kube-system/kube-scheduler"
    assert (await send(client, "GET", "/api/v1/componentstatuses/none"))[0] == 404


async def test_of_two_bindings_at_once_one_wins(client: Client, scope: str) -> None:
    await client.create(PODS, pod(), scope)
    bindings = [{"metadata": {"name": "a"}, "target": {"kind": "Node", "name": f"n{n}"}} for n in range(5)]
    results = await asyncio.gather(
        *(client.create(PODS, binding, scope, name="a", subresource="binding") for binding in bindings),
        return_exceptions=True,
    )
    assert sum(isinstance(result, dict) for result in results) == 1


async def test_an_eviction_deletes_and_says_why(client: Client, scope: str) -> None:
    await client.create(PODS, pod(nodeName="n1", terminationGracePeriodSeconds=9), scope)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}}
    answer = await client.create(PODS, eviction, scope, name="a", subresource="eviction")
    assert answer["status"] == "Success"
    found = await client.get(PODS, "a", scope)
    assert found["metadata"]["deletionGracePeriodSeconds"] == 9
    reasons = {
        condition["type"]: condition["reason"] for condition in found["status"]["conditions"] if "reason" in condition
    }
    assert reasons["DisruptionTarget"] == "EvictionByEvictionAPI"


async def test_a_budget_is_spent_by_evictions_and_no_further(client: Client, scope: str) -> None:
    budget = {"metadata": {"name": "b"}, "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}
    await client.create(PODDISRUPTIONBUDGETS, budget, scope)
    for name in ("a", "b", "c", "other"):
        made = pod(name, nodeName="n") | {
            "metadata": {"name": name, "labels": {} if name == "other" else {"app": "web"}}
        }
        await client.create(PODS, made, scope)
        ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
        await client.patch(PODS, name, {"status": ready}, scope, subresource="status")

    async def evict(name: str, **params: str) -> Object:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}}
        return await client.create(PODS, eviction, scope, name=name, subresource="eviction", params=params)

    error = await refused(evict("a"))
    assert (error.code, error.reason, error.retry_after_seconds) == (429, "TooManyRequests", 10)
    status = {"observedGeneration": 1, "disruptionsAllowed": 1, "currentHealthy": 3, "desiredHealthy": 2}
    status |= {"expectedPods": 3}
    await client.patch(PODDISRUPTIONBUDGETS, "b", {"status": status}, scope, subresource="status")
    await evict("a", dryRun="All")
    results = await asyncio.gather(*(evict(name) for name in ("a", "b", "c")), return_exceptions=True)
    errors = [result for result in results if isinstance(result, ApiError)]
    assert [error.message for error in errors] == [
        "Cannot evict pod as it would violate the pod's disruption budget."
    ] * 2
    told = "The disruption budget b needs 2 healthy pods and has 3 currently"
    assert (errors[0].details or {})["causes"] == [{"reason": "DisruptionBudget", "message": told}]
    spent = (await client.get(PODDISRUPTIONBUDGETS, "b", scope))["status"]
    assert (spent["disruptionsAllowed"], len(spent["disruptedPods"])) == (0, 1)
    gone = [item["metadata"]["name"] for item in (await client.list(PODS, scope))["items"] if _is_going(item)]
    assert gone == list(spent["disruptedPods"])
    await evict("other")
    await client.patch(PODS, "c", {"status": {"phase": "Succeeded"}}, scope, subresource="status")
    await evict("c")


def _is_going(item: Object) -> bool:
    return "deletionTimestamp" in item["metadata"]


# What is not served


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/v1/namespaces/default/unicorns", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis/apps/v1beta1/deployments", 404),
        ("GET", "/apis/apps/v1/namespaces/default/pods", 404),
        ("GET", "/api/v1/pods/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces/default/configmaps/a/scale", 404),
        ("GET", "/api/v1/namespaces/default/pods/a/status/more", 404),
        ("GET", "/api/v1/namespaces/default/pods/a/binding", 405),
        ("POST", "/api/v1/pods", 405),
        ("POST", "/api/v1/namespaces/default/pods/a", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("DELETE", "/api/v1/namespaces/default/pods/a/status", 405),
    ],
)
async def test_what_is_not_served_is_told_apart_from_what_may_not_be_done(
    client: Client, method: str, path: str, status: int
) -> None:
    found, _, document = await send(client, method, path, {} if method != "GET" else None)
    assert found == status, document
    assert document["kind"] == "Status"


async def test_objects_of_the_whole_cluster_have_no_namespace(client: Client) -> None:
    made = await client.create(NODES, {"metadata": {"name": "n9", "namespace": ""}})
    assert "namespace" not in made["metadata"]
    listed = await client.list(NODES)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["n9"]
