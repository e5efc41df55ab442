"""What the authors of validating policies are told about their expressions, and when."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, VALIDATINGADMISSIONPOLICIES
from controllers.policy_type_checking import Kind, defined_kind, expression_warnings, named_resources
from controllers.validating_policy_status import ValidatingPolicyStatus
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.unit.controllers.test_stale_caches import running

DEPLOYMENT, POD, CONFIG_MAP = Kind("apps", "v1", "Deployment"), Kind("", "v1", "Pod"), Kind("", "v1", "ConfigMap")


def rule(resources: str = "deployments", groups: str = "apps", versions: str = "v1") -> Object:
    named = {"resources": resources, "apiGroups": groups, "apiVersions": versions}
    lists: Object = {key: text.split(",") for key, text in named.items()}
    return {"operations": ["*"], **lists}


def policy(*expressions: str, rules: list[Object] | None = None, **spec: Any) -> Object:
    validations = [{"expression": one} for one in expressions]
    constraints = {"resourceRules": [rule()] if rules is None else rules}
    return {
        "metadata": {"name": "p"},
        "spec": {"matchConstraints": constraints, "validations": validations, **spec},
    }


def told(of: Object, *kinds: Kind, params: Kind | None = None) -> list[str]:
    return [one["warning"] for one in expression_warnings(of, kinds or (DEPLOYMENT,), params)]


def test_a_field_that_is_not_there_is_told_with_its_place() -> None:
    checked = expression_warnings(policy("object.spec.replicas <= 5", "object.replicas > 1"), [DEPLOYMENT], None)
    assert checked == [
        {
            "fieldRef": "spec.validations[1].expression",
            "warning": "apps/v1, Kind=Deployment: ERROR: <input>:1:7: undefined field 'replicas'\n"
            " | object.replicas > 1\n"
            " | ......^\n",
        }
    ]


def test_an_expression_is_looked_at_for_every_kind_that_it_is_about() -> None:
    (warning,) = told(policy("object.spec.replicas > 1"), POD, DEPLOYMENT)
    assert warning.startswith("/v1, Kind=Pod: ERROR: <input>:1:12: undefined field 'replicas'")
    assert "Deployment" not in warning
    (both,) = told(policy("object.spec.nothing"), DEPLOYMENT, POD)
    assert both.count("undefined field 'nothing'") == 2 and "\n\n/v1, Kind=Pod: " in both


@pytest.mark.parametrize(
    "expression",
    [
        "object.metadata.labels['a'] == 'b' && oldObject == null",
        "object.spec.template.spec.containers.all(c, c.image.startsWith('registry/') && has(c.resources))",
        "request.userInfo.username != 'jane' && namespaceObject.metadata.name == 'a'",
        "authorizer.group('').resource('pods').check('list').allowed()",
        "object.spec.strategy.rollingUpdate.maxSurge == 1 || object.spec.strategy.rollingUpdate.maxSurge == '1%'",
    ],
)
def test_what_fits_is_not_told_of(expression: str) -> None:
    assert told(policy(expression)) == []


def test_messages_variables_and_parameters_are_looked_at_too() -> None:
    of = policy(
        "variables.most > object.spec.replicas", variables=[{"name": "most", "expression": "size(params.data)"}]
    )
    of["spec"]["validations"][0]["messageExpression"] = "'at most ' + params.metadata.nothing"
    (warning,) = expression_warnings(of, [DEPLOYMENT], CONFIG_MAP)
    assert warning["fieldRef"] == "spec.validations[0].messageExpression"
    assert "undefined field 'nothing'" in warning["warning"]
    of = policy("variables.name > 1", variables=[{"name": "name", "expression": "object.metadata.name"}])
    assert "found no matching overload for '_>_' applied to '(string, int)'" in told(of)[0]


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        ([rule()], [("apps", "v1", "deployments")]),
        ([rule("pods,services,*/status,pods/log", "")], [("", "v1", "pods"), ("", "v1", "services")]),
        ([rule(groups="*")], []),
        ([rule(versions="*"), rule("jobs", "batch")], [("batch", "v1", "jobs")]),
        ([rule("*")], []),
    ],
)
def test_rules_name_kinds_or_are_about_all_of_them(rules: list[Object], named: list[tuple[str, str, str]]) -> None:
    assert list(named_resources(policy("true", rules=rules))) == named


WIDGETS = {
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Widget", "plural": "widgets"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}},
                    }
                },
            },
            {"name": "v0", "served": False, "schema": {"openAPIV3Schema": {"type": "object"}}},
        ],
    },
}


def test_custom_resources_have_the_types_of_their_schemas() -> None:
    kind = defined_kind(WIDGETS, "v1")
    assert kind is not None and str(kind) == "example.com/v1, Kind=Widget"
    assert told(policy("object.spec.size > 1 && object.metadata.labels['a'] == 'b'"), kind) == []
    assert "undefined field 'colour'" in told(policy("object.spec.colour == 'red'"), kind)[0]
    assert defined_kind(WIDGETS, "v0") is None and defined_kind(WIDGETS, "v2") is None


async def test_each_version_of_a_policy_is_looked_at_once() -> None:
    api, clock = StagedApi(), ManualClock()
    await api.create(CUSTOMRESOURCEDEFINITIONS, WIDGETS)
    rules = [rule("widgets", "example.com"), rule("none", "example.com"), rule()]
    of = policy("object.spec.size > 1", rules=rules, paramKind={"apiVersion": "example.com/v1", "kind": "Widget"})
    async with running(api, clock, ValidatingPolicyStatus):
        await api.create(VALIDATINGADMISSIONPOLICIES, of)
        await clock.advance(1)
        (found,) = api.objects(VALIDATINGADMISSIONPOLICIES)
        (warning,) = found["status"]["typeChecking"]["expressionWarnings"]
        assert warning["warning"].startswith("apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'size'")
        assert found["status"]["observedGeneration"] == 1
        fixed = {"metadata": {"generation": 2}, "spec": {"validations": [{"expression": "params.spec.size > 1"}]}}
        await api.patch(VALIDATINGADMISSIONPOLICIES, "p", fixed)
        await clock.advance(1)
        (found,) = api.objects(VALIDATINGADMISSIONPOLICIES)
        assert found["status"] == {"observedGeneration": 2, "typeChecking": {}}
        await api.patch(VALIDATINGADMISSIONPOLICIES, "p", {"metadata": {"labels": {"a": "b"}}})
        await clock.advance(1)
        assert api.count("patch", VALIDATINGADMISSIONPOLICIES) == 4  # two of them are this test's
