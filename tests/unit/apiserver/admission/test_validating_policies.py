"""Validating policies: those of Kubernetes' documentation, and what each of their fields does."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    NODES,
    PODS,
    SUBJECTACCESSREVIEWS,
    VALIDATINGADMISSIONPOLICIES,
    Resource,
)
from apiserver.admission.plugin import CREATE, DELETE, UPDATE, Attributes, Chain, validate
from apiserver.admission.policies.validating import plugin
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.request_info import User
from tests.support.access import Objects, authorizer_of, granted, rule
from tests.support.admission import FakeCluster
from tests.unit.apiserver.admission.policies import EVERYTHING, WORKLOADS, bound, validating

JANE = User("jane", "7", ("developers",), (("team", ("a", "b")),))
TEST = (NAMESPACES, {"metadata": {"name": "test", "labels": {"environment": "test"}}})


def deployment(replicas: int = 1, name: str = "web", **metadata: Any) -> Object:
    kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
    containers = [{"name": "c", "image": "example.com/app:1"}]
    spec = {"replicas": replicas, "template": {"spec": {"containers": containers}}}
    return {**kind, "metadata": {"name": name, "namespace": "test", **metadata}, "spec": spec}


def asked(
    obj: Object | None,
    *,
    resource: Resource = DEPLOYMENTS,
    operation: str = CREATE,
    old: Object | None = None,
    **more: Any,
) -> Attributes:
    name = (obj or old or {})["metadata"]["name"]
    namespace = "test" if resource.namespaced else ""
    return Attributes(operation, resource, namespace, name, JANE, obj, old, **more)


async def judged(attributes: Attributes, *objects: Any, roles: list[Object] | None = None) -> Attributes:
    cluster = FakeCluster(TEST, *objects)
    chain = Chain([plugin(cluster, Served(Catalog()), authorizer_of(Objects(*(roles or []))))])
    await validate(chain, attributes, cluster)
    return attributes


async def refusal(attributes: Attributes, *objects: Any, **more: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await judged(attributes, *objects, **more)
    return caught.value


async def test_the_first_policy_of_the_documentation():
    policy = validating("object.spec.replicas <= 5", name="demo-policy.example.com", rule=WORKLOADS)
    selector = {"namespaceSelector": {"matchLabels": {"environment": "test"}}}
    binding = bound("demo-policy.example.com", "demo-binding-test.example.com", matchResources=selector)
    await judged(asked(deployment(5)), policy, binding)
    error = await refusal(asked(deployment(6)), policy, binding)
    told = (
        "ValidatingAdmissionPolicy 'demo-policy.example.com' with binding 'demo-binding-test.example.com' "
        "denied request: failed expression: object.spec.replicas <= 5"
    )
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.message == f'deployments.apps "web" is forbidden: {told}'
    assert error.details == {"name": "web", "group": "apps", "kind": "deployments", "causes": [{"message": told}]}


async def test_what_is_not_bound_does_not_hold():
    await judged(asked(deployment(6)), validating("false"))
    await judged(asked(deployment(6)), bound())


async def test_a_binding_narrows_what_a_policy_is_about():
    elsewhere = {"namespaceSelector": {"matchLabels": {"environment": "prod"}}}
    await judged(asked(deployment()), validating("false"), bound(matchResources=elsewhere))
    names = {"resourceRules": [{**EVERYTHING, "resourceNames": ["db"]}]}
    await judged(asked(deployment()), validating("false"), bound(matchResources=names))
    await refusal(asked(deployment(name="db")), validating("false"), bound(matchResources=names))


async def test_messages_and_reasons():
    rules = [
        {"expression": "object.spec.replicas <= 5", "message": " too many "},
        {
            "expression": "object.spec.replicas <= 7",
            "messageExpression": "'at most 7, not ' + string(object.spec.replicas)",
            "reason": "Forbidden",
        },
        {"expression": "object.spec.replicas <= 9", "messageExpression": "string(object.spec.no)", "message": "nine"},
        {"expression": "object.spec.replicas <= 9", "messageExpression": "'a\\nb'", "message": "one line"},
    ]
    expected = [
        (6, "too many", 422, "Invalid"),
        (8, "at most 7, not 8", 403, "Forbidden"),
        (10, "nine", 422, "Invalid"),
        (10, "one line", 422, "Invalid"),
    ]
    for number, (replicas, message, code, reason) in enumerate(expected):
        error = await refusal(asked(deployment(replicas)), validating(rules[number]), bound())
        assert (error.message.rpartition("denied request: ")[2], error.code, error.reason) == (message, code, reason)


async def test_warn_and_audit_let_it_pass_and_tell():
    policy = validating({"expression": "false", "message": "no"})
    warned = await judged(asked(deployment()), policy, bound(actions="Warn Audit"))
    assert warned.warnings == ["Validation failed for ValidatingAdmissionPolicy 'policy' with binding 'binding': no"]
    assert warned.annotations is not None
    told = orjson.loads(warned.annotations["validation.policy.admission.k8s.io/validation_failure"])
    assert told == [
        {
            "message": "no",
            "policy": "policy",
            "binding": "binding",
            "expressionIndex": 0,
            "validationActions": ["Warn", "Audit"],
        }
    ]


# The second policy of the documentation: parameters.

CONFIG = {"apiVersion": "v1", "kind": "ConfigMap"}
LIMITED = {"paramKind": CONFIG, "failurePolicy": "Fail"}
RULE = {
    "expression": "params == null || object.spec.replicas <= int(params.data.maxReplicas)",
    "messageExpression": "'object.spec.replicas must be no greater than ' + params.data.maxReplicas",
}


def limit(name: str, replicas: int, namespace: str = "test", **labels: str) -> tuple[Resource, Object]:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return CONFIGMAPS, {**CONFIG, "metadata": metadata, "data": {"maxReplicas": str(replicas)}}


def by_name(name: str, **more: Any) -> Object:
    return {"name": name, "parameterNotFoundAction": "Deny", **more}


async def test_parameters_by_name():
    policy = validating(RULE, **LIMITED)
    binding = bound(paramRef=by_name("limit"))
    await judged(asked(deployment(3)), policy, binding, limit("limit", 3))
    error = await refusal(asked(deployment(4)), policy, binding, limit("limit", 3))
    assert error.message.endswith("denied request: object.spec.replicas must be no greater than 3")


async def test_parameters_by_labels_must_all_be_kept_to():
    reference = {"selector": {"matchLabels": {"env": "test"}}, "parameterNotFoundAction": "Deny"}
    binding = bound(paramRef=reference)
    limits = limit("a", 5, env="test"), limit("b", 3, env="test"), limit("c", 1, env="prod")
    await judged(asked(deployment(3)), validating(RULE, **LIMITED), binding, *limits)
    error = await refusal(asked(deployment(4)), validating(RULE, **LIMITED), binding, *limits)
    assert error.message.endswith("no greater than 3")


async def test_parameters_that_are_not_there():
    policy = validating(RULE, **LIMITED)
    error = await refusal(asked(deployment()), policy, bound(paramRef=by_name("limit")))
    assert error.message.endswith(
        "ValidatingAdmissionPolicy 'policy' with binding 'binding' denied request: failed to configure binding: "
        "no params found for policy binding with `Deny` parameterNotFoundAction"
    )
    allowing = {"name": "limit", "parameterNotFoundAction": "Allow"}
    await judged(asked(deployment(99)), policy, bound(paramRef=allowing))
    # A binding that refers to none is evaluated without any.
    await judged(asked(deployment(99)), policy, bound())


async def test_parameters_of_another_namespace():
    policy = validating(RULE, **LIMITED)
    elsewhere = bound(paramRef=by_name("limit", namespace="limits"))
    await refusal(asked(deployment(4)), policy, elsewhere, limit("limit", 3, "limits"))
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    error = await refusal(asked(node, resource=NODES), policy, bound(paramRef=by_name("limit")))
    assert "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources" in error.message


async def test_parameters_of_a_kind_that_nobody_serves():
    kind = {"apiVersion": "rules.example.com/v1", "kind": "ReplicaLimit"}
    policy = validating("true", paramKind=kind)
    error = await refusal(asked(deployment()), policy, bound(paramRef=by_name("limit")))
    assert error.message.endswith(
        "ValidatingAdmissionPolicy 'policy' denied request: failed to configure policy: failed to find resource "
        "referenced by paramKind: 'rules.example.com/v1, Kind=ReplicaLimit'"
    )
    await judged(asked(deployment()), validating("true", paramKind=kind, failurePolicy="Ignore"), bound())


# What expressions see


async def test_variables_are_evaluated_when_they_are_needed():
    variables = [
        {"name": "environment", "expression": "namespaceObject.metadata.labels['environment']"},
        {"name": "exempt", "expression": "variables.environment == 'exempt'"},
        {"name": "broken", "expression": "object.spec.nothing"},
        {"name": "containers", "expression": "object.spec.template.spec.containers"},
        {"name": "toCheck", "expression": "variables.containers.filter(c, !c.image.startsWith('example.com/'))"},
    ]
    policy = validating("variables.exempt || variables.toCheck.size() == 0", variables=variables)
    await judged(asked(deployment()), policy, bound())
    broken = validating("variables.broken == 1", variables=variables)
    error = await refusal(asked(deployment()), broken, bound())
    assert 'composited variable "broken" fails to evaluate: no such key: nothing' in error.message


@pytest.mark.parametrize(
    "expression",
    [
        "request.operation == 'CREATE' && request.name == 'web' && request.namespace == 'test'",
        "request.kind.kind == 'Deployment' && request.resource.resource == 'deployments'",
        "request.requestKind.group == 'apps' && request.requestResource.version == 'v1'",
        "request.userInfo.username == 'jane' && request.userInfo.uid == '7'",
        "'developers' in request.userInfo.groups && request.userInfo.extra['team'] == ['a', 'b']",
        "request.dryRun == false && !has(request.subResource) && request.options == null",
        "oldObject == null && object.metadata.name == 'web'",
        "namespaceObject.metadata.name == 'test'",
    ],
)
async def test_what_is_known_of_a_request(expression):
    await judged(asked(deployment()), validating(expression), bound())


async def test_an_update_and_a_deletion():
    policy = validating("oldObject.spec.replicas == 1 && (object == null || object.spec.replicas == 2)")
    await judged(asked(deployment(2), old=deployment(), operation=UPDATE), policy, bound())
    await judged(asked(None, old=deployment(), operation=DELETE), policy, bound())


async def test_what_is_in_no_namespace_sees_none():
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}}
    seen = validating("namespaceObject == null && !has(request.namespace)")
    await judged(asked(node, resource=NODES), seen, bound())
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "new"}}
    seen = validating("namespaceObject == null && request.namespace == 'new'")
    await judged(asked(namespace, resource=NAMESPACES), seen, bound())


async def test_the_authorizer():
    may = "authorizer.group('apps').resource('deployments').namespace('test').check('delete').allowed()"
    this = "authorizer.requestResource.check('scale').allowed()"
    account = "authorizer.serviceAccount('test', 'default').path('/x').check('get').allowed()"
    policy = validating(may, this, f"!{account}")
    roles = granted(rule("delete scale", "deployments", "apps"), to="jane")
    await judged(asked(deployment()), policy, bound(), roles=roles)
    error = await refusal(asked(deployment()), policy, bound())
    assert "failed expression: authorizer.group" in error.message


# Conditions and failures


async def test_match_conditions_choose_requests():
    conditions = [
        {"name": "not-nodes", "expression": "!('system:nodes' in request.userInfo.groups)"},
        {"name": "small", "expression": "object.spec.replicas < 3"},
    ]
    policy = validating("false", matchConditions=conditions)
    await refusal(asked(deployment(2)), policy, bound())
    await judged(asked(deployment(3)), policy, bound())


async def test_match_conditions_that_can_not_be_evaluated():
    broken = {"name": "broken", "expression": "object.spec.nothing == 1"}
    error = await refusal(asked(deployment()), validating("true", matchConditions=[broken]), bound())
    assert error.message.endswith(
        "denied request: expression 'object.spec.nothing == 1' resulted in error: no such key: nothing"
    )
    ignored = validating("false", matchConditions=[broken], failurePolicy="Ignore")
    await judged(asked(deployment()), ignored, bound())
    # One that is false settles it.
    conditions = [broken, {"name": "never", "expression": "false"}]
    await judged(asked(deployment()), validating("false", matchConditions=conditions), bound())


async def test_a_rule_that_can_not_be_evaluated():
    error = await refusal(asked(deployment()), validating("object.spec.nothing == 1"), bound())
    assert error.message.endswith("expression 'object.spec.nothing == 1' resulted in error: no such key: nothing")
    await judged(asked(deployment()), validating("object.spec.nothing == 1", failurePolicy="Ignore"), bound())
    # A rule that is broken is so whatever the policy says of failures.
    await refusal(asked(deployment()), validating("false", failurePolicy="Ignore"), bound())


async def test_an_expression_that_costs_too_much_ends():
    names = ", ".join(f"'{n}'" for n in range(200))
    expression = f"[{names}].all(a, [{names}].all(b, [{names}].all(c, a + b + c != 'x')))"
    error = await refusal(asked(deployment()), validating(expression), bound())
    assert error.message.endswith("operation cancelled: actual cost limit exceeded")


async def test_audit_annotations():
    annotations = [
        {"key": "high-replica-count", "valueExpression": "'Deployment has ' + string(object.spec.replicas)"},
        {"key": "nothing", "valueExpression": "null"},
    ]
    policy = validating(auditAnnotations=annotations, validations=None)
    told = await judged(asked(deployment(7)), policy, bound())
    assert told.annotations == {"policy/high-replica-count": "Deployment has 7"}
    broken = [{"key": "k", "valueExpression": "string(object.spec.nothing)"}]
    await refusal(asked(deployment()), validating(auditAnnotations=broken, validations=None), bound())
    ignoring = validating(auditAnnotations=broken, validations=None, failurePolicy="Ignore")
    assert (await judged(asked(deployment()), ignoring, bound())).annotations is None


async def test_policies_hold_neither_for_themselves_nor_for_questions_of_rights():
    policy: Object = {"apiVersion": "v1", "kind": "x", "metadata": {"name": "p"}}
    for resource in (VALIDATINGADMISSIONPOLICIES, SUBJECTACCESSREVIEWS):
        await judged(asked(policy, resource=resource), validating("false"), bound())


async def test_a_change_of_a_policy_holds_at_once():
    cluster = FakeCluster(TEST, validating("false"), bound())
    chain = Chain([plugin(cluster, Served(Catalog()), authorizer_of(Objects()))])
    with pytest.raises(ApiError):
        await validate(chain, asked(deployment()), cluster)
    resource, policy = validating("true")
    policy["metadata"]["resourceVersion"] = "2"
    cluster.put(resource, policy)
    await validate(chain, asked(deployment()), cluster)
    cluster.put(*validating("false"))
    resource, binding = bound()
    cluster.remove(resource, "", binding["metadata"]["name"])
    await validate(chain, asked(deployment()), cluster)


async def test_parts_of_objects_are_looked_at_too():
    part = {**EVERYTHING, "resources": ["pods/exec"], "operations": ["CONNECT"]}
    policy = validating("object.stdin == false", rule=part)
    options: Object = {"apiVersion": "v1", "kind": "PodExecOptions", "stdin": True, "metadata": {"name": "web"}}
    attributes = Attributes("CONNECT", PODS, "test", "web", JANE, options, subresource="exec")
    await refusal(attributes, policy, bound())
