"""The managers of objects that are created and updated."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.managedfields import sets
from apimachinery.managedfields.custom import custom
from apimachinery.managedfields.entries import (
    Managed,
    capped,
    collected,
    decode,
    encoded,
    from_lines,
    is_reset,
    lines,
    make,
)
from apimachinery.managedfields.kinds import Kind, Scope, Writer
from apimachinery.managedfields.types import builtin
from apimachinery.managedfields.updating import created, updated
from apimachinery.meta import Object

PODS = Kind({"v1": builtin("io.k8s.api.core.v1.Pod")})
NOON = "2026-01-01T12:00:00Z"
ONE = "2026-01-01T13:00:00Z"


def by(manager: str, time: str = NOON, subresource: str = "", version: str = "v1") -> Writer:
    return Writer(manager, version, subresource, time)


def pod(**parts: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        **parts,
    }


def fields(managed: Managed, manager: str) -> Any:
    return next((sets.loads(entry.fields) for entry in managed if entry.manager == manager), None)


def test_who_creates_a_pod_owns_it_as_kubernetes_shows_it() -> None:
    """The entry that Kubernetes writes for this pod."""
    found = created(
        PODS,
        pod(
            spec={
                "containers": [
                    {
                        "name": "web",
                        "image": "nginx",
                        "imagePullPolicy": "Always",
                        "resources": {},
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    }
                ],
                "restartPolicy": "Always",
                "securityContext": {},
            }
        ),
        by("kubectl-create"),
    )
    container = {
        ".": {},
        "f:image": {},
        "f:imagePullPolicy": {},
        "f:name": {},
        "f:ports": {
            ".": {},
            'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}, "f:protocol": {}},
        },
        "f:resources": {},
    }
    assert encoded(found) == [
        {
            "manager": "kubectl-create",
            "operation": "Update",
            "apiVersion": "v1",
            "time": NOON,
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:spec": {
                    "f:containers": {'k:{"name":"web"}': container, ".": {}},
                    "f:restartPolicy": {},
                    "f:securityContext": {},
                }
            },
        }
    ]


def test_what_the_server_keeps_itself_is_owned_by_nobody() -> None:
    owned = fields(created(PODS, pod(), by("me")), "me")
    assert owned is None


def test_a_status_is_owned_through_its_subresource() -> None:
    old = pod(spec={"nodeName": "n"}, status={"phase": "Pending"})
    managed = created(PODS, old, by("me"), Scope(reset={"f:status": {}}))
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": NOON}
    new = {**old, "status": {"phase": "Running", "podIP": "10.0.0.1", "conditions": [ready]}}
    found = updated(PODS, managed, old, new, by("kubelet", ONE, "status"), Scope(reset={"f:spec": {}}))
    assert fields(found, "me") == {"f:spec": {"f:nodeName": {}}}
    condition = {".": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
    assert encoded(found)[1] == {
        "manager": "kubelet",
        "operation": "Update",
        "apiVersion": "v1",
        "time": ONE,
        "fieldsType": "FieldsV1",
        "fieldsV1": {
            "f:status": {
                "f:conditions": {".": {}, 'k:{"type":"Ready"}': condition},
                "f:phase": {},
                "f:podIP": {},
            }
        },
        "subresource": "status",
    }


def test_a_second_update_of_the_same_fields_moves_nothing_but_the_time() -> None:
    versions = [pod(status={"phase": phase}) for phase in ("Pending", "Running", "Failed")]
    managed = created(PODS, pod(spec={"hostname": "x"}), by("me"))
    first = updated(PODS, managed, versions[0], versions[1], by("kubelet", NOON, "status"))
    second = updated(PODS, first, versions[1], versions[2], by("kubelet", ONE, "status"))
    old, new = (next(entry for entry in found if entry.manager == "kubelet") for found in (first, second))
    assert (old.time, new.time) == (NOON, ONE)
    assert new.pieces is old.pieces


def test_what_is_removed_is_owned_by_nobody_and_its_remover_is_no_new_manager() -> None:
    old = pod(spec={"hostname": "a", "subdomain": "b"})
    managed = created(PODS, old, by("me"))
    found = updated(PODS, managed, old, pod(spec={"hostname": "a"}), by("you"))
    assert [entry.manager for entry in found] == ["me"]
    assert fields(found, "me") == {"f:spec": {"f:hostname": {}}}
    assert found[0].time == NOON


def test_items_of_a_list_that_stand_twice_are_one_field() -> None:
    def env(*pairs: tuple[str, str]) -> Object:
        listed = [{"name": name, "value": value} for name, value in pairs]
        return pod(spec={"containers": [{"name": "c", "env": listed}]})

    def owned(managed: Managed, manager: str) -> Any:
        found = fields(managed, manager)
        return found and found["f:spec"]["f:containers"]['k:{"name":"c"}']["f:env"]

    item = {".": {}, "f:name": {}, "f:value": {}}
    twice = created(PODS, env(("A", "1"), ("A", "2"), ("B", "1")), by("me"))
    assert owned(twice, "me") == {".": {}, 'k:{"name":"A"}': {}, 'k:{"name":"B"}': item}
    other = updated(PODS, twice, env(("A", "1"), ("A", "2")), env(("A", "1"), ("A", "3")), by("you"))
    assert owned(other, "you") == {'k:{"name":"A"}': {}}
    once = updated(PODS, twice, env(("A", "1"), ("A", "2")), env(("A", "1")), by("you"))
    assert owned(once, "you") == {'k:{"name":"A"}': item}


def test_a_zero_that_go_does_not_keep_is_no_field() -> None:
    assert created(PODS, pod(spec={"hostNetwork": False, "hostname": ""}), by("me")) == ()
    owned = fields(created(PODS, pod(spec={"enableServiceLinks": False}), by("me")), "me")
    assert owned == {"f:spec": {"f:enableServiceLinks": {}}}


def test_the_eleventh_manager_makes_the_oldest_two_ancient_changes() -> None:
    data = {"type": "object", "additionalProperties": {"type": "string"}}
    kind = Kind({"example.com/v1": custom({"type": "object", "properties": {"spec": data}})})
    managed: Managed = ()
    old: Object = {}
    for number in range(12):
        spec = {f"k{one:02}": "x" for one in range(number + 1)}
        new = {"apiVersion": "example.com/v1", "kind": "T", "metadata": {"name": "t"}, "spec": spec}
        who = by(f"manager-{number:02}", f"2026-01-01T00:{number:02}:00Z", version="example.com/v1")
        managed = updated(kind, managed, old, new, who)
        old = new
    assert len(managed) == 10
    assert managed[0].manager == "ancient-changes"
    assert fields(managed, "ancient-changes") == {"f:spec": {".": {}, "f:k00": {}, "f:k01": {}, "f:k02": {}}}
    assert managed[0].time == "2026-01-01T00:02:00Z"
    assert capped(managed) is managed


def test_those_who_apply_are_never_too_many() -> None:
    many = collected(make("Apply", NOON, f"m{number}", "v1", "", b'{"f:data":{}}') for number in range(20))
    assert capped(many) is many


def test_a_manager_in_a_version_that_is_gone_is_forgotten() -> None:
    managed = decode(
        [{"manager": "old", "operation": "Update", "apiVersion": "v0", "fieldsType": "FieldsV1", "fieldsV1": {}}]
    )
    assert updated(PODS, managed, pod(), pod(spec={"hostname": "x"}), by("me"))[0].manager == "me"


def test_parts_of_what_has_become_one_whole_are_one_field() -> None:
    def kind(map_type: str) -> Kind:
        data = {"type": "object", "additionalProperties": {"type": "string"}, "x-kubernetes-map-type": map_type}
        return Kind({"v1": custom({"type": "object", "properties": {"data": data}})}, changes=True)

    one = {"apiVersion": "v1", "kind": "T", "metadata": {"name": "t"}, "data": {"a": "1"}}
    managed = created(kind("granular"), one, by("me"))
    assert fields(managed, "me") == {"f:data": {".": {}, "f:a": {}}}
    labelled = {**one, "metadata": {"name": "t", "labels": {"x": "y"}}}
    found = updated(kind("atomic"), managed, one, labelled, by("me"))
    assert fields(found, "me") == {"f:data": {}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}


def test_entries_keep_their_form_in_the_store_and_in_answers() -> None:
    managed = created(PODS, pod(spec={"hostname": "x"}), by('quoted "manager"', subresource="status"))
    managed = updated(PODS, managed, pod(), pod(spec={"subdomain": "s"}), by("other", ""))
    assert from_lines(lines(managed)) is managed
    assert decode(encoded(managed)) is managed


WRONG: list[tuple[Any, str]] = [
    ({"manager": "m"}, "operation must be `Apply` or `Update`"),
    ({"operation": "Apply"}, "apiVersion must not be empty"),
    ({"operation": "Apply", "apiVersion": "v1"}, "missing fieldsType in managed fields entry 0"),
    (
        {"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"},
        'invalid fieldsType "FieldsV2" in managed fields entry 0',
    ),
    (
        {"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": {"x": {}}},
        "missing colon: x",
    ),
]


@pytest.mark.parametrize(("document", "told"), WRONG, ids=[told for _, told in WRONG])
def test_entries_that_nobody_can_read_are_refused(document: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        decode([document])


def test_entries_are_read_in_whatever_form_they_are_written() -> None:
    written = {
        "f:b": {},
        "f:a": {'k:{ "name" : "x", "id":1}': {}, "x:unknown": {"f:z": {}}, "v:1": {".": {}}},
        ".": {},
    }
    entry = {"operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": written}
    assert fields(decode([entry]), "") == {"f:a": {'k:{"id":1,"name":"x"}': {}, "v:1": {}}, "f:b": {}}


def test_an_empty_list_or_one_empty_entry_asks_for_all_managers_to_be_forgotten() -> None:
    assert is_reset([]) and is_reset([{}])
    assert not is_reset(None) and not is_reset([{"manager": "x"}])


def test_beside_what_has_parts_a_null_is_as_good_as_empty() -> None:
    data = {"type": "object", "nullable": True, "additionalProperties": {"type": "string"}}
    kind = Kind({"v1": custom({"type": "object", "properties": {"data": data}})})

    def thing(data: Any) -> Object:
        return {"apiVersion": "v1", "kind": "Thing", "metadata": {"name": "a"}, "data": data}

    first = created(kind, thing(None), by("one"))
    second = updated(kind, first, thing(None), thing({"a": "1"}), by("two"))
    assert (fields(second, "one"), fields(second, "two")) == ({"f:data": {}}, {"f:data": {"f:a": {}}})
    third = updated(kind, second, thing({"a": "1"}), thing(None), by("three"))
    assert [(entry.manager, sets.loads(entry.fields)) for entry in third] == [("one", {"f:data": {}})]
    fourth = updated(kind, third, thing(None), thing({}), by("four"))
    assert [(entry.manager, sets.loads(entry.fields)) for entry in fourth] == [("four", {"f:data": {}})]
