"""What pods are given to use the API, and for which of them a node may ask for tokens."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import PODS, SERVICEACCOUNTS
from apiserver.admission import CREATE, UPDATE, Attributes, node_restriction, service_account
from apiserver.admission.service_account import MOUNT_PATH
from apiserver.request_info import User
from tests.support.access import Objects, authorizer_of, granted, rule
from tests.support.admission import FakeCluster, admit

ACCOUNT = {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "a"}}
NODE = User("system:node:n1", groups=("system:nodes",))


async def admitted(spec: Object, account: Object | None = None) -> Any:
    """What becomes of a pod's spec."""
    attributes = Attributes(CREATE, PODS, "a", "web", NODE, {"metadata": {"name": "web"}, "spec": spec})
    assert service_account.PLUGINS[0].mutate is not None and attributes.obj is not None
    await service_account.PLUGINS[0].mutate(attributes, Objects({**ACCOUNT, **(account or {})}))  # type: ignore[arg-type]
    return attributes.obj["spec"]


def mounts(container: Any) -> list[str]:
    return [mount["mountPath"] for mount in container.get("volumeMounts") or ()]


async def test_every_container_gets_what_it_needs_to_use_the_api() -> None:
    spec = await admitted({"containers": [{"name": "a"}, {"name": "b"}], "initContainers": [{"name": "i"}]})
    (volume,) = spec["volumes"]
    assert volume["name"].startswith("kube-api-access-") and len(volume["name"]) == len("kube-api-access-") + 5
    assert volume["projected"] == {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
    mount = {"name": volume["name"], "readOnly": True, "mountPath": MOUNT_PATH}
    assert all(one["volumeMounts"] == [mount] for one in spec["containers"] + spec["initContainers"])


@pytest.mark.parametrize(
    ("pod", "account", "given"),
    [(None, None, True), (None, False, False), (None, True, True), (False, True, False), (True, False, True)],
)
async def test_the_pods_word_counts_before_the_accounts(pod: Any, account: Any, given: bool) -> None:
    said = {} if pod is None else {"automountServiceAccountToken": pod}
    of_account = {} if account is None else {"automountServiceAccountToken": account}
    spec = await admitted({"containers": [{"name": "a"}], **said}, of_account)
    assert bool(spec.get("volumes")) is given


async def test_what_a_container_mounts_there_itself_stays() -> None:
    own = {"name": "mine", "mountPath": MOUNT_PATH}
    spec = await admitted({"containers": [{"name": "a", "volumeMounts": [own]}], "volumes": [{"name": "mine"}]})
    assert spec["containers"][0]["volumeMounts"] == [own] and spec["volumes"] == [{"name": "mine"}]
    spec = await admitted({"containers": [{"name": "a", "volumeMounts": [own]}, {"name": "b"}]})
    assert [mounts(one) for one in spec["containers"]] == [[MOUNT_PATH], [MOUNT_PATH]] and len(spec["volumes"]) == 1


async def test_a_pod_that_was_admitted_before_keeps_its_volume() -> None:
    """Whoever copies a pod, as a controller's user may, copies what it was given."""
    once = await admitted({"containers": [{"name": "a"}]})
    copied = {**once, "containers": [{"name": "a"}]}
    assert (await admitted(copied))["volumes"] == once["volumes"]
    assert copied["containers"][0]["volumeMounts"][0]["name"] == once["volumes"][0]["name"]


def pod(node: str = "n1", audience: str = "") -> Object:
    source = {"serviceAccountToken": {"path": "token", **({"audience": audience} if audience else {})}}
    volume = {"name": "v", "projected": {"sources": [source]}}
    metadata = {"name": "web", "namespace": "a", "uid": "u"}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "volumes": [volume]}}


BOUND = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u"}


async def asks(request: Object, *objects: Object, user: User = NODE) -> str | None:
    """What a node that asks for a token is told."""
    attributes = Attributes(CREATE, SERVICEACCOUNTS, "a", "default", user, {"spec": request}, subresource="token")
    cluster = Objects(*objects)
    plugin = node_restriction.plugin(authorizer_of(cluster))
    assert plugin.mutate is not None and plugin.handles(attributes)
    try:
        await plugin.mutate(attributes, cluster)  # type: ignore[arg-type]
    except ApiError as error:
        return error.message
    return None


async def test_a_node_has_tokens_for_its_pods_and_their_audiences() -> None:
    assert await asks({"boundObjectRef": BOUND, "audiences": []}, pod()) is None
    assert await asks({"boundObjectRef": BOUND, "audiences": ["vault"]}, pod(audience="vault")) is None


CSI = {"driver": "csi.example.com"}
CLAIM = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "namespace": "a"}, "spec": {"volumeName": "v"}}
OF_POD = {**CLAIM, "metadata": {"name": "web-data", "namespace": "a"}}
VOLUME = {"kind": "PersistentVolume", "metadata": {"name": "v"}, "spec": {"csi": CSI}}
DRIVER = {
    "kind": "CSIDriver",
    "metadata": {"name": "csi.example.com"},
    "spec": {"tokenRequests": [{"audience": "vault"}]},
}


@pytest.mark.parametrize(
    "volume",
    [{"csi": CSI}, {"persistentVolumeClaim": {"claimName": "data"}}, {"name": "data", "ephemeral": {}}],
)
async def test_a_node_has_tokens_that_the_drivers_of_volumes_want(volume: Object) -> None:
    found = pod()
    found["spec"]["volumes"].append(volume)
    request = {"boundObjectRef": BOUND, "audiences": ["vault"]}
    assert await asks(request, found, DRIVER, CLAIM, OF_POD, VOLUME) is None
    assert await asks(request, found, CLAIM, OF_POD, VOLUME) is not None


async def test_a_node_may_be_granted_other_audiences() -> None:
    request = {"boundObjectRef": BOUND, "audiences": ["vault"]}
    allowed = granted(rule("request-serviceaccounts-token-audience", "vault", names="default"), to=NODE.name)
    assert await asks(request, pod(), *allowed) is None
    assert await asks({**request, "audiences": ["other"]}, pod(), *allowed) == (
        'serviceaccounts "default" is forbidden: audience "other" not found in pod spec volume, '
        "system:node:n1 is not authorized to request tokens for this audience"
    )


@pytest.mark.parametrize(
    ("request_", "found", "why"),
    [
        ({}, pod(), "node requested token not bound to a pod"),
        ({"boundObjectRef": {**BOUND, "kind": "Secret"}}, pod(), "node requested token not bound to a pod"),
        (
            {"boundObjectRef": {**BOUND, "uid": ""}},
            pod(),
            "node requested token with a pod binding without a uid",
        ),
        ({"boundObjectRef": {**BOUND, "uid": "old"}}, pod(), "does not match the UID in record"),
        ({"boundObjectRef": {**BOUND, "name": "none"}}, pod(), 'pods "none" not found'),
        ({"boundObjectRef": BOUND}, pod("n2"), "node requested token bound to a pod scheduled on a different node"),
        (
            {"boundObjectRef": BOUND, "audiences": ["a", "b"]},
            pod(),
            "node may only request 0 or 1 audiences",
        ),
        ({"boundObjectRef": BOUND, "audiences": ["x"]}, pod(), 'audience "x" not found in pod spec volume'),
        ({"boundObjectRef": BOUND, "audiences": []}, pod(audience="x"), 'audience "" not found in pod spec volume'),
    ],
)
async def test_a_node_has_no_other_tokens(request_: Object, found: Object, why: str) -> None:
    told = await asks(request_, found)
    assert told is not None and why in told


async def test_others_are_not_held_to_what_holds_for_nodes() -> None:
    assert await asks({}, user=User("jane")) is None


# What pods may use


async def refusal(
    spec: Object, account: Object, *, annotations: Object | None = None, debugging: bool = False
) -> str:
    """Why a pod is refused; empty if it is not."""
    metadata = {"name": "web", "annotations": annotations or {}}
    obj = {"metadata": metadata, "spec": spec}
    attributes = Attributes(CREATE, PODS, "a", "web", User("jane"), obj)
    if debugging:
        obj["spec"] = {**spec, "serviceAccountName": "default"}
        attributes = Attributes(UPDATE, PODS, "a", "web", User("jane"), obj, obj, "ephemeralcontainers")
    cluster = FakeCluster(
        (SERVICEACCOUNTS, {"metadata": {**ACCOUNT["metadata"], **account.pop("metadata", {})}, **account})
    )
    try:
        for plugin in service_account.PLUGINS:
            if plugin.handles(attributes):
                await admit(plugin, attributes, cluster)
    except ApiError as error:
        return error.message.removeprefix('pods "web" is forbidden: ')
    return ""


def uses(name: str, **fields: Any) -> Object:
    return {"name": name, **fields}


OF_KEY = {"env": [{"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}
OF_ALL = {"envFrom": [{"secretRef": {"name": "s"}}]}
NOT_LISTED = "is not allowed because service account default does not reference that"
REFERENCING = 'referencing secret.secretName="s"'


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}, 'volume with secret.secretName="s"'),
        ({"containers": [uses("c", **OF_KEY)]}, f"container c with envVar KEY {REFERENCING}"),
        ({"containers": [uses("c", **OF_ALL)]}, f"container c with envFrom {REFERENCING}"),
        ({"initContainers": [uses("i", **OF_ALL)]}, f"init container i with envFrom {REFERENCING}"),
    ],
)
async def test_an_account_may_be_held_to_the_secrets_that_it_lists(spec: Object, why: str) -> None:
    enforced = {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}
    assert await refusal(spec, {**enforced}) == f"{why} {NOT_LISTED} secret"
    assert await refusal(spec, {**enforced, "secrets": [{"name": "s"}]}) == ""
    assert await refusal(spec, {}) == ""


async def test_that_holds_for_secrets_of_registries_and_for_debugging_too() -> None:
    enforced = {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}}
    pulling = {"imagePullSecrets": [{"name": "r"}]}
    assert await refusal(pulling, {**enforced}) == f'imagePullSecrets[0].name="r" {NOT_LISTED} imagePullSecret'
    assert await refusal(pulling, {**enforced, **pulling}) == ""
    debugging = {"ephemeralContainers": [uses("d", **OF_KEY)]}
    why = f"ephemeral container d with envVar KEY {REFERENCING} {NOT_LISTED} secret"
    assert await refusal(debugging, {**enforced}, debugging=True) == why
    assert await refusal(debugging, {}, debugging=True) == ""


MIRROR = {"kubernetes.io/config.mirror": "h"}


async def test_a_mirror_of_what_a_node_runs_acts_as_nobody_and_gets_nothing() -> None:
    assert await refusal({"containers": [uses("c")]}, {}, annotations=MIRROR) == ""
    told = await refusal({"serviceAccountName": "a"}, {}, annotations=MIRROR)
    assert told == "a mirror pod may not reference service accounts"
    for spec in ({"containers": [uses("c", **OF_ALL)]}, {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]}):
        assert await refusal(spec, {}, annotations=MIRROR) == "a mirror pod may not reference secrets"
    told = await refusal({"volumes": pod()["spec"]["volumes"]}, {}, annotations=MIRROR)
    assert told == "a mirror pod may not use ServiceAccountToken volume projections"
