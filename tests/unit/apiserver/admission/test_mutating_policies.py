"""Mutating policies: those of Kubernetes' documentation, and what each of their fields does."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, NAMESPACES, PODS, Resource
from apiserver.admission.plugin import CREATE, DELETE, Attributes, Chain, Cluster, Plugin, mutate
from apiserver.admission.policies.mutating import plugin
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.request_info import User
from tests.support.access import Objects, authorizer_of
from tests.support.admission import FakeCluster
from tests.unit.apiserver.admission.policies import EVERYTHING, applied, mutates, mutating, patched

JANE = User("jane")
TEST = (NAMESPACES, {"metadata": {"name": "test", "labels": {}}})
SIDECAR = """
    Object{
      spec: Object.spec{
        initContainers: [
          Object.spec.initContainers{
            name: "mesh-proxy",
            image: "mesh/proxy:v1.0.0",
            restartPolicy: "Always"
          }
        ]
      }
    }
"""


def pod(*init: str, **metadata: Any) -> Object:
    spec: Object = {"containers": [{"name": "app", "image": "app:1"}]}
    if init:
        spec["initContainers"] = [{"name": name, "image": "init:1"} for name in init]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "test", **metadata},
        "spec": spec,
    }


async def mutated(obj: Object, *objects: Any, others: tuple[Plugin, ...] = ()) -> Object:
    cluster = FakeCluster(TEST, *objects)
    chain = Chain([*others, plugin(cluster, Served(Catalog()), authorizer_of(Objects()))])
    attributes = Attributes(CREATE, PODS, "test", "web", JANE, obj)
    await mutate(chain, attributes, cluster)
    return obj


async def refusal(*objects: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await mutated(pod(), *objects)
    return caught.value


async def test_a_sidecar_comes_into_every_pod_that_has_none():
    conditions = [
        {
            "name": "does-not-already-have-sidecar",
            "expression": '!object.spec.initContainers.exists(ic, ic.name == "mesh-proxy")',
        }
    ]
    policy = mutating(applied(SIDECAR), matchConditions=conditions, failurePolicy="Fail")
    made = await mutated(pod("first"), policy, mutates())
    assert [one["name"] for one in made["spec"]["initContainers"]] == ["first", "mesh-proxy"]
    again = await mutated(made, policy, mutates())
    assert len(again["spec"]["initContainers"]) == 2


async def test_items_of_lists_are_merged_by_their_key():
    expression = 'Object{spec: Object.spec{containers: [Object.spec.containers{name: "app", tty: true}]}}'
    made = await mutated(pod(), mutating(applied(expression)), mutates())
    assert made["spec"]["containers"] == [{"name": "app", "image": "app:1", "tty": True}]


async def test_labels_come_beside_those_that_are_there():
    expression = 'Object{metadata: Object.metadata{labels: {"added": object.metadata.name}}}'
    made = await mutated(pod(labels={"mine": "yes"}), mutating(applied(expression)), mutates())
    assert made["metadata"]["labels"] == {"mine": "yes", "added": "web"}


async def test_the_patch_of_the_documentation():
    expression = """[
        JSONPatch{op: "test", path: "/metadata/labels/environment", value: "dev"},
        JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/foo"), value: "bar"}
    ]"""
    policy = mutating(patched(expression))
    made = await mutated(pod(labels={"environment": "dev"}), policy, mutates())
    assert made["metadata"]["labels"] == {"environment": "dev", "example.com/foo": "bar"}
    # A test that fails says that there is nothing to do.
    made = await mutated(pod(labels={"environment": "prod"}), policy, mutates())
    assert made["metadata"]["labels"] == {"environment": "prod"}


async def test_objects_in_patches():
    expression = """[
        JSONPatch{op: "add", path: "/spec/initContainers", value: []},
        JSONPatch{op: "add", path: "/spec/initContainers/-",
                  value: Object.spec.initContainers{name: "i", image: "i:1"}},
        JSONPatch{op: "copy", from: "/metadata/name", path: "/spec/hostname"}
    ]"""
    made = await mutated(pod(), mutating(patched(expression)), mutates())
    assert made["spec"]["initContainers"] == [{"name": "i", "image": "i:1"}]
    assert made["spec"]["hostname"] == "web"


async def test_mutations_see_what_those_before_them_have_made():
    one = applied('Object{spec: Object.spec{hostname: "a"}}')
    two = applied("Object{spec: Object.spec{subdomain: object.spec.hostname + variables.suffix}}")
    policy = mutating(one, two, variables=[{"name": "suffix", "expression": "'-' + object.spec.hostname"}])
    assert (await mutated(pod(), policy, mutates()))["spec"]["subdomain"] == "a-a"


async def test_policies_are_about_requests_as_they_come_in():
    labels = applied('Object{metadata: Object.metadata{labels: {"mesh": "yes"}}}')
    names = applied('Object{spec: Object.spec{hostname: "meshed"}}')
    selects = {"objectSelector": {"matchLabels": {"mesh": "yes"}}}
    found = mutating(names, name="b", matchConstraints={"resourceRules": [EVERYTHING], **selects})
    policies = (mutating(labels, name="a"), mutates("a", "a"), found, mutates("b", "b"))
    assert "hostname" not in (await mutated(pod(), *policies))["spec"]
    assert (await mutated(pod(labels={"mesh": "yes"}), *policies))["spec"]["hostname"] == "meshed"


@pytest.mark.parametrize(
    ("mutation", "why"),
    [
        (
            applied("Object{spec: Object.spec{nodeName: object.spec.nothing}}"),
            "resulted in error: no such key: nothing",
        ),
        (
            applied('Object{spec: Object.spec{containers: [Object.spec.containers{name: "app", args: ["a"]}]}}'),
            "error applying patch: invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: "
            ".spec.containers[0].args",
        ),
        (
            applied("Object{spec: Object.wrong{hostname: 'a'}}"),
            'type mismatch: unexpected type name "Object.wrong", expected "Object.spec", which matches field name '
            "path from root Object type",
        ),
        (patched('[JSONPatch{op: "remove", path: "/spec/nothing"}]'), "JSON Patch: "),
    ],
)
async def test_mutations_that_can_not_be_made(mutation, why):
    error = await refusal(mutating(mutation), mutates())
    assert error.message.startswith("policy 'policy' with binding 'binding' denied request: ")
    assert why in error.message
    assert (error.code, error.reason) == (403, "Invalid")
    before = pod()
    made = await mutated(pod(), mutating(mutation, failurePolicy="Ignore"), mutates())
    assert made == before


async def test_unknown_fields_are_refused():
    error = await refusal(mutating(applied("Object{spec: Object.spec{nothing: 1}}")), mutates())
    assert "field not declared in schema" in error.message


async def test_parameters():
    expression = """Object{metadata: Object.metadata{labels: {"owner": params.data.owner}}}"""
    kind = {"apiVersion": "v1", "kind": "ConfigMap"}
    config: tuple[Resource, Object] = (
        CONFIGMAPS,
        {**kind, "metadata": {"name": "c", "namespace": "test"}, "data": {"owner": "me"}},
    )
    policy = mutating(applied(expression), paramKind=kind)
    reference = {"name": "c", "parameterNotFoundAction": "Deny"}
    made = await mutated(pod(), policy, mutates(paramRef=reference), config)
    assert made["metadata"]["labels"] == {"owner": "me"}
    error = await refusal(policy, mutates(paramRef=reference))
    assert error.message.startswith("policy 'policy' with binding 'binding' denied request: failed to configure")


async def test_what_is_deleted_is_not_changed():
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    cluster = FakeCluster(TEST, mutating(applied("Object{spec: Object.spec{hostname: 'a'}}"), rule=rule), mutates())
    chain = Chain([plugin(cluster, Served(Catalog()), authorizer_of(Objects()))])
    await mutate(chain, Attributes(DELETE, PODS, "test", "web", JANE, None, pod()), cluster)


def counting(label: str) -> Object:
    """A mutation that counts how often it is made."""
    return applied(
        f"""Object{{metadata: Object.metadata{{labels: {{"{label}": has(object.metadata.labels) &&
            "{label}" in object.metadata.labels ? object.metadata.labels["{label}"] + "i" : "i"}}}}}}"""
    )


async def test_who_wants_to_looks_again_at_what_others_have_changed():
    first = mutating(counting("first"), name="a", reinvocationPolicy="IfNeeded")
    second = mutating(counting("second"), name="b")
    made = await mutated(pod(), first, second, mutates("a", "a"), mutates("b", "b"))
    assert made["metadata"]["labels"] == {"first": "ii", "second": "i"}
    # Nobody looks again if nothing was changed after them.
    made = await mutated(pod(), first, mutates("a", "a"))
    assert made["metadata"]["labels"] == {"first": "i"}


async def test_other_plugins_look_again_at_what_policies_have_changed():
    seen: list[dict[str, str]] = []

    async def look(attributes: Attributes, cluster: Cluster) -> None:
        assert attributes.obj is not None
        seen.append(dict(attributes.obj["metadata"].get("labels") or {}))

    other = Plugin("Other", (CREATE,), mutate=look)
    await mutated(pod(), mutating(counting("first")), mutates(), others=(other,))
    assert seen == [{}, {"first": "i"}]
