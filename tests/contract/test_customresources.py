"""Custom resources against a real API server: what definitions make it serve, and by which rules."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import orjson
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, Resource
from tests.support.apiserver import running
from tests.support.customresources import (
    ANYTHING,
    define,
    definition,
    made,
    properties,
    resource,
    until_condition,
    until_gone,
    version,
)

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
SPEC = properties(spec=properties(size=INTEGER, colour=STRING), status=properties(ready=INTEGER))
_kinds = (f"Thing{number}" for number in itertools.count())


@pytest.fixture
def kind() -> str:
    """A kind that no other test defines."""
    return next(_kinds)


def set_schema(schema: Object, number: int = 0) -> list[Object]:
    return [{"op": "replace", "path": f"/spec/versions/{number}/schema/openAPIV3Schema", "value": schema}]


async def refused(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def test_a_definition_is_served_by_itself_soon(client: Client, kind: str) -> None:
    defined = definition(kind, version(schema=SPEC))
    of = resource(defined)
    await client.create(CUSTOMRESOURCEDEFINITIONS, defined)
    while True:  # the test's own time is limited
        try:
            await client.create(of, made(of, "first", spec={"size": 1}))
            break
        except ApiError as error:
            assert error.code == 404
    stored = await client.get(CUSTOMRESOURCEDEFINITIONS, defined["metadata"]["name"])
    told = {one["type"]: (one["status"], one["reason"], one["message"]) for one in stored["status"]["conditions"]}
    assert told == {
        "NamesAccepted": ("True", "NoConflicts", "no conflicts found"),
        "Established": ("True", "InitialNamesAccepted", "the initial names have been accepted"),
    }
    assert stored["status"]["storedVersions"] == ["v1"]
    names = {"plural": of.plural, "singular": of.singular, "kind": kind, "listKind": f"{kind}List"}
    assert stored["status"]["acceptedNames"] == names


async def test_objects_are_pruned_defaulted_and_counted(client: Client, kind: str) -> None:
    schema = properties(spec=properties(size={"type": "integer", "default": 3}, colour=STRING))
    of = resource(await define(client, definition(kind, version(schema=schema))))
    obj = await client.create(of, made(of, "a", spec={"colour": "red", "unknown": 1}, other=2))
    assert (obj["spec"], "other" in obj) == ({"colour": "red", "size": 3}, False)
    assert obj["metadata"]["generation"] == 1
    obj["spec"]["size"] = 4
    obj = await client.update(of, obj)
    assert (obj["spec"]["size"], obj["metadata"]["generation"]) == (4, 2)
    obj = await client.patch(of, "a", {"metadata": {"labels": {"x": "y"}}}, "default")
    assert obj["metadata"]["generation"] == 2


async def test_whole_numbers_have_no_point(client: Client, kind: str) -> None:
    schema = properties(spec=properties(size=INTEGER, ratio={"type": "number"}))
    of = resource(await define(client, definition(kind, version(schema=schema))))
    await client.create(of, made(of, "a", spec={"size": 3.0, "ratio": 2.0}))
    _, _, data = await client.request("GET", of.path("default", "a"))
    assert b'"spec":{"size":3,"ratio":2}' in data


async def test_custom_resources_are_not_sent_as_protobuf(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind)))
    protobuf = {"Content-Type": "application/vnd.kubernetes.protobuf"}
    error = await refused(client.request("POST", of.path("default"), body=b"k8s\0", headers=protobuf))
    assert (error.code, error.message) == (
        415,
        "the body of the request was in an unknown format - accepted media types include: application/json, "
        "application/yaml",
    )


async def test_unknown_fields_are_refused_warned_of_or_dropped(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    obj = made(of, "a", spec={"size": 1, "length": 2})

    async def create(which: str) -> Any:
        path = f"{of.path('default')}?fieldValidation={which}&dryRun=All"
        return await client.request(
            "POST", path, body=orjson.dumps(obj), headers={"Content-Type": "application/json"}
        )

    error = await refused(create("Strict"))
    assert (error.code, error.message) == (
        400,
        f'{kind} in version "v1" cannot be handled as a {kind}: strict decoding error: unknown field "spec.length"',
    )
    _, headers, _ = await create("Warn")
    assert headers["Warning"] == '299 - "unknown field \\"spec.length\\""'
    _, headers, _ = await create("Ignore")
    assert "Warning" not in headers


async def test_what_is_wrong_is_told_with_all_its_causes(client: Client, kind: str) -> None:
    schema = properties(
        spec={
            **properties(
                size={"type": "integer", "minimum": 1, "maximum": 10},
                colour={"type": "string", "enum": ["red", "green"]},
                names={"type": "array", "maxItems": 1, "items": {"type": "string", "pattern": "^[a-z]+$"}},
            ),
            "required": ["colour"],
        }
    )
    of = resource(await define(client, definition(kind, version(schema=schema))))
    error = await refused(client.create(of, made(of, "a", spec={"size": 11, "names": ["A", "b"]})))
    assert error.code == 422
    told = {(one["field"], one["message"]) for one in (error.details or {})["causes"]}
    assert told == {
        ("spec.size", "Invalid value: 11: spec.size in body should be less than or equal to 10"),
        ("spec.colour", "Required value"),
        ("spec.names", "Too many: 2: must have at most 1 item"),
        ("spec.names[0]", "Invalid value: \"A\": spec.names[0] in body should match '^[a-z]+$'"),
    }


async def test_rules_in_cel_are_held(client: Client, kind: str) -> None:
    spec = {
        **properties(low=INTEGER, high=INTEGER, colour={"type": "string", "maxLength": 10}),
        "x-kubernetes-validations": [
            {"rule": "self.low <= self.high", "messageExpression": "'low is too high for ' + self.colour"},
            {"rule": "self.low >= oldSelf.low", "message": "low may only grow", "fieldPath": ".low"},
        ],
    }
    of = resource(await define(client, definition(kind, version(schema=properties(spec=spec)))))
    error = await refused(client.create(of, made(of, "a", spec={"low": 2, "high": 1, "colour": "red"})))
    assert error.message.endswith("spec: Invalid value: low is too high for red")
    await client.create(of, made(of, "a", spec={"low": 2, "high": 3}))
    error = await refused(client.patch(of, "a", {"spec": {"low": 1}}, "default"))
    assert error.message.endswith("spec.low: Invalid value: low may only grow")


async def test_a_rule_that_does_not_compile_is_refused_with_its_definition(client: Client, kind: str) -> None:
    spec = {**properties(low=INTEGER), "x-kubernetes-validations": [{"rule": "self.high > 1"}]}
    defined = definition(kind, version(schema=properties(spec=spec)))
    error = await refused(client.create(CUSTOMRESOURCEDEFINITIONS, defined))
    assert error.code == 422
    assert "compilation failed: ERROR: <input>:1:5: undefined field 'high'" in error.message


async def test_what_was_wrong_before_may_stay_while_it_is_not_touched(client: Client, kind: str) -> None:
    defined = await define(client, definition(kind, version(schema=SPEC)))
    of = resource(defined)
    await client.create(of, made(of, "a", spec={"size": 100, "colour": "red"}))
    strict = properties(spec=properties(size={"type": "integer", "maximum": 10}, colour=STRING))
    await client.patch(CUSTOMRESOURCEDEFINITIONS, defined["metadata"]["name"], set_schema(strict), kind="json")
    await client.patch(of, "a", {"spec": {"colour": "blue"}}, "default")
    error = await refused(client.patch(of, "a", {"spec": {"size": 101}}, "default"))
    assert "should be less than or equal to 10" in error.message


async def test_a_new_default_shows_in_what_is_stored_already(client: Client, kind: str) -> None:
    defined = await define(client, definition(kind, version(schema=SPEC)))
    of = resource(defined)
    old = await client.create(of, made(of, "a", spec={"size": 1}))
    schema = properties(spec=properties(size=INTEGER, colour={"type": "string", "default": "green"}))
    await client.patch(CUSTOMRESOURCEDEFINITIONS, defined["metadata"]["name"], set_schema(schema), kind="json")
    new = await client.get(of, "a", "default")
    assert new["spec"] == {"size": 1, "colour": "green"}
    assert new["metadata"]["resourceVersion"] == old["metadata"]["resourceVersion"]
    (listed,) = (await client.list(of, "default"))["items"]
    assert listed["spec"] == {"size": 1, "colour": "green"}


async def test_status_is_written_on_its_own(client: Client, kind: str) -> None:
    one = version(schema=SPEC, subresources={"status": {}})
    of = resource(await define(client, definition(kind, one)))
    obj = await client.create(of, made(of, "a", spec={"size": 1}, status={"ready": 9}))
    assert "status" not in obj
    obj = await client.patch(of, "a", {"spec": {"size": 2}, "status": {"ready": 1}}, "default", subresource="status")
    assert (obj["spec"], obj["status"], obj["metadata"]["generation"]) == ({"size": 1}, {"ready": 1}, 1)
    obj = await client.patch(of, "a", {"spec": {"size": 2}, "status": {"ready": 2}}, "default")
    assert (obj["spec"], obj["status"], obj["metadata"]["generation"]) == ({"size": 2}, {"ready": 1}, 2)


async def test_without_a_status_subresource_all_that_changes_counts(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    await client.create(of, made(of, "a", spec={"size": 1}))
    obj = await client.patch(of, "a", {"status": {"ready": 1}}, "default")
    assert (obj["status"], obj["metadata"]["generation"]) == ({"ready": 1}, 2)
    error = await refused(client.get(of, "a", "default", subresource="status"))
    assert error.code == 404


async def test_scale_goes_by_the_paths_of_the_definition(client: Client, kind: str) -> None:
    schema = properties(spec=properties(count=INTEGER), status=properties(have=INTEGER, labels=STRING))
    scale = {
        "specReplicasPath": ".spec.count",
        "statusReplicasPath": ".status.have",
        "labelSelectorPath": ".status.labels",
    }
    of = resource(await define(client, definition(kind, version(schema=schema, subresources={"scale": scale}))))
    await client.create(of, made(of, "a", spec={}, status={"have": 2, "labels": "app=a"}))
    error = await refused(client.get(of, "a", "default", subresource="scale"))
    assert error.message == 'Internal error occurred: the spec replicas field ".spec.count" does not exist'
    error = await refused(client.patch(of, "a", {"metadata": {"labels": {}}}, "default", subresource="scale"))
    assert (error.code, error.message) == (400, 'the spec replicas field ".spec.count" cannot be empty')
    scaled = await client.patch(of, "a", {"spec": {"replicas": 5}}, "default", subresource="scale")
    assert scaled["apiVersion"], scaled["kind"] == ("autoscaling/v1", "Scale")
    assert (scaled["spec"], scaled["status"]) == ({"replicas": 5}, {"replicas": 2, "selector": "app=a"})
    assert (await client.get(of, "a", "default"))["spec"] == {"count": 5}
    error = await refused(client.patch(of, "a", {"spec": {"replicas": -1}}, "default", subresource="scale"))
    assert error.message.endswith(".spec.count: Invalid value: -1: should be a non-negative integer")


async def test_strategic_merge_patches_are_for_built_in_kinds(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    await client.create(of, made(of, "a", spec={"size": 1}))
    error = await refused(client.patch(of, "a", {"spec": {"size": 2}}, "default", kind="strategic"))
    assert (error.code, error.reason) == (415, "UnsupportedMediaType")
    assert error.message == (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )
    patched = await client.patch(
        of, "a", [{"op": "replace", "path": "/spec/size", "value": 3}], "default", kind="json"
    )
    assert patched["spec"]["size"] == 3


async def test_an_update_must_name_a_version(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    obj = await client.create(of, made(of, "a", spec={"size": 1}))
    del obj["metadata"]["resourceVersion"]
    error = await refused(client.update(of, obj))
    assert (error.code, error.message) == (
        422,
        f'{of.plural}.{of.group} "a" is invalid: metadata.resourceVersion: Invalid value: 0x0: must be specified for '
        "an update",
    )


@pytest.mark.parametrize("metadata", [None, 5, ["x"]])
async def test_an_update_without_usable_metadata_is_refused(client: Client, kind: str, metadata: Any) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    await client.create(of, made(of, "a"))
    sent = {"apiVersion": of.api_version, "kind": of.kind, "spec": {}}
    sent |= {"metadata": metadata} if metadata is not None else {}
    error = await refused(client.request("PUT", of.path("default", "a"), body=orjson.dumps(sent)))
    assert error.code in (400, 422)


async def test_fields_that_are_named_can_be_selected_by(client: Client, kind: str) -> None:
    one = version(schema=SPEC, selectableFields=[{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.size"}])
    of = resource(await define(client, definition(kind, one)))
    for which, size, colour in (("a", 1, "red"), ("b", 2, "red"), ("c", 1, "blue")):
        await client.create(of, made(of, which, spec={"size": size, "colour": colour}))

    async def selected(selector: str) -> list[str]:
        found = await client.list(of, "default", field_selector=selector)
        return [item["metadata"]["name"] for item in found["items"]]

    assert await selected("spec.colour=red") == ["a", "b"]
    assert await selected("spec.colour=red,spec.size=2") == ["b"]
    assert await selected("spec.colour!=red,metadata.namespace=default") == ["c"]
    error = await refused(selected("spec.length=1"))
    assert (error.code, error.message) == (400, "field label not supported: spec.length")
    since = (await client.list(of, "default"))["metadata"]["resourceVersion"]
    watch = client.watch(of, "default", resource_version=since, field_selector="spec.colour=blue")
    waiting = asyncio.ensure_future(anext(watch))
    await asyncio.sleep(0.05)
    await client.patch(of, "b", {"spec": {"colour": "green"}}, "default")
    await client.patch(of, "a", {"spec": {"colour": "blue"}}, "default")
    event, obj = await asyncio.wait_for(waiting, 5)
    assert (event, obj["metadata"]["name"]) == ("ADDED", "a")
    await watch.aclose()


async def test_tables_have_the_columns_of_the_definition(client: Client, kind: str) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "How large it is."},
        {"name": "Colour", "type": "string", "jsonPath": ".spec.colour", "priority": 1},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Made", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    one = version(schema=ANYTHING, additionalPrinterColumns=columns)
    of = resource(await define(client, definition(kind, one)))
    conditions = [{"type": "Alive", "status": "False"}, {"type": "Ready", "status": "True"}]
    await client.create(of, made(of, "a", spec={"size": 7}, status={"conditions": conditions}))
    table = await as_table(client, of)
    told = [(one["name"], one["type"], one["priority"]) for one in table["columnDefinitions"]]
    assert told == [
        ("Name", "string", 0),
        ("Size", "integer", 0),
        ("Colour", "string", 1),
        ("Ready", "string", 0),
        ("Made", "date", 0),
    ]
    assert table["columnDefinitions"][1]["description"] == "How large it is."
    (row,) = table["rows"]
    assert row["cells"][:4] == ["a", 7, None, "True"]
    assert row["cells"][4].endswith("s")


async def as_table(client: Client, of: Resource) -> Object:
    accept = {"Accept": "application/json;as=Table;g=meta.k8s.io;v=v1"}
    _, _, data = await client.request("GET", of.path("default"), headers=accept)
    found: Object = orjson.loads(data)
    return found


async def test_a_kind_of_no_namespace_has_cluster_paths_only(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC), scope="Cluster")))
    await client.create(of, made(of, "a", spec={"size": 1}))
    assert [item["metadata"]["name"] for item in (await client.list(of))["items"]] == ["a"]
    error = await refused(client.request("GET", f"/apis/{of.api_version}/namespaces/default/{of.plural}"))
    assert error.code == 404


async def test_what_is_defined_shows_in_discovery_and_openapi(client: Client, kind: str) -> None:
    group = f"{kind.lower()}.example.com"
    names = {"shortNames": ["thg"], "categories": ["all", "things"], "listKind": f"{kind}Collection"}
    alpha = version("v1alpha1", SPEC, storage=False)
    one = version("v1", SPEC, subresources={"status": {}})
    defined = definition(kind, alpha, one, group=group, names=names)
    await define(client, defined)
    _, _, data = await client.request("GET", f"/apis/{group}")
    found = orjson.loads(data)
    assert [one["version"] for one in found["versions"]] == ["v1", "v1alpha1"]
    assert found["preferredVersion"]["version"] == "v1"
    _, _, data = await client.request("GET", f"/apis/{group}/v1")
    told = {one["name"]: one for one in orjson.loads(data)["resources"]}
    plural = defined["spec"]["names"]["plural"]
    assert set(told) == {plural, f"{plural}/status"}
    assert (told[plural]["shortNames"], told[plural]["categories"]) == (["thg"], ["all", "things"])
    accept = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}
    _, _, data = await client.request("GET", "/apis", headers=accept)
    (of_group,) = [item for item in orjson.loads(data)["items"] if item["metadata"]["name"] == group]
    assert [one["version"] for one in of_group["versions"]] == ["v1", "v1alpha1"]
    _, _, data = await client.request("GET", "/openapi/v3")
    path = orjson.loads(data)["paths"][f"apis/{group}/v1"]["serverRelativeURL"]
    _, _, data = await client.request("GET", path)
    document = orjson.loads(data)
    schema = document["components"]["schemas"][f"com.example.{kind.lower()}.v1.{kind}"]
    assert schema["properties"]["spec"]["properties"]["size"] == INTEGER
    assert f"/apis/{group}/v1/namespaces/{{namespace}}/{plural}/{{name}}/status" in document["paths"]
    _, _, data = await client.request("GET", "/openapi/v2")
    assert f"com.example.{kind.lower()}.v1.{kind}" in orjson.loads(data)["definitions"]
    listed = await client.list(resource(defined, "v1"))
    assert listed["kind"] == f"{kind}Collection"


async def test_names_belong_to_who_has_asked_first(client: Client, kind: str) -> None:
    group = f"{kind.lower()}.example.com"
    first = definition("Cat", group=group, names={"shortNames": ["ct"]})
    await define(client, first)
    second = definition("Cart", group=group, names={"shortNames": ["ct"]})
    await client.create(CUSTOMRESOURCEDEFINITIONS, second)
    found = await until_condition(client, second["metadata"]["name"], "NamesAccepted", "False")
    told = {one["type"]: (one["status"], one["reason"], one["message"]) for one in found["status"]["conditions"]}
    assert told == {
        "NamesAccepted": ("False", "ShortNamesConflict", '"ct" is already in use'),
        "Established": ("False", "NotAccepted", "not all names are accepted"),
    }
    error = await refused(client.list(resource(second)))
    assert error.code == 404
    await client.delete(CUSTOMRESOURCEDEFINITIONS, first["metadata"]["name"])
    await until_condition(client, second["metadata"]["name"], "Established", "True")
    await client.list(resource(second))


async def test_deletion_takes_the_objects_along_and_waits_for_finalizers(client: Client, kind: str) -> None:
    defined = await define(client, definition(kind, version(schema=SPEC)))
    of, which = resource(defined), defined["metadata"]["name"]
    await client.create(of, made(of, "free", spec={}))
    await client.create(of, made(of, "held", spec={}, metadata={"finalizers": ["example.com/hold"]}))
    await client.delete(CUSTOMRESOURCEDEFINITIONS, which)
    found = await until_condition(client, which, "Terminating", "True", "InstanceDeletionInProgress")
    assert found["metadata"]["finalizers"] == ["customresourcecleanup.apiextensions.k8s.io"]
    await until_gone(client, of, "free", "default")
    applied = orjson.dumps(made(of, "new", spec={}))
    path, how = f"{of.path('default', 'new')}?fieldManager=me", {"Content-Type": "application/apply-patch+yaml"}
    for late in (
        client.create(of, made(of, "new", spec={})),
        client.request("PATCH", path, body=applied, headers=how),
    ):
        error = await refused(late)
        assert error.code == 403
        assert '"new" is forbidden: create not allowed while custom resource definition is' in error.message
    await client.patch(of, "held", {"metadata": {"finalizers": None}}, "default")
    await until_gone(client, CUSTOMRESOURCEDEFINITIONS, which)
    error = await refused(client.list(of))
    assert error.code == 404
    # One of the same name starts with nothing.
    await define(client, definition(kind, version(schema=SPEC)))
    assert (await client.list(of))["items"] == []


async def test_watches_see_the_end_of_the_objects_and_then_end(client: Client, kind: str) -> None:
    defined = await define(client, definition(kind, version(schema=SPEC)))
    of = resource(defined)
    obj = await client.create(of, made(of, "a", spec={}))
    events: list[str] = []

    async def watch() -> None:
        async for event, _ in client.watch(of, resource_version=obj["metadata"]["resourceVersion"]):
            events.append(event)

    watching = asyncio.ensure_future(watch())
    await asyncio.sleep(0.1)
    await client.delete(CUSTOMRESOURCEDEFINITIONS, defined["metadata"]["name"])
    await asyncio.wait_for(watching, 5)
    assert events == ["DELETED"]


async def test_a_version_that_goes_takes_its_watches_along_and_no_others(client: Client, kind: str) -> None:
    old, new = version("v1beta1", SPEC, storage=False), version("v1", SPEC)
    defined = await define(client, definition(kind, old, new))
    before, after = resource(defined, "v1beta1"), resource(defined, "v1")
    since = (await client.list(after))["metadata"]["resourceVersion"]
    seen: dict[str, list[str]] = {"v1beta1": [], "v1": []}
    done = asyncio.Event()

    async def watch(of: Resource) -> None:
        async for event, obj in client.watch(of, resource_version=since):
            if event != "BOOKMARK":
                assert obj["apiVersion"] == of.api_version
                seen[of.version].append(obj["metadata"]["name"])
                if seen["v1"] == ["one", "two"]:
                    done.set()

    watches = [asyncio.ensure_future(watch(of)) for of in (before, after)]
    await asyncio.sleep(0.1)
    await client.create(before, made(before, "one", spec={"size": 1}))
    stop = [{"op": "replace", "path": "/spec/versions/0/served", "value": False}]
    await client.patch(CUSTOMRESOURCEDEFINITIONS, defined["metadata"]["name"], stop, kind="json")
    await asyncio.wait_for(watches[0], 5)
    error = await refused(client.list(before))
    assert error.code == 404
    await client.create(after, made(after, "two", spec={}))
    await asyncio.wait_for(done.wait(), 5)
    assert seen["v1beta1"] == ["one"] and not watches[1].done()
    watches[1].cancel()
    assert (await client.get(after, "one", "default"))["apiVersion"] == after.api_version


async def test_one_object_is_served_in_all_versions(client: Client, kind: str) -> None:
    small = properties(spec=properties(size=INTEGER))
    defined = await define(client, definition(kind, version("v1", SPEC, storage=False), version("v2", small)))
    one, two = resource(defined, "v1"), resource(defined, "v2")
    obj = await client.create(one, made(one, "a", spec={"size": 1, "colour": "red"}))
    # What the storage version has no place for is lost.
    assert (obj["apiVersion"], obj["spec"]) == (one.api_version, {"size": 1})
    shown = await client.get(two, "a", "default")
    assert (shown["apiVersion"], shown["spec"]) == (two.api_version, {"size": 1})
    assert shown["metadata"]["uid"] == obj["metadata"]["uid"]


async def test_versions_in_which_objects_are_stored_can_not_be_dropped(client: Client, kind: str) -> None:
    defined = await define(client, definition(kind, version("v1", SPEC)))
    which = defined["metadata"]["name"]
    one = resource(defined, "v1")
    await client.create(one, made(one, "a", spec={"size": 1}))
    both = [version("v1", SPEC, storage=False), version("v2", SPEC)]
    changed = await client.patch(CUSTOMRESOURCEDEFINITIONS, which, {"spec": {"versions": both}})
    assert changed["status"]["storedVersions"] == ["v1", "v2"]
    only = {"spec": {"versions": [version("v2", SPEC)]}}
    error = await refused(client.patch(CUSTOMRESOURCEDEFINITIONS, which, only))
    assert 'status.storedVersions[0]: Invalid value: "v1": missing from spec.versions' in error.message
    # Storage is migrated by writing everything once, even if nothing is changed.
    two = resource(defined, "v2")
    obj = await client.get(two, "a", "default")
    written = await client.update(two, obj)
    assert written["metadata"]["resourceVersion"] != obj["metadata"]["resourceVersion"]
    migrated = {"status": {"storedVersions": ["v2"]}}
    await client.patch(CUSTOMRESOURCEDEFINITIONS, which, migrated, subresource="status")
    await client.patch(CUSTOMRESOURCEDEFINITIONS, which, only)
    assert (await client.get(two, "a", "default"))["spec"] == {"size": 1}


async def test_deprecated_versions_warn(client: Client, kind: str) -> None:
    old = version("v1beta1", SPEC, storage=False, deprecated=True)
    defined = await define(client, definition(kind, old, version("v1", SPEC)))
    _, headers, _ = await client.request("GET", resource(defined, "v1beta1").path("default"))
    group = defined["spec"]["group"]
    assert headers["Warning"] == f'299 - "{group}/v1beta1 {kind} is deprecated; use {group}/v1 {kind}"'


async def test_collections_are_deleted_by_selectors(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    for which, label in (("a", "x"), ("b", "x"), ("c", "y")):
        await client.create(of, made(of, which, spec={}, metadata={"labels": {"l": label}}))
    await client.delete_collection(of, "default", label_selector="l=x")
    assert [item["metadata"]["name"] for item in (await client.list(of))["items"]] == ["c"]


async def test_metadata_is_held_to_the_rules_of_all_metadata(client: Client, kind: str) -> None:
    of = resource(await define(client, definition(kind, version(schema=SPEC))))
    error = await refused(client.create(of, made(of, "A_b")))
    assert (error.code, "metadata.name" in error.message) == (422, True)
    wrong = made(of, "a", metadata={"labels": {"x": 1}})
    error = await refused(client.create(of, wrong))
    assert error.code in (400, 422)
    named = await client.create(of, made(of, "", metadata={"generateName": "made-"}))
    assert named["metadata"]["name"].startswith("made-")


async def test_all_of_it_survives_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running(tmp_path_factory.mktemp("restart")) as process:
        await process.wait_ready()
        columns = [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}]
        old, new = version("v1", SPEC, storage=False), version("v2", SPEC, additionalPrinterColumns=columns)
        defined = definition("Widget", old, new)
        one, two = resource(defined, "v1"), resource(defined, "v2")
        async with await process.client() as client:
            await define(client, defined)
            obj = await client.create(one, made(one, "a", spec={"size": 5}))
            doomed = await define(client, definition("Doomed", version(schema=SPEC)))
            held = resource(doomed)
            await client.create(held, made(held, "a", metadata={"finalizers": ["example.com/hold"]}))
            await client.delete(CUSTOMRESOURCEDEFINITIONS, doomed["metadata"]["name"])
        process.kill()
        process.start()
        await process.wait_ready()
        async with await process.client() as client:
            assert await client.get(one, "a", "default") == obj
            assert (await as_table(client, two))["rows"][0]["cells"] == ["a", 5]
            await until_condition(client, doomed["metadata"]["name"], "Terminating", "True")
            await client.patch(held, "a", {"metadata": {"finalizers": None}}, "default")
            await until_gone(client, CUSTOMRESOURCEDEFINITIONS, doomed["metadata"]["name"])


async def test_a_hundred_definitions_come_at_once_survive_a_restart_and_go(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    defined = [
        definition(f"Part{number}", version(schema=SPEC), group=f"g{number % 7}.example.com") for number in range(100)
    ]
    parts = [resource(one) for one in defined]
    names = [one["metadata"]["name"] for one in defined]
    with running(tmp_path_factory.mktemp("many")) as process:
        await process.wait_ready()
        async with await process.client() as client:
            await asyncio.gather(*(define(client, one) for one in defined))
            made_ones = [client.create(of, made(of, "a", spec={"size": 1})) for of in parts]
            objects = await asyncio.gather(*made_ones)
        process.kill()
        process.start()
        await process.wait_ready()
        async with await process.client() as client:
            assert await asyncio.gather(*(client.get(of, "a", "default") for of in parts)) == objects
            served = await client.request("GET", "/apis/g0.example.com/v1")
            assert len(orjson.loads(served[2])["resources"]) == 15
            await asyncio.gather(*(client.delete(CUSTOMRESOURCEDEFINITIONS, name) for name in names))
            await asyncio.gather(*(until_gone(client, CUSTOMRESOURCEDEFINITIONS, name) for name in names))
            error = await refused(client.request("GET", "/apis/g0.example.com/v1"))
            assert error.code == 404
