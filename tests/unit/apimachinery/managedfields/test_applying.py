"""Server-side apply on built-in kinds, as its documentation tells it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apimachinery.managedfields import sets
from apimachinery.managedfields.applying import LAST_APPLIED, Applied, apply
from apimachinery.managedfields.check import problems
from apimachinery.managedfields.conflicts import ConflictError
from apimachinery.managedfields.entries import Managed
from apimachinery.managedfields.kinds import Kind, Scope, Writer
from apimachinery.managedfields.types import builtin
from apimachinery.managedfields.updating import created, updated
from apimachinery.meta import Object

DEPLOYMENTS = Kind({"apps/v1": builtin("io.k8s.api.apps.v1.Deployment")})
CONFIGMAPS = Kind({"v1": builtin("io.k8s.api.core.v1.ConfigMap")})
SERVICES = Kind({"v1": builtin("io.k8s.api.core.v1.Service")})
PODS = Kind({"v1": builtin("io.k8s.api.core.v1.Pod")})


def by(manager: str, version: str = "v1", time: str = "2026-01-01T00:00:00Z") -> Writer:
    return Writer(manager, version, "", time)


def configmap(data: dict[str, str] | None = None, **metadata: Any) -> Object:
    found: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", **metadata}}
    return found if data is None else {**found, "data": data}


def deployment(**spec: Any) -> Object:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def containers(*names_and_images: tuple[str, str]) -> Object:
    listed = [{"name": name, "image": image} for name, image in names_and_images]
    return {"template": {"spec": {"containers": listed}}}


def fields(managed: Managed, manager: str) -> Any:
    """What a manager owns, as the document shows it."""
    found = [sets.loads(entry.fields) for entry in managed if entry.manager == manager]
    return found[0] if len(found) == 1 else found


def test_an_applied_object_is_owned_by_field() -> None:
    found = apply(CONFIGMAPS, {}, (), configmap({"key": "value"}, labels={"app": "web"}), by("kubectl"))
    assert fields(found.managed, "kubectl") == {
        "f:metadata": {"f:labels": {"f:app": {}}},
        "f:data": {"f:key": {}},
    }
    assert [entry.operation for entry in found.managed] == ["Apply"]


def test_the_same_fields_of_two_managers_make_a_conflict_unless_their_values_agree() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap({"a": "1", "b": "2"}), by("one"))
    again = apply(CONFIGMAPS, first.obj, first.managed, configmap({"a": "1"}), by("two"))
    assert fields(again.managed, "two") == {"f:data": {"f:a": {}}}
    with pytest.raises(ConflictError) as error:
        apply(CONFIGMAPS, again.obj, again.managed, configmap({"a": "9", "b": "9"}), by("three"))
    assert error.value.message == (
        'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b\nconflicts with "two":\n- .data.a'
    )
    assert error.value.status()["reason"] == "Conflict"
    assert error.value.status()["details"]["causes"][0] == {
        "reason": "FieldManagerConflict",
        "message": 'conflict with "one"',
        "field": ".data.a",
    }


def test_a_conflict_with_an_update_names_its_version_and_its_subresource() -> None:
    live = deployment(replicas=2)
    managed = updated(DEPLOYMENTS, (), {}, live, Writer("autoscaler", "apps/v1", "scale", ""))
    with pytest.raises(ConflictError) as error:
        apply(DEPLOYMENTS, live, managed, deployment(replicas=3), by("me", "apps/v1"))
    assert error.value.message == (
        'Apply failed with 1 conflict: conflict with "autoscaler" with subresource "scale" using apps/v1: '
        ".spec.replicas"
    )


def test_force_makes_the_one_who_applies_the_only_manager() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap({"a": "1"}), by("one"))
    found = apply(CONFIGMAPS, first.obj, first.managed, configmap({"a": "2"}), by("two"), force=True)
    assert found.obj["data"] == {"a": "2"}
    assert [entry.manager for entry in found.managed] == ["two"]


def test_to_give_up_a_field_that_another_shares_leaves_its_value() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap({"a": "1", "b": "2"}), by("one"))
    second = apply(CONFIGMAPS, first.obj, first.managed, configmap({"a": "1"}), by("two"))
    found = apply(CONFIGMAPS, second.obj, second.managed, configmap({}), by("one"))
    assert found.obj["data"] == {"a": "1"}
    assert [entry.manager for entry in found.managed] == ["one", "two"]
    assert fields(found.managed, "one") == {"f:data": {}}


def test_a_list_that_is_a_map_is_merged_by_its_keys_and_keeps_the_order_that_is_applied() -> None:
    live = deployment(**containers(("a", "a:1"), ("sidecar", "s:1"), ("b", "b:1")))
    managed = created(DEPLOYMENTS, live, by("other", "apps/v1"))
    config = deployment(**containers(("b", "b:1"), ("a", "a:1"), ("c", "c:1")))
    found = apply(DEPLOYMENTS, live, managed, config, by("me", "apps/v1"))
    named = [container["name"] for container in found.obj["spec"]["template"]["spec"]["containers"]]
    assert named == ["sidecar", "b", "a", "c"]


def test_an_item_that_is_applied_no_more_goes_with_all_that_is_in_it() -> None:
    first = apply(DEPLOYMENTS, {}, (), deployment(**containers(("a", "a:1"), ("b", "b:1"))), by("me", "apps/v1"))
    live = orjson.loads(orjson.dumps(first.obj))
    live["spec"]["template"]["spec"]["containers"][1]["imagePullPolicy"] = "Always"  # a default
    found = apply(DEPLOYMENTS, live, first.managed, deployment(**containers(("a", "a:1"))), by("me", "apps/v1"))
    assert found.obj["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "a:1"}]


def test_an_item_that_another_has_something_in_stays_with_what_is_theirs() -> None:
    first = apply(DEPLOYMENTS, {}, (), deployment(**containers(("a", "a:1"), ("b", "b:1"))), by("me", "apps/v1"))
    theirs = deployment(template={"spec": {"containers": [{"name": "b", "tty": True}]}})
    second = apply(DEPLOYMENTS, first.obj, first.managed, theirs, by("you", "apps/v1"))
    config = deployment(**containers(("a", "a:1")))
    found = apply(DEPLOYMENTS, second.obj, second.managed, config, by("me", "apps/v1"))
    assert found.obj["spec"]["template"]["spec"]["containers"][1] == {"name": "b", "tty": True}


def test_ports_are_told_apart_by_number_and_protocol_which_is_tcp_unless_said() -> None:
    ports = [{"port": 53, "protocol": "UDP"}, {"port": 53, "targetPort": 5353}]
    config = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "dns"}, "spec": {"ports": ports}}
    found = apply(SERVICES, {}, (), config, by("me"))
    owned = fields(found.managed, "me")["f:spec"]["f:ports"]
    assert set(owned) == {'k:{"port":53,"protocol":"UDP"}', 'k:{"port":53,"protocol":"TCP"}'}
    live = {**config, "spec": {"ports": [ports[0], {**ports[1], "protocol": "TCP", "nodePort": 30053}]}}
    again = apply(SERVICES, live, found.managed, config, by("me"))
    assert again.obj == live and again.managed == found.managed


def test_an_atomic_map_belongs_to_one_manager_as_a_whole() -> None:
    def service(selector: dict[str, str]) -> Object:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": {"selector": selector}}

    first = apply(SERVICES, {}, (), service({"app": "a"}), by("one"))
    assert fields(first.managed, "one") == {"f:spec": {"f:selector": {}}}
    with pytest.raises(ConflictError, match=r"\.spec\.selector$"):
        apply(SERVICES, first.obj, first.managed, service({"tier": "b"}), by("two"))
    found = apply(SERVICES, first.obj, first.managed, service({"tier": "b"}), by("two"), force=True)
    assert found.obj["spec"]["selector"] == {"tier": "b"}


def test_finalizers_are_a_set_of_values() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap(finalizers=["example.com/a"]), by("one"))
    second = apply(CONFIGMAPS, first.obj, first.managed, configmap(finalizers=["example.com/b"]), by("two"))
    assert second.obj["metadata"]["finalizers"] == ["example.com/a", "example.com/b"]
    assert fields(second.managed, "two") == {"f:metadata": {"f:finalizers": {'v:"example.com/b"': {}}}}
    found = apply(CONFIGMAPS, second.obj, second.managed, configmap(), by("one"))
    assert found.obj["metadata"]["finalizers"] == ["example.com/b"]


def test_an_object_without_managers_gets_one_of_all_that_is_there_before_the_first_apply() -> None:
    live = configmap({"a": "1", "b": "2"})
    found = apply(CONFIGMAPS, live, (), configmap({"c": "3"}), by("me"))
    assert fields(found.managed, "before-first-apply") == {"f:data": {".": {}, "f:a": {}, "f:b": {}}}
    with pytest.raises(ConflictError, match='conflict with "before-first-apply" using v1: .data.a'):
        apply(CONFIGMAPS, live, (), configmap({"a": "9"}), by("me"))


def test_what_kubectl_applied_on_the_clients_side_is_no_conflict_for_kubectl() -> None:
    config = configmap({"a": "1", "b": "2"})
    live = configmap({"a": "1", "b": "2"}, annotations={LAST_APPLIED: orjson.dumps(config).decode()})
    managed = created(CONFIGMAPS, live, by("kubectl-client-side-apply"))
    changed = configmap({"a": "9", "b": "2"})
    with pytest.raises(ConflictError):
        apply(CONFIGMAPS, live, managed, changed, by("somebody"))
    found = apply(CONFIGMAPS, live, managed, changed, by("kubectl"))
    assert found.obj["data"]["a"] == "9"
    assert orjson.loads(found.obj["metadata"]["annotations"][LAST_APPLIED]) == changed
    assert fields(found.managed, "kubectl") == {"f:data": {"f:a": {}, "f:b": {}}}


def test_what_somebody_has_changed_since_the_client_applied_it_is_a_conflict_for_kubectl_too() -> None:
    config = configmap({"a": "1", "b": "2"})
    live = configmap({"a": "1", "b": "2"}, annotations={LAST_APPLIED: orjson.dumps(config).decode()})
    managed = created(CONFIGMAPS, live, by("kubectl-client-side-apply"))
    edited = {**live, "data": {"a": "5", "b": "2"}}
    managed = updated(CONFIGMAPS, managed, live, edited, by("kubectl-edit"))
    with pytest.raises(ConflictError) as error:
        apply(CONFIGMAPS, edited, managed, configmap({"a": "9", "b": "8"}), by("kubectl"))
    assert error.value.message == ('Apply failed with 1 conflict: conflict with "kubectl-edit" using v1: .data.a')


def test_a_list_that_is_handed_to_an_autoscaler_stays_as_it_is() -> None:
    """The documentation's way to hand over a field: first the other applies it, then it is left out."""
    first = apply(DEPLOYMENTS, {}, (), deployment(replicas=3, paused=True), by("kubectl", "apps/v1"))
    scaled = {**first.obj, "spec": {**first.obj["spec"], "replicas": 5}}
    managed = updated(DEPLOYMENTS, first.managed, first.obj, scaled, by("autoscaler", "apps/v1"))
    found = apply(DEPLOYMENTS, scaled, managed, deployment(paused=True), by("kubectl", "apps/v1"))
    assert found.obj["spec"]["replicas"] == 5
    assert fields(found.managed, "autoscaler") == {"f:spec": {"f:replicas": {}}}


def test_the_time_of_an_entry_moves_only_when_something_does() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap({"a": "1"}), by("me"))
    same = apply(CONFIGMAPS, first.obj, first.managed, configmap({"a": "1"}), by("me", time="2026-01-02T00:00:00Z"))
    assert same.managed == first.managed
    other = apply(CONFIGMAPS, first.obj, first.managed, configmap({"a": "2"}), by("me", time="2026-01-02T00:00:00Z"))
    assert other.managed[0].time == "2026-01-02T00:00:00Z"


def test_what_a_request_can_not_write_is_not_owned() -> None:
    config = {**deployment(replicas=1), "status": {"replicas": 1}}
    found = apply(DEPLOYMENTS, {}, (), config, by("me", "apps/v1"), scope=Scope(reset={"f:status": {}}))
    assert fields(found.managed, "me") == {"f:spec": {"f:replicas": {}}}


def test_who_applies_nothing_is_no_manager_any_more() -> None:
    first = apply(CONFIGMAPS, {}, (), configmap({"a": "1"}), by("me"))
    found = apply(CONFIGMAPS, first.obj, first.managed, configmap(), by("me"))
    assert found == Applied(configmap(), ())


def test_pods_of_equal_specs_are_owned_by_the_same_bytes() -> None:
    spec = {"containers": [{"name": "main", "image": "app:1", "resources": {"limits": {"cpu": "1"}}}]}
    pods = [{"metadata": {"name": name, "labels": {"app": "x"}}, "spec": dict(spec)} for name in "ab"]
    one, other = (created(PODS, pod, by("controller")) for pod in pods)
    assert one is other


CHECKS: list[tuple[str, Object, str]] = [
    ("a field that does not exist", deployment(replica=1), ".spec.replica: field not declared in schema"),
    ("a text for a number", deployment(replicas="3"), '.spec.replicas: expected numeric (int or float), got "3"'),
    ("a map for a text", deployment(paused={}), ".spec.paused: expected boolean, got {}"),
    ("what fits", deployment(replicas=3, **containers(("a", "1"))), ""),
    (
        "an item twice",
        deployment(**containers(("a", "1"), ("a", "2"))),
        '.spec.template.spec.containers: duplicate entries for key [name="a"]',
    ),
    (
        "a field of an item that does not exist",
        deployment(template={"spec": {"containers": [{"name": "a", "img": "1"}]}}),
        '.spec.template.spec.containers[name="a"].img: field not declared in schema',
    ),
    (
        "several at once",
        {**deployment(a=1), "b": 2},
        "errors:\n  .spec.a: field not declared in schema\n  .b: field not declared in schema",
    ),
]


@pytest.mark.parametrize(("what", "config", "told"), CHECKS, ids=[check[0] for check in CHECKS])
def test_a_configuration_is_checked_before_it_is_applied(what: str, config: Object, told: str) -> None:
    assert problems(DEPLOYMENTS.types["apps/v1"], config) == told
