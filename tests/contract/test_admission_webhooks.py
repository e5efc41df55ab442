"""Admission webhooks as their authors and kubectl's users see them: a real HTTPS server is asked, and is obeyed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    ENDPOINTSLICES,
    HORIZONTALPODAUTOSCALERS,
    MUTATINGWEBHOOKCONFIGURATIONS,
    PODS,
    SERVICES,
    VALIDATINGWEBHOOKCONFIGURATIONS,
    Resource,
)
from tests.support.apiserver import ApiServerProcess, free_port, own_address
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl
from tests.support.webhook_server import Handler, WebhookServer, allow, deny, webhook_server

SERVICE = "hooks"


@pytest.fixture
async def hooks(scope: str, tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path / "hooks", f"{SERVICE}.{scope}.svc") as found:
        yield found


@pytest.fixture
def kubectl(server: ApiServerProcess, scope: str, tmp_path: Path) -> Kubectl:
    return Kubectl(kubectl_current(), server.kubeconfig, scope, tmp_path)


class Configured:
    """The webhooks of one test, all about its namespace; those that it makes are taken away in the end."""

    def __init__(self, client: Client, hooks: WebhookServer, scope: str) -> None:
        self._client, self._hooks, self._scope = client, hooks, scope
        self._made: list[tuple[Resource, str]] = []

    async def __call__(self, resource: Resource, name: str, handler: Handler | None = None, **fields: Any) -> None:
        """Have a webhook asked about all that is written, unless the fields say otherwise."""
        path = f"/{name}"
        if handler is not None:
            self._hooks.handlers[path] = handler
        everything = {
            "apiGroups": ["*"],
            "apiVersions": ["*"],
            "operations": ["CREATE", "UPDATE"],
            "resources": ["*"],
        }
        hook = {
            "name": f"{name}.example.com",
            "clientConfig": {"url": self._hooks.base + path, "caBundle": self._hooks.bundle},
            "rules": [everything],
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._scope}},
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            **fields,
        }
        full = f"{self._scope}-{name}"
        await self._client.create(resource, {"metadata": {"name": full}, "webhooks": [hook]})
        self._made.append((resource, full))

    async def remove(self) -> None:
        for resource, name in self._made:
            await self._client.delete(resource, name)


@pytest.fixture
async def configure(client: Client, hooks: WebhookServer, scope: str) -> AsyncIterator[Configured]:
    made = Configured(client, hooks, scope)
    yield made
    await made.remove()


def config(name: str = "a", **data: str) -> Object:
    return {"metadata": {"name": name}, "data": data}


def pod(name: str = "a", **spec: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i"}], **spec}}


def rule(resources: str, *operations: str, groups: str = "", versions: str = "v1") -> list[Object]:
    one = {"apiGroups": [groups], "apiVersions": [versions], "operations": list(operations or ("*",))}
    return [{**one, "resources": [resources]}]


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


async def allows(review: Object) -> Any:
    return allow(review)


async def denies(review: Object) -> Any:
    return deny(review, "not today")


# What users see


async def test_kubectl_shows_what_a_webhook_says(configure: Configured, kubectl: Kubectl) -> None:
    async def warns(review: Object) -> Any:
        return allow(review, warnings=["this is old", "this is old", "and that too"])

    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "talks", warns, rules=rule("configmaps", "CREATE"))
    told = await asyncio.to_thread(kubectl.run, "create", "configmap", "a")
    assert told.stdout == "configmap/a created\n"
    assert told.stderr == "Warning: this is old\nWarning: and that too\n"
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "denies", denies, rules=rule("configmaps", "CREATE"))
    told = await asyncio.to_thread(kubectl.run, "create", "configmap", "b")
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr.endswith(
        'error: failed to create configmap: admission webhook "denies.example.com" denied the request: not today\n'
    )


async def test_what_a_webhook_adds_is_there(configure: Configured, kubectl: Kubectl, hooks: WebhookServer) -> None:
    async def adds_a_container(review: Object) -> Any:
        sidecar = {"name": "sidecar", "image": "proxy:1"}
        return allow(review, patch=[{"op": "add", "path": "/spec/containers/-", "value": sidecar}])

    await configure(MUTATINGWEBHOOKCONFIGURATIONS, "injects", adds_a_container, rules=rule("pods", "CREATE"))
    await asyncio.to_thread(kubectl, "run", "web", "--image=web")
    first, second = (await asyncio.to_thread(kubectl.get, "pod", "web"))["spec"]["containers"]
    assert (first["name"], second["name"]) == ("web", "sidecar")
    # What it did not say has been filled in as if a user had not said it.
    assert second["imagePullPolicy"] == "IfNotPresent"
    assert second["terminationMessagePath"] == "/dev/termination-log"
    # Service account tokens come after webhooks' changes as before: both containers have them.
    assert second["volumeMounts"] == first["volumeMounts"]
    (asked,) = hooks.reviews("/injects")
    assert asked["userInfo"]["username"] == "kubernetes-admin"
    assert asked["kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert asked["requestKind"] == asked["kind"]
    assert (asked["operation"], asked["name"], asked["namespace"]) == ("CREATE", "web", kubectl.namespace)
    assert asked["options"]["kind"] == "CreateOptions"
    assert asked["options"]["fieldManager"] == "kubectl-run"
    # The object is whole when it is asked about: with its defaults and who manages it.
    assert asked["object"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert asked["object"]["metadata"]["managedFields"][0]["manager"] == "kubectl-run"


async def test_what_a_webhook_makes_must_be_an_object_as_users_may_make(configure: Configured, client, scope) -> None:
    async def breaks(review: Object) -> Any:
        return allow(review, patch=[{"op": "remove", "path": "/spec/containers/0/image"}])

    await configure(MUTATINGWEBHOOKCONFIGURATIONS, "breaks", breaks, rules=rule("pods", "CREATE"))
    error = await refusal(client.create(PODS, pod(), scope))
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == 'Pod "a" is invalid: spec.containers[0].image: Required value'


# Where they are


async def test_a_service_leads_to_its_endpoints(configure: Configured, client, scope, hooks: WebhookServer) -> None:
    ports = [{"name": "https", "port": 443, "targetPort": 8443}]
    await client.create(SERVICES, {"metadata": {"name": SERVICE}, "spec": {"ports": ports}}, scope)
    service = {"namespace": scope, "name": SERVICE, "path": "/inside"}
    reference = {"service": service, "caBundle": hooks.bundle}
    await configure(
        VALIDATINGWEBHOOKCONFIGURATIONS, "inside", denies, rules=rule("configmaps"), clientConfig=reference
    )
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    # Nobody is there yet.
    assert (error.code, error.reason) == (500, "InternalError")
    url = f"https://{SERVICE}.{scope}.svc:443/inside?timeout=10s"
    assert error.message == (
        'Internal error occurred: failed calling webhook "inside.example.com": failed to call webhook: '
        f'Post "{url}": no endpoints available for service "{SERVICE}"'
    )
    there = {
        "metadata": {"name": "hooks-1", "labels": {"kubernetes.io/service-name": SERVICE}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": hooks.port}],
        "endpoints": [{"addresses": [own_address()]}],
    }
    await client.create(ENDPOINTSLICES, there, scope)
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    assert error.message == 'admission webhook "inside.example.com" denied the request: not today'
    # It is asked by its name in the cluster, whatever its address.
    assert set(hooks.hosts) == {f"{SERVICE}.{scope}.svc:443"}


async def test_a_service_may_lead_out_of_the_cluster(configure: Configured, client, scope, hooks) -> None:
    outside = {"type": "ExternalName", "externalName": "localhost"}
    await client.create(SERVICES, {"metadata": {"name": SERVICE}, "spec": outside}, scope)
    service = {"namespace": scope, "name": SERVICE, "path": "/outside", "port": hooks.port}
    reference = {"service": service, "caBundle": hooks.bundle}
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "outside", denies, clientConfig=reference)
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    assert error.message == 'admission webhook "outside.example.com" denied the request: not today'


async def test_connections_are_kept(configure: Configured, client, scope, hooks: WebhookServer) -> None:
    await configure(MUTATINGWEBHOOKCONFIGURATIONS, "changes", allows)
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "looks", allows)
    for n in range(10):
        await client.create(CONFIGMAPS, config(f"a-{n}"), scope)
    assert len(hooks.asked) == 20
    assert len(hooks.connections) == 1


# What goes wrong


async def test_who_cannot_be_reached(configure: Configured, client, scope, hooks: WebhookServer) -> None:
    there = {"caBundle": hooks.bundle}
    nobody = f"https://127.0.0.1:{free_port()}/x"
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "closed", clientConfig={"url": nobody, **there})
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    where = nobody.removeprefix("https://").removesuffix("/x")
    assert error.message.endswith(f'Post "{nobody}?timeout=10s": dial tcp {where}: connect: connection refused')


async def test_who_is_not_trusted(configure: Configured, client, scope, hooks: WebhookServer) -> None:
    stranger = {"url": f"{hooks.base}/x"}
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "stranger", allows, clientConfig=stranger)
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    assert error.message.endswith("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    assert hooks.asked == []


async def test_who_is_late(configure: Configured, client, scope) -> None:
    never = asyncio.Event()

    async def waits(review: Object) -> Any:
        await never.wait()
        return allow(review)

    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "late", waits, timeoutSeconds=1)
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    assert 'failed calling webhook "late.example.com": failed to call webhook: Post' in error.message
    assert error.message.endswith('/late?timeout=1s": context deadline exceeded')
    never.set()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (404, "", "the server could not find the requested resource"),
        (500, "boom", 'an error on the server ("boom") has prevented the request from succeeding'),
        (503, "", "the server is currently unable to handle the request"),
    ],
)
async def test_who_answers_with_an_error(configure: Configured, client, scope, status, body, told) -> None:
    async def fails(_: Object) -> Any:
        return web.Response(status=status, text=body)

    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "fails", fails)
    error = await refusal(client.create(CONFIGMAPS, config(), scope))
    assert error.message == (
        f'Internal error occurred: failed calling webhook "fails.example.com": failed to call webhook: {told}'
    )


# What they are asked about


async def test_deletions_are_asked_about(configure: Configured, client, scope, hooks: WebhookServer) -> None:
    await client.create(CONFIGMAPS, config(k="v"), scope)
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "keeps", denies, rules=rule("configmaps", "DELETE"))
    error = await refusal(client.delete(CONFIGMAPS, "a", scope))
    assert error.message == 'admission webhook "keeps.example.com" denied the request: not today'
    (asked,) = hooks.reviews("/keeps")
    assert (asked["operation"], asked["object"]) == ("DELETE", None)
    assert asked["oldObject"]["data"] == {"k": "v"}
    assert asked["options"]["kind"] == "DeleteOptions"
    # Each object of a collection is asked about.
    await client.create(CONFIGMAPS, config("b"), scope)
    await refusal(client.delete_collection(CONFIGMAPS, scope))
    assert await client.get(CONFIGMAPS, "b", scope)


async def test_commands_in_pods_are_asked_about(
    configure: Configured, client, scope, kubectl: Kubectl, hooks: WebhookServer
) -> None:
    await client.create(PODS, pod(nodeName="nowhere"), scope)
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "quiet", denies, rules=rule("pods/exec", "CONNECT"))
    told = await asyncio.to_thread(kubectl.run, "exec", "a", "--", "id", "-u")
    assert 'admission webhook "quiet.example.com" denied the request: not today' in told.stderr
    asked = hooks.reviews("/quiet")[0]
    assert (asked["operation"], asked["subResource"]) == ("CONNECT", "exec")
    assert asked["object"]["kind"] == "PodExecOptions"
    assert asked["object"]["command"] == ["id", "-u"]


async def test_scales_are_asked_about_as_scales(configure: Configured, client, scope, kubectl, hooks) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    await client.create(DEPLOYMENTS, {"metadata": {"name": "web"}, "spec": spec}, scope)

    async def at_most_three(review: Object) -> Any:
        return allow(review) if review["request"]["object"]["spec"]["replicas"] <= 3 else deny(review, "too many")

    rules = rule("deployments/scale", "UPDATE", groups="apps")
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "scales", at_most_three, rules=rules)
    await asyncio.to_thread(kubectl, "scale", "deployment", "web", "--replicas=3")
    told = await asyncio.to_thread(kubectl.run, "scale", "deployment", "web", "--replicas=4")
    assert "too many" in told.stderr
    asked = hooks.reviews("/scales")[-1]
    assert asked["object"]["kind"] == "Scale"
    assert (asked["oldObject"]["spec"]["replicas"], asked["object"]["spec"]["replicas"]) == (3, 4)


async def test_other_versions_are_asked_about_as_the_webhook_knows_them(
    configure: Configured, client, scope, hooks: WebhookServer
) -> None:
    rules = rule("horizontalpodautoscalers", "CREATE", groups="autoscaling", versions="v1")
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "knows-v1", allows, rules=rules)
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "exact", denies, rules=rules, matchPolicy="Exact")
    spec = {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3}
    utilization = {"type": "Utilization", "averageUtilization": 70}
    spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}]
    await client.create(HORIZONTALPODAUTOSCALERS, {"metadata": {"name": "web"}, "spec": spec}, scope)
    (asked,) = hooks.reviews("/knows-v1")
    assert asked["requestKind"]["version"] == "v2"
    assert asked["kind"]["version"] == "v1"
    assert asked["object"]["apiVersion"] == "autoscaling/v1"
    assert asked["object"]["spec"]["targetCPUUtilizationPercentage"] == 70


async def test_nobody_can_lock_webhooks_away_from_who_repairs_them(
    configure: Configured, client, scope, hooks
) -> None:
    rules = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"], "scope": "*"}]
    only_configurations = [
        {"name": "them", "expression": "request.resource.group == 'admissionregistration.k8s.io'"},
    ]
    await configure(
        VALIDATINGWEBHOOKCONFIGURATIONS,
        "locks",
        denies,
        rules=rules,
        namespaceSelector={},
        matchConditions=only_configurations,
    )
    other = {"metadata": {"name": f"{scope}-other"}, "webhooks": []}
    await client.create(MUTATINGWEBHOOKCONFIGURATIONS, other)
    await client.delete(MUTATINGWEBHOOKCONFIGURATIONS, f"{scope}-other")
    assert hooks.asked == []


async def test_a_dry_run_is_asked_about_as_one(configure: Configured, client, scope, kubectl, hooks) -> None:
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "looks", allows, sideEffects="NoneOnDryRun")
    await asyncio.to_thread(kubectl, "create", "configmap", "a", "--dry-run=server")
    assert [asked["dryRun"] for asked in hooks.reviews("/looks")] == [True]


async def test_what_is_applied_is_asked_about_as_it_will_be(configure: Configured, kubectl, hooks) -> None:
    await configure(VALIDATINGWEBHOOKCONFIGURATIONS, "looks", allows, rules=rule("configmaps"))
    manifest = "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}, data: {k: v}}"
    for text in (manifest, manifest.replace("v}}", "w}}")):
        await asyncio.to_thread(kubectl, "apply", "--server-side", "-f", "-", stdin=text)
    created, updated = hooks.reviews("/looks")
    assert (created["operation"], updated["operation"]) == ("CREATE", "UPDATE")
    assert (created["options"]["kind"], updated["options"]["kind"]) == ("CreateOptions", "UpdateOptions")
    assert (updated["oldObject"]["data"], updated["object"]["data"]) == ({"k": "v"}, {"k": "w"})
