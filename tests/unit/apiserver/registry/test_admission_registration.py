"""Webhook configurations and admission policies."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    MUTATINGWEBHOOKCONFIGURATIONS,
    VALIDATINGADMISSIONPOLICIES,
    VALIDATINGADMISSIONPOLICYBINDINGS,
    VALIDATINGWEBHOOKCONFIGURATIONS,
)
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
SERVICE = {"service": {"name": "hook", "namespace": "default"}}
BOTH = (VALIDATINGWEBHOOKCONFIGURATIONS, MUTATINGWEBHOOKCONFIGURATIONS)


def configuration(**hook: Any) -> Object:
    made = {
        "name": "pods.hook.example.com",
        "clientConfig": SERVICE,
        "rules": [RULE],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        **hook,
    }
    return {"metadata": {"name": "x"}, "webhooks": [made]}


def policy(**spec: Any) -> Object:
    said = {"matchConstraints": {"resourceRules": [RULE]}, "validations": [{"expression": "true"}], **spec}
    return {"metadata": {"name": "x"}, "spec": said}


def binding(**spec: Any) -> Object:
    return {"metadata": {"name": "x"}, "spec": {"policyName": "p", "validationActions": ["Deny"], **spec}}


@pytest.mark.parametrize("resource", BOTH, ids=lambda resource: resource.plural)
def test_a_webhook_is_asked_of_everything_that_its_rules_name(resource):
    (hook,) = created(resource, configuration())["webhooks"]
    assert (hook["failurePolicy"], hook["matchPolicy"], hook["timeoutSeconds"]) == ("Fail", "Equivalent", 10)
    assert hook["namespaceSelector"] == {} and hook["rules"][0]["scope"] == "*"
    assert hook["clientConfig"]["service"]["port"] == 443
    assert hook.get("reinvocationPolicy") == ("Never" if resource is MUTATINGWEBHOOKCONFIGURATIONS else None)
    assert problems(resource, configuration()) == []
    assert shown(resource, configuration())["Webhooks"] == 1


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ({"name": "pods"}, ['name: Invalid value: "pods": should be a domain with at least three segments']),
        ({"sideEffects": None}, ["sideEffects: Required value: must specify one of None, NoneOnDryRun"]),
        (
            {"sideEffects": "Some"},
            ['sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"'],
        ),
        ({"timeoutSeconds": 31}, ["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30"]),
        ({"clientConfig": {}}, ["clientConfig: Required value: exactly one of url or service is required"]),
        (
            {"clientConfig": {**SERVICE, "caBundle": "!!"}},
            ['clientConfig.caBundle: Invalid value: "<redacted>": must be base64'],
        ),
        (
            {"clientConfig": {"url": "http://a/b?c"}},
            ["'https' is the only allowed URL scheme", "query parameters are not permitted in the URL"],
        ),
        (
            {"clientConfig": {"service": {**SERVICE["service"], "path": "a/b"}}},
            ["must start with a '/'", "segment[0] may not be empty"],
        ),
        (
            {"admissionReviewVersions": ["v2"]},
            ['admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1'],
        ),
        (
            {"rules": [{**RULE, "operations": ["*", "CREATE"]}]},
            ['rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other'],
        ),
        (
            {"rules": [{**RULE, "resources": ["pods/*", "pods/status"]}]},
            ["rules[0].resources[1]: Invalid value: \"pods/status\": if 'pods/*' is present, must not specify"],
        ),
        ({"matchConditions": [{"name": "a", "expression": " "}]}, ["matchConditions[0].expression: Required value"]),
    ],
)
def test_what_is_wrong_with_a_webhook_is_told(hook, told):
    found = problems(VALIDATINGWEBHOOKCONFIGURATIONS, configuration(**hook))
    assert len(found) == len(told), found
    assert all(part in whole for part, whole in zip(told, found, strict=True)), found


def test_each_webhook_has_a_name_of_its_own():
    two = configuration()
    two["webhooks"] *= 2
    assert problems(VALIDATINGWEBHOOKCONFIGURATIONS, two) == [
        'webhooks[1].name: Duplicate value: "pods.hook.example.com"'
    ]


def test_what_a_policy_can_not_decide_is_refused():
    spec = created(VALIDATINGADMISSIONPOLICIES, policy())["spec"]
    assert spec["failurePolicy"] == "Fail" and spec["matchConstraints"]["matchPolicy"] == "Equivalent"
    assert problems(VALIDATINGADMISSIONPOLICIES, policy()) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"matchConstraints": None}, ["spec.matchConstraints: Required value"]),
        ({"matchConstraints": {}}, ["spec.matchConstraints.resourceRules: Required value"]),
        ({"validations": []}, ["validations or auditAnnotations must contain at least one item"] * 2),
        ({"validations": [{}]}, ["spec.validations[0].expression: Required value: expression is not specified"]),
        (
            {"validations": [{"expression": "true", "message": "a\nb"}]},
            ['spec.validations[0].message: Invalid value: "a\\nb": must not contain line breaks'],
        ),
        (
            {"variables": [{"name": "in", "expression": "1"}]},
            ['spec.variables[0].name: Invalid value: "in": must be a valid CEL identifier'],
        ),
        ({"paramKind": {"apiVersion": "v1"}}, ["spec.paramKind.kind: Required value"]),
        (
            {"auditAnnotations": [{"key": "a b", "valueExpression": "'x'"}]},
            ['spec.auditAnnotations[0].key: Invalid value: "x/a b": name part must consist of'],
        ),
    ],
)
def test_what_is_wrong_with_a_policy_is_told(spec, told):
    found = problems(VALIDATINGADMISSIONPOLICIES, policy(**spec))
    assert len(found) == len(told), found
    assert all(part in whole for part, whole in zip(told, found, strict=True)), found


def test_the_checking_of_types_says_where_and_what():
    old = created(VALIDATINGADMISSIONPOLICIES, policy())
    status = {"typeChecking": {"expressionWarnings": [{"warning": "w"}]}}
    assert status_problems(VALIDATINGADMISSIONPOLICIES, status, old) == [
        "status.typeChecking.expressionWarnings[0].fieldRef: Required value"
    ]


def test_the_columns_of_a_policy():
    made = policy(paramKind={"apiVersion": "v1", "kind": "ConfigMap"})
    assert shown(VALIDATINGADMISSIONPOLICIES, made) == {
        "Name": "x",
        "Validations": 1,
        "ParamKind": "v1/ConfigMap",
        "Age": "<unknown>",
    }


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, []),
        ({"policyName": ""}, ["spec.policyName: Required value"]),
        ({"validationActions": []}, ["spec.validationActions: Required value: at least one validation action"]),
        ({"validationActions": ["Deny", "Warn"]}, ["must not contain both Deny and Warn"]),
        (
            {"paramRef": {"parameterNotFoundAction": "Deny"}},
            ["spec.paramRef: Required value: one of name or selector must be specified"],
        ),
        (
            {"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}},
            ["spec.paramRef.name: Forbidden: name and", "spec.paramRef.selector: Forbidden: name and"],
        ),
    ],
)
def test_a_binding_says_what_happens(spec, told):
    found = problems(VALIDATINGADMISSIONPOLICYBINDINGS, binding(**spec))
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True)), found


def test_the_columns_of_a_binding():
    made = binding(paramRef={"name": "limits", "namespace": "default"})
    assert shown(VALIDATINGADMISSIONPOLICYBINDINGS, made)["ParamRef"] == "default/limits"
    assert shown(VALIDATINGADMISSIONPOLICYBINDINGS, binding())["ParamRef"] == "<unset>"
