"""Webhooks: what they are asked, what their answers do, and what happens when there is none."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import orjson
import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    MUTATINGWEBHOOKCONFIGURATIONS,
    NAMESPACES,
    PODS,
    SERVICEACCOUNTS,
    VALIDATINGWEBHOOKCONFIGURATIONS,
    Resource,
)
from apiserver import registry
from apiserver.admission.plugin import CONNECT, CREATE, DELETE, UPDATE, Attributes, Chain, mutate, validate
from apiserver.admission.served import Served
from apiserver.admission.webhooks import mutating, validating
from apiserver.admission.webhooks.asking import Webhooks
from apiserver.catalog import Catalog
from apiserver.request_info import User
from apiserver.webhook_client import WebhookClient, WebhookError
from tests.support.access import Objects, authorizer_of, granted, rule
from tests.support.admission import FakeCluster

JANE = User("jane", "7", ("developers",), (("team", ("a",)),))
DEFAULT = (NAMESPACES, {"metadata": {"name": "default", "labels": {"env": "test"}}})
EVERYTHING = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}

Handler = Callable[[Object], Any]


class FakeClient:
    """Webhooks by their URL; each gets a review and returns the response, or raises."""

    def __init__(self, **handlers: Handler) -> None:
        self.handlers = handlers
        self.asked: list[tuple[str, Object, float]] = []
        self.running = self.together = 0

    async def ask(self, config: Mapping[str, Any], document: Object, *, seconds: float) -> Any:
        name = config["url"].rpartition("/")[2]
        # As it is on its way: nobody may change it any more.
        sent = orjson.loads(orjson.dumps(document))
        self.asked.append((name, sent, seconds))
        self.running += 1
        self.together = max(self.together, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        answer = self.handlers[name](sent)
        return await cast(Awaitable[Any], answer) if asyncio.iscoroutine(answer) else answer

    @property
    def names(self) -> list[str]:
        return [name for name, _, _ in self.asked]


def answer(review: Object, *, allowed: bool = True, patch: Any = None, **response: Any) -> Object:
    """The review that answers another one."""
    if patch is not None:
        encoded = base64.b64encode(orjson.dumps(patch)).decode()
        response |= {"patch": encoded, "patchType": "JSONPatch"}
    response = {"uid": review["request"]["uid"], "allowed": allowed, **response}
    return {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}


def allows(**response: Any) -> Handler:
    return lambda review: answer(review, **response)


def denies(**status: Any) -> Handler:
    return lambda review: answer(review, allowed=False, **({"status": status} if status else {}))


def adds(label: str, value: str = "yes") -> Handler:
    def handle(review: Object) -> Object:
        labels = review["request"]["object"]["metadata"].get("labels") or {}
        count = labels.get(label, "") + value
        return answer(review, patch=[{"op": "add", "path": "/metadata/labels", "value": {**labels, label: count}}])

    return handle


def fails(review: Object) -> Object:
    raise WebhookError('Post "https://x/y?timeout=10s": context deadline exceeded')


def hook(name: str, **more: Any) -> Object:
    return {
        "name": f"{name}.example.com",
        "clientConfig": {"url": f"https://webhooks.example.com/{name}"},
        "rules": [EVERYTHING],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **more,
    }


def configured(resource: Resource, *hooks: Object, name: str = "all") -> tuple[Resource, Object]:
    obj: Object = {"metadata": {"name": name}, "webhooks": list(hooks)}
    strategy = registry.strategy(resource)
    strategy.default(obj)
    errors = strategy.validate(obj)
    assert errors == [], [error.message() for error in errors]
    return resource, obj


def mutators(*hooks: Object, name: str = "all") -> tuple[Resource, Object]:
    return configured(MUTATINGWEBHOOKCONFIGURATIONS, *hooks, name=name)


def validators(*hooks: Object, name: str = "all") -> tuple[Resource, Object]:
    return configured(VALIDATINGWEBHOOKCONFIGURATIONS, *hooks, name=name)


def pod(**metadata: Any) -> Object:
    metadata = {"name": "web", "namespace": "default", "labels": {}, **metadata}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": []}}


def asked(
    obj: Object | None, *, operation: str = CREATE, old: Object | None = None, resource: Resource = PODS, **more: Any
) -> Attributes:
    name = (obj or old or {})["metadata"]["name"]
    return Attributes(operation, resource, "default", name, JANE, obj, old, **more)


async def admitted(
    client: FakeClient,
    attributes: Attributes,
    *objects: tuple[Resource, Object],
    roles: list[Object] | None = None,
) -> Object | None:
    cluster = FakeCluster(DEFAULT, *objects)
    authorizer = authorizer_of(Objects(*(roles or [])))
    webhooks = Webhooks(cluster, Served(Catalog()), authorizer, cast(WebhookClient, client))
    chain = Chain([mutating.plugin(webhooks), validating.plugin(webhooks)])
    await mutate(chain, attributes, cluster)
    await validate(chain, attributes, cluster)
    return attributes.obj


async def refusal(client: FakeClient, attributes: Attributes, *objects: Any, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await admitted(client, attributes, *objects, **more)
    return caught.value


# What is asked


async def test_a_review_tells_all_of_a_request():
    client = FakeClient(it=allows())
    attributes = asked(pod(), options=lambda: {"kind": "CreateOptions", "fieldManager": "kubectl"})
    await admitted(client, attributes, validators(hook("it", timeoutSeconds=3)))
    ((_, review, seconds),) = client.asked
    assert (review["apiVersion"], review["kind"], seconds) == ("admission.k8s.io/v1", "AdmissionReview", 3)
    request = review["request"]
    assert len(request.pop("uid")) == 36
    assert request == {
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "requestKind": {"group": "", "version": "v1", "kind": "Pod"},
        "requestResource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "web",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {"username": "jane", "uid": "7", "groups": ["developers"], "extra": {"team": ["a"]}},
        "object": pod(),
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "fieldManager": "kubectl"},
    }


@pytest.mark.parametrize(
    ("attributes", "object_is", "old_is"),
    [
        (asked(pod(labels={"a": "b"}), operation=UPDATE, old=pod()), pod(labels={"a": "b"}), pod()),
        (asked(None, operation=DELETE, old=pod()), None, pod()),
    ],
)
async def test_what_is_and_what_was(attributes, object_is, old_is):
    client = FakeClient(it=allows())
    await admitted(client, attributes, validators(hook("it")))
    request = client.asked[0][1]["request"]
    assert (request["object"], request["oldObject"]) == (object_is, old_is)


async def test_parts_of_objects_and_connections():
    client = FakeClient(it=allows())
    everything = validators(hook("it", rules=[{**EVERYTHING, "resources": ["*/*"]}]))
    token: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"name": "x"}}
    kind = Resource("authentication.k8s.io", "v1", "TokenRequest", "", "")
    await admitted(client, asked(token, resource=SERVICEACCOUNTS, subresource="token", sent_as=kind), everything)
    options: Object = {"apiVersion": "v1", "kind": "PodExecOptions", "command": ["sh"], "metadata": {"name": "web"}}
    kind = Resource("", "v1", "PodExecOptions", "", "")
    await admitted(client, asked(options, operation=CONNECT, subresource="exec", sent_as=kind), everything)
    first, second = (review["request"] for _, review, _ in client.asked)
    assert (first["kind"]["kind"], first["resource"]["resource"], first["subResource"]) == (
        *("TokenRequest", "serviceaccounts", "token"),
    )
    assert (second["operation"], second["requestSubResource"], second["object"]["command"]) == (
        *("CONNECT", "exec", ["sh"]),
    )


async def test_another_version_is_asked_about_in_that_version():
    rules = [{**EVERYTHING, "apiGroups": ["autoscaling"], "apiVersions": ["v1"], "resources": ["*"]}]
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}
    spec = {"maxReplicas": 3, "metrics": [{"type": "Resource", "resource": cpu}]}
    autoscaler: Object = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": spec,
    }

    def raise_it(review: Object) -> Object:
        path = "/spec/targetCPUUtilizationPercentage"
        assert review["request"]["object"]["spec"]["targetCPUUtilizationPercentage"] == 50
        return answer(review, patch=[{"op": "replace", "path": path, "value": 70}])

    client = FakeClient(it=raise_it)
    attributes = asked(autoscaler, resource=HORIZONTALPODAUTOSCALERS)
    made = await admitted(client, attributes, mutators(hook("it", rules=rules)))
    assert made is not None and made["apiVersion"] == "autoscaling/v2"
    assert made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
    request = client.asked[0][1]["request"]
    assert request["kind"]["version"] == "v1" and request["requestKind"]["version"] == "v2"
    exact = mutators(hook("it", rules=rules, matchPolicy="Exact"))
    await admitted(client, asked(made, resource=HORIZONTALPODAUTOSCALERS), exact)
    assert len(client.asked) == 1


async def test_older_reviews_are_spoken_too():
    client = FakeClient(it=lambda _: {"response": {"allowed": True}})
    await admitted(client, asked(pod()), validators(hook("it", admissionReviewVersions=["v2", "v1beta1"])))
    assert client.asked[0][1]["apiVersion"] == "admission.k8s.io/v1beta1"


# What answers do


async def test_webhooks_change_objects_one_after_the_other_in_the_order_of_their_names():
    client = FakeClient(a=adds("a"), b=adds("b"), c=adds("c"))
    made = await admitted(
        client, asked(pod()), mutators(hook("c"), name="z"), mutators(hook("b"), hook("a"), name="m")
    )
    assert client.names == ["b", "a", "c"]
    assert made is not None and made["metadata"]["labels"] == {"b": "yes", "a": "yes", "c": "yes"}
    assert client.asked[2][1]["request"]["object"]["metadata"]["labels"] == {"b": "yes", "a": "yes"}


async def test_who_wants_to_is_asked_again_once_the_object_has_changed():
    client = FakeClient(a=adds("a", "i"), b=adds("b", "i"))
    both = mutators(hook("a", reinvocationPolicy="IfNeeded"), hook("b"))
    made = await admitted(client, asked(pod()), both)
    assert client.names == ["a", "b", "a"]
    assert made is not None and made["metadata"]["labels"] == {"a": "ii", "b": "i"}
    quiet = FakeClient(a=adds("a", "i"), b=allows())
    await admitted(quiet, asked(pod()), both)
    assert quiet.names == ["a", "b"]


async def test_validating_webhooks_are_asked_at_once():
    client = FakeClient(a=allows(), b=allows(), c=allows())
    await admitted(client, asked(pod()), validators(hook("a"), hook("b"), hook("c")))
    assert client.together == 3


@pytest.mark.parametrize(
    ("status", "code", "reason", "message"),
    [
        ({}, 400, "", 'admission webhook "it.example.com" denied the request without explanation'),
        ({"message": "no"}, 400, "", 'admission webhook "it.example.com" denied the request: no'),
        (
            {"code": 403, "reason": "Forbidden", "message": "no", "details": {"name": "web"}},
            403,
            "Forbidden",
            'admission webhook "it.example.com" denied the request: no',
        ),
        ({"code": 200, "reason": "Late"}, 400, "Late", 'admission webhook "it.example.com" denied the request: Late'),
    ],
)
@pytest.mark.parametrize("kind", [mutators, validators])
async def test_a_webhook_says_no(kind, status, code, reason, message):
    # What a webhook says holds, whatever happens when it can't say anything.
    for policy in ("Fail", "Ignore"):
        error = await refusal(FakeClient(it=denies(**status)), asked(pod()), kind(hook("it", failurePolicy=policy)))
        assert (error.code, error.reason, error.message) == (code, reason, message)
        assert error.details == status.get("details")


async def test_of_several_that_say_no_the_first_is_told():
    client = FakeClient(a=allows(), b=denies(message="b"), c=denies(message="c"))
    error = await refusal(client, asked(pod()), validators(hook("a"), hook("b"), hook("c")))
    assert error.message.endswith("denied the request: b")


async def test_warnings_and_annotations_are_passed_on():
    client = FakeClient(it=allows(warnings=["old", "slow"], auditAnnotations={"why": "because"}))
    attributes = asked(pod())
    await admitted(client, attributes, validators(hook("it")))
    assert attributes.warnings == ["old", "slow"]
    assert attributes.annotations == {"it.example.com/why": "because"}


async def test_what_is_deleted_can_not_be_changed():
    client = FakeClient(it=allows(patch=[{"op": "add", "path": "/metadata/labels", "value": {}}]))
    error = await refusal(client, asked(None, operation=DELETE, old=pod()), mutators(hook("it")))
    assert error.message == (
        'Internal error occurred: admission webhook "it.example.com" attempted to modify the object, which is not '
        "supported for this operation"
    )


async def test_an_object_keeps_its_kind_and_its_namespace():
    for path, value in (("/kind", "Node"), ("/metadata/namespace", "other")):
        client = FakeClient(it=allows(patch=[{"op": "replace", "path": path, "value": value}]))
        assert (await refusal(client, asked(pod()), mutators(hook("it")))).code in (400, 500)


async def test_a_patch_that_does_not_fit_is_our_own_error():
    client = FakeClient(it=allows(patch=[{"op": "remove", "path": "/spec/nothing"}]))
    for policy in ("Fail", "Ignore"):
        error = await refusal(client, asked(pod()), mutators(hook("it", failurePolicy=policy)))
        assert (error.code, error.reason) == (500, "InternalError")


async def test_what_a_webhook_has_made_is_completed():
    completed: list[Object] = []

    def complete(obj: Object) -> Object:
        completed.append(obj)
        return {**obj, "spec": {**obj["spec"], "restartPolicy": "Always"}}

    attributes = asked(pod(), complete=complete)
    obj = attributes.obj
    made = await admitted(FakeClient(it=adds("a")), attributes, mutators(hook("it")))
    assert made is obj and made is not None
    assert made["spec"]["restartPolicy"] == "Always" and len(completed) == 1


# When there is no answer


async def test_a_webhook_that_can_not_be_reached_refuses_or_is_passed_over():
    for kind in (mutators, validators):
        error = await refusal(FakeClient(it=fails), asked(pod()), kind(hook("it")))
        assert (error.code, error.reason) == (500, "InternalError")
        assert error.message == (
            'Internal error occurred: failed calling webhook "it.example.com": failed to call webhook: '
            'Post "https://x/y?timeout=10s": context deadline exceeded'
        )
        attributes = asked(pod())
        await admitted(FakeClient(it=fails), attributes, kind(hook("it", failurePolicy="Ignore")))
        assert attributes.annotations is not None and "it.example.com" in attributes.annotations.values()


@pytest.mark.parametrize(
    ("answered", "why"),
    [
        ({}, "webhook response was absent"),
        (None, "webhook response was absent"),
        (
            {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {"uid": "x"}},
            'expected response.uid="',
        ),
    ],
)
async def test_answers_that_are_none(answered, why):
    error = await refusal(FakeClient(it=lambda _: answered), asked(pod()), validators(hook("it")))
    assert f'failed calling webhook "it.example.com": received invalid webhook response: {why}' in error.message
    await admitted(FakeClient(it=lambda _: answered), asked(pod()), validators(hook("it", failurePolicy="Ignore")))


@pytest.mark.parametrize(
    ("kind", "response", "why"),
    [
        (validators, {"patch": "W10="}, "validating webhook may not return response.patch"),
        (validators, {"patchType": "JSONPatch"}, "validating webhook may not return response.patchType"),
        (mutators, {"patch": "W10="}, "webhook returned response.patch but not response.patchType"),
        (mutators, {"patchType": "JSONPatch"}, "webhook returned response.patchType but not response.patch"),
        (mutators, {"patchType": "Merge", "patch": "e30="}, 'unsupported patch type "Merge"'),
        (mutators, {"patchType": "JSONPatch", "patch": "e30="}, "received undecodable patch in webhook response"),
        (mutators, {"patchType": "JSONPatch", "patch": "?"}, "received undecodable patch in webhook response"),
    ],
)
async def test_answers_that_must_not_be(kind, response, why):
    def handle(review: Object) -> Object:
        answered = answer(review)
        answered["response"] |= response
        return answered

    error = await refusal(FakeClient(it=handle), asked(pod()), kind(hook("it")))
    assert why in error.message


async def test_a_dry_run_asks_only_those_that_do_nothing_else():
    client = FakeClient(it=allows())
    attributes = asked(pod(), dry_run=True)
    await admitted(client, attributes, validators(hook("it", sideEffects="NoneOnDryRun")))
    assert client.asked[0][1]["request"]["dryRun"] is True
    resource, configuration = validators(hook("it"))
    configuration["webhooks"][0]["sideEffects"] = "Some"  # as older versions could store
    error = await refusal(client, asked(pod(), dry_run=True), (resource, configuration))
    assert (error.code, error.message) == (400, 'admission webhook "it.example.com" does not support dry run')


# Whom it concerns


async def test_match_conditions():
    conditions = [
        {"name": "not-leases", "expression": "request.resource.resource != 'leases'"},
        {"name": "may", "expression": "authorizer.group('').resource('pods').check('delete').allowed()"},
        {"name": "labelled", "expression": "has(object.metadata.labels) && 'a' in object.metadata.labels"},
    ]
    client, it = FakeClient(it=allows()), validators(hook("it", matchConditions=conditions))
    roles = granted(rule("delete", "pods"), to="jane")
    await admitted(client, asked(pod(labels={"a": "b"})), it)
    await admitted(client, asked(pod()), it, roles=roles)
    assert client.names == []
    await admitted(client, asked(pod(labels={"a": "b"})), it, roles=roles)
    assert client.names == ["it"]


async def test_match_conditions_that_can_not_be_evaluated():
    client, broken = FakeClient(it=allows()), [{"name": "broken", "expression": "object.nothing == 1"}]
    error = await refusal(client, asked(pod()), validators(hook("it", matchConditions=broken)))
    assert (error.code, error.message) == (
        403,
        "pods \"web\" is forbidden: expression 'object.nothing == 1' resulted in error: no such key: nothing",
    )
    ignoring = validators(hook("it", matchConditions=broken, failurePolicy="Ignore"))
    await admitted(client, asked(pod()), ignoring)
    assert client.names == []


async def test_webhooks_are_not_asked_about_themselves():
    client = FakeClient(it=denies())
    configuration: Object = {"apiVersion": "v1", "kind": "x", "metadata": {"name": "x"}}
    for resource in (VALIDATINGWEBHOOKCONFIGURATIONS, MUTATINGWEBHOOKCONFIGURATIONS):
        await admitted(client, asked(configuration, resource=resource), validators(hook("it")))
    assert client.names == []


async def test_what_is_configured_holds_at_once():
    client, cluster = FakeClient(it=denies()), FakeCluster(DEFAULT)
    webhooks = Webhooks(cluster, Served(Catalog()), authorizer_of(Objects()), cast(WebhookClient, client))
    chain = Chain([validating.plugin(webhooks)])
    await validate(chain, asked(pod()), cluster)
    cluster.put(*validators(hook("it")))
    with pytest.raises(ApiError):
        await validate(chain, asked(pod()), cluster)
    deployments = [{**EVERYTHING, "apiGroups": ["apps"], "resources": ["deployments"]}]
    cluster.put(*validators(hook("it", rules=deployments)))
    await validate(chain, asked(pod()), cluster)
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"}}
    with pytest.raises(ApiError):
        await validate(chain, asked(deployment, resource=DEPLOYMENTS), cluster)
    cluster.remove(VALIDATINGWEBHOOKCONFIGURATIONS, "", "all")
    await validate(chain, asked(deployment, resource=DEPLOYMENTS), cluster)
