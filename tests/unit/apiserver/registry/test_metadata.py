"""What holds of the metadata of every object."""

from __future__ import annotations

import pytest

from apimachinery.resources import CONFIGMAPS, NAMESPACES, NODES
from apiserver.registry import strategy
from apiserver.registry.metadata import validate_metadata, validate_metadata_update

KEY = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}


def told(resource=CONFIGMAPS, **metadata):
    scope = {"namespace": "default"} if resource.namespaced else {}
    obj = {"metadata": {"name": "x", **scope, **metadata}}
    return [error.message() for error in validate_metadata(obj, strategy(resource))]


@pytest.mark.parametrize(
    ("metadata", "messages"),
    [
        ({}, []),
        ({"generateName": "x-", "labels": {"example.com/a": ""}, "annotations": {"A/b": "any text"}}, []),
        ({"finalizers": ["example.com/hold", "foregroundDeletion"], "ownerReferences": [OWNER]}, []),
        ({"name": ""}, ["metadata.name: Required value: name or generateName is required"]),
        ({"namespace": "a.b"}, ['metadata.namespace: Invalid value: "a.b": must not contain dots']),
        ({"labels": {"a b": "c"}}, [f'metadata.labels: Invalid value: "a b": {KEY}']),
        ({"annotations": {"a b": "c"}}, [f'metadata.annotations: Invalid value: "a b": {KEY}']),
        ({"annotations": {"a": "x" * 262144}}, ["metadata.annotations: Too long: may not be more than 262144 bytes"]),
        (
            {"finalizers": ["hold"]},
            [
                'metadata.finalizers: Invalid value: "hold": '
                "name is neither a standard finalizer name nor is it fully qualified"
            ],
        ),
        (
            {"finalizers": ["orphan", "foregroundDeletion"]},
            [
                'metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: '
                "finalizer orphan and foregroundDeletion cannot be both set"
            ],
        ),
        (
            {"ownerReferences": [{**OWNER, "uid": ""}]},
            ['metadata.ownerReferences.uid: Invalid value: "": must not be empty'],
        ),
    ],
)
def test_metadata_is_checked_in_kubernetes_words(metadata, messages):
    assert told(**metadata) == messages


def test_an_object_has_one_controller():
    owners = [{**OWNER, "controller": True}, {**OWNER, "name": "s", "controller": True}]
    (message,) = told(ownerReferences=owners)
    assert message.endswith(
        'Only one reference can have Controller set to true. Found "true" in references for ReplicaSet/r and '
        "ReplicaSet/s"
    )


def test_what_is_of_the_whole_cluster_has_no_namespace():
    assert told(NODES, namespace="default") == ["metadata.namespace: Forbidden: not allowed on this type"]
    assert told(NAMESPACES, name="a.b") == ['metadata.name: Invalid value: "a.b": must not contain dots']


def update(new, old):
    base = {"name": "x", "namespace": "default", "uid": "u", "resourceVersion": "1"}
    return [
        error.message()
        for error in validate_metadata_update(
            {"metadata": {**base, **new}}, {"metadata": {**base, **old}}, strategy(CONFIGMAPS)
        )
    ]


@pytest.mark.parametrize(
    ("new", "old", "messages"),
    [
        ({"labels": {"a": "b"}}, {}, []),
        ({"name": "y"}, {}, ['metadata.name: Invalid value: "y": field is immutable']),
        ({"uid": "v"}, {}, ['metadata.uid: Invalid value: "v": field is immutable']),
        (
            {"resourceVersion": ""},
            {},
            ['metadata.resourceVersion: Invalid value: "": must be specified for an update'],
        ),
        ({"generation": 1}, {"generation": 2}, ["metadata.generation: Invalid value: 1: must not be decremented"]),
        (
            {"deletionTimestamp": "t", "finalizers": ["a/b", "a/c"]},
            {"deletionTimestamp": "t", "finalizers": ["a/b"]},
            [
                "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
                'found new finalizers []string{"a/c"}'
            ],
        ),
        ({"deletionTimestamp": "t"}, {"deletionTimestamp": "t", "finalizers": ["a/b"]}, []),
    ],
)
def test_an_update_keeps_what_makes_an_object_the_one_that_it_is(new, old, messages):
    assert update(new, old) == messages
