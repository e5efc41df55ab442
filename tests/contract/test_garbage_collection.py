"""Owners and dependents, and the deletion of namespaces, against a real API server and a real manager."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, get_path, name
from apimachinery.resources import (
    CLUSTERROLES,
    CONFIGMAPS,
    DEPLOYMENTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    REPLICASETS,
    SECRETS,
    SERVICEACCOUNTS,
)
from tests.support.apiserver import ApiServerProcess, running
from tests.support.manager import managing, until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("garbage")) as process:
        asyncio.run(process.wait_ready())
        with managing(process):
            yield process


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "garbage-"}}
    return name(await client.create(NAMESPACES, made))


async def config_map(client: Client, scope: str, which: str, *owners: Object, **meta: Any) -> Object:
    metadata = {"name": which, "namespace": scope, **meta}
    if owners:
        metadata["ownerReferences"] = [reference(owner) for owner in owners]
    return await client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})


def reference(owner: Object, *, block: bool = True) -> Object:
    metadata = owner["metadata"]
    kind = {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    return {**kind, "name": metadata["name"], "uid": metadata["uid"], "blockOwnerDeletion": block}


def names(found: dict[str, Object]) -> set[str]:
    return set(found) - {"kube-root-ca.crt"}


async def test_dependents_follow_their_owner_in_the_background(client: Client, scope: str) -> None:
    top = await config_map(client, scope, "top")
    middle = await config_map(client, scope, "middle", top)
    await config_map(client, scope, "bottom", middle)
    await config_map(client, scope, "bystander")
    await client.delete(CONFIGMAPS, "top", scope)
    await until(client, CONFIGMAPS, scope, lambda found: names(found) == {"bystander"})


async def test_an_object_with_two_owners_goes_with_the_second(client: Client, scope: str) -> None:
    one, two = await config_map(client, scope, "one"), await config_map(client, scope, "two")
    await config_map(client, scope, "child", one, two)
    await client.delete(CONFIGMAPS, "one", scope)
    only_two = lambda found: [r["name"] for r in found["child"]["metadata"]["ownerReferences"]] == ["two"]  # noqa: E731
    await until(client, CONFIGMAPS, scope, only_two)
    await client.delete(CONFIGMAPS, "two", scope)
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))


async def test_in_the_foreground_the_owner_goes_last(client: Client, scope: str) -> None:
    top = await config_map(client, scope, "top")
    middle = await config_map(client, scope, "middle", top)
    await config_map(client, scope, "bottom", middle, finalizers=["example.com/hold"])
    await client.delete(CONFIGMAPS, "top", scope, propagation_policy="Foreground")

    def waiting(found: dict[str, Object]) -> bool:
        going = {which for which, obj in found.items() if obj["metadata"].get("deletionTimestamp")}
        return going == {"top", "middle", "bottom"}

    await until(client, CONFIGMAPS, scope, waiting)
    await client.patch(CONFIGMAPS, "bottom", {"metadata": {"finalizers": None}}, scope)

    def from_below(found: dict[str, Object]) -> None:
        assert names(found) in ({"top", "middle", "bottom"}, {"top", "middle"}, {"top"}, set())

    await until(client, CONFIGMAPS, scope, lambda found: not names(found), seen=from_below)


async def test_a_dependent_that_does_not_block_lets_its_owner_go_first(client: Client, scope: str) -> None:
    top = await config_map(client, scope, "top")
    kept = {"finalizers": ["example.com/hold"], "ownerReferences": [reference(top, block=False)]}
    await config_map(client, scope, "child", **kept)
    await client.delete(CONFIGMAPS, "top", scope, propagation_policy="Foreground")
    await until(client, CONFIGMAPS, scope, lambda found: names(found) == {"child"})
    await client.patch(CONFIGMAPS, "child", {"metadata": {"finalizers": None}}, scope)
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))


async def test_orphans_stay_and_name_no_owner(client: Client, scope: str) -> None:
    top = await config_map(client, scope, "top")
    for which in ("one", "two"):
        await config_map(client, scope, which, top)
    await client.delete(CONFIGMAPS, "top", scope, propagation_policy="Orphan")
    left = await until(client, CONFIGMAPS, scope, lambda found: names(found) == {"one", "two"})
    assert not any(left[which]["metadata"].get("ownerReferences") for which in ("one", "two"))


async def test_an_object_of_an_owner_that_never_was_goes(client: Client, scope: str) -> None:
    ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ghost", "uid": "no-such-uid"}}
    await config_map(client, scope, "child", ghost)
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))


async def test_an_owner_made_again_under_the_same_name_is_another(client: Client, scope: str) -> None:
    first = await config_map(client, scope, "top", finalizers=["example.com/hold"])
    await config_map(client, scope, "child", first)
    await client.delete(CONFIGMAPS, "top", scope)
    await client.patch(CONFIGMAPS, "top", {"metadata": {"finalizers": None}}, scope)
    await until(client, CONFIGMAPS, scope, lambda found: "top" not in found)
    await config_map(client, scope, "top")
    await until(client, CONFIGMAPS, scope, lambda found: names(found) == {"top"})


async def test_an_owner_in_another_namespace_counts_as_absent_and_is_told_of(client: Client, scope: str) -> None:
    far = await config_map(client, "default", f"far-{scope}")
    await config_map(client, scope, "child", far)
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))
    told = lambda found: any(event["reason"] == "OwnerRefInvalidNamespace" for event in found.values())  # noqa: E731
    await until(client, EVENTS, scope, told)
    await client.get(CONFIGMAPS, f"far-{scope}", "default")


async def test_what_is_in_no_namespace_keeps_an_owner_in_one_and_that_is_told_of(client: Client, scope: str) -> None:
    far = await config_map(client, scope, "far")
    made = {"metadata": {"name": f"child-{scope}", "ownerReferences": [reference(far)]}, "rules": []}
    await client.create(CLUSTERROLES, made)
    told = lambda found: any(  # noqa: E731
        event["reason"] == "OwnerRefInvalidNamespace" and event["involvedObject"]["name"] == f"child-{scope}"
        for event in found.values()
    )
    await until(client, EVENTS, "default", told)
    await config_map(client, scope, "near", far)
    await client.delete(CONFIGMAPS, "far", scope)
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))
    assert get_path(await client.get(CLUSTERROLES, f"child-{scope}"), "metadata", "deletionTimestamp") is None


async def test_the_lease_of_a_node_goes_with_it(client: Client, scope: str) -> None:
    node = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"node-{scope}"}})
    metadata = {"name": f"node-{scope}", "ownerReferences": [reference(node)]}
    await client.create(LEASES, {"metadata": metadata, "spec": {}}, "kube-node-lease")
    await client.delete(NODES, f"node-{scope}")
    await until(client, LEASES, "kube-node-lease", lambda found: f"node-{scope}" not in found)


async def test_a_bootstrap_token_that_has_expired_goes(client: Client) -> None:
    for which, year in (("abcdef", 2020), ("fedcba", 2999)):
        data = {"token-id": which, "token-secret": "0123456789abcdef", "expiration": f"{year}-01-01T00:00:00Z"}
        metadata = {"name": f"bootstrap-token-{which}", "namespace": "kube-system"}
        await client.create(
            SECRETS, {"metadata": metadata, "type": "bootstrap.kubernetes.io/token", "stringData": data}
        )
    await until(client, SECRETS, "kube-system", lambda found: "bootstrap-token-abcdef" not in found)
    await client.get(SECRETS, "bootstrap-token-fedcba", "kube-system")


async def test_an_owner_of_a_kind_that_nobody_serves_keeps_its_dependents(client: Client, scope: str) -> None:
    unknown = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "thing", "uid": "some-uid"}}
    await config_map(client, scope, "kept", unknown)
    # What comes later is judged later: once this one is gone, the other has been looked at.
    await config_map(
        client, scope, "gone", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "uid": "y"}}
    )
    await until(client, CONFIGMAPS, scope, lambda found: names(found) == {"kept"})


async def test_a_circle_of_owners_does_not_hold_itself(client: Client, scope: str) -> None:
    one = await config_map(client, scope, "one")
    two = await config_map(client, scope, "two", one)
    await client.patch(CONFIGMAPS, "one", {"metadata": {"ownerReferences": [reference(two)]}}, scope)
    await client.delete(CONFIGMAPS, "one", scope, propagation_policy="Foreground")
    await until(client, CONFIGMAPS, scope, lambda found: not names(found))


def deployment(scope: str, replicas: int = 3, **pod: Any) -> Object:
    template = {
        "metadata": {"labels": {"app": "web"}, **pod},
        "spec": {"containers": [{"name": "app", "image": "web:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    metadata = {"name": "web", "namespace": scope}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def test_a_deployment_deleted_in_the_foreground_outlives_its_pods(client: Client, scope: str) -> None:
    await client.create(DEPLOYMENTS, deployment(scope, finalizers=["example.com/hold"]))
    pods = await until(client, PODS, scope, lambda found: len(found) == 3)
    await client.delete(DEPLOYMENTS, "web", scope, propagation_policy="Foreground")
    going = lambda found: all(pod["metadata"].get("deletionTimestamp") for pod in found.values())  # noqa: E731
    await until(client, PODS, scope, going)
    await client.get(DEPLOYMENTS, "web", scope)
    assert len((await client.list(REPLICASETS, scope))["items"]) == 1
    for which in pods:
        await client.patch(PODS, which, {"metadata": {"finalizers": None}}, scope)
    await until(client, DEPLOYMENTS, scope, lambda found: not found)
    assert not (await client.list(PODS, scope))["items"]


async def test_every_namespace_has_an_account_and_the_authority_at_once(client: Client, scope: str) -> None:
    await until(client, SERVICEACCOUNTS, scope, lambda found: "default" in found)
    published = await until(client, CONFIGMAPS, scope, lambda found: "kube-root-ca.crt" in found)
    assert published["kube-root-ca.crt"]["data"]["ca.crt"].startswith("-----BEGIN CERTIFICATE-----")


async def test_the_account_and_the_authority_come_back_when_they_are_taken_away(client: Client, scope: str) -> None:
    accounts = await until(client, SERVICEACCOUNTS, scope, lambda found: "default" in found)
    uid = accounts["default"]["metadata"]["uid"]
    await client.delete(SERVICEACCOUNTS, "default", scope)
    another = lambda found: "default" in found and found["default"]["metadata"]["uid"] != uid  # noqa: E731
    await until(client, SERVICEACCOUNTS, scope, another)
    await until(client, CONFIGMAPS, scope, lambda found: "kube-root-ca.crt" in found)
    await client.patch(CONFIGMAPS, "kube-root-ca.crt", {"data": {"ca.crt": "forged"}}, scope)
    right = lambda found: found["kube-root-ca.crt"]["data"]["ca.crt"] != "forged"  # noqa: E731
    await until(client, CONFIGMAPS, scope, right)


async def test_a_namespace_goes_with_all_that_is_in_it(client: Client, scope: str) -> None:
    await client.create(DEPLOYMENTS, deployment(scope))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key", "namespace": scope}}
    await client.create(SECRETS, secret)
    await config_map(client, scope, "settings")
    await until(client, PODS, scope, lambda found: len(found) == 3)
    await client.delete(NAMESPACES, scope)
    await until(client, NAMESPACES, None, lambda found: scope not in found)
    for resource in (PODS, REPLICASETS, DEPLOYMENTS, SECRETS, CONFIGMAPS, SERVICEACCOUNTS, EVENTS):
        assert not (await client.list(resource, scope))["items"]


async def test_a_namespace_waits_for_what_holds_its_content_and_says_for_what(client: Client, scope: str) -> None:
    await config_map(client, scope, "held", finalizers=["example.com/hold"])
    await client.delete(NAMESPACES, scope)

    def waiting(found: dict[str, Object]) -> bool:
        held = find_condition(found[scope], "NamespaceFinalizersRemaining") or {}
        return held.get("status") == "True" and "example.com/hold in 1 resource" in held["message"]

    found = await until(client, NAMESPACES, None, waiting)
    assert get_path(found[scope], "status", "phase") == "Terminating"
    with pytest.raises(ApiError) as refused:
        await config_map(client, scope, "late")
    assert refused.value.code == 403
    await client.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": None}}, scope)
    await until(client, NAMESPACES, None, lambda found: scope not in found)
