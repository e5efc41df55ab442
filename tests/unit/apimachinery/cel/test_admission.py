"""Policies and match conditions see the request, its objects, parameters and their own variables.

Facts: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.cel import (
    BOOL,
    DYN,
    CelCompileError,
    CelCostError,
    CelEvaluationError,
    CostBudget,
    compile,
    to_wire,
    type_of_definition,
)
from apimachinery.cel.admission import Variables, admission_environment, misnamed_types
from apimachinery.cel.library.authorization import Authorizer, Decision, Question, ResourceCheck

DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {"replicas": 3, "template": {"spec": {"containers": [{"name": "a", "image": "example.com/a:1"}]}}},
}
REQUEST = {
    "operation": "CREATE",
    "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
    "userInfo": {"username": "alice", "groups": ["system:authenticated"], "extra": {"scopes": ["a"]}},
    "namespace": "default",
}
NAMESPACE = {"metadata": {"name": "default", "labels": {"env": "test"}}}


def evaluate(expression: str, **bindings: Any) -> Any:
    environment = admission_environment(params_type=DYN, has_authorizer=True)
    values = {"object": DEPLOYMENT, "oldObject": None, "request": REQUEST, "namespaceObject": NAMESPACE, **bindings}
    return compile(expression, environment).evaluate(values)


EXPRESSIONS: dict[str, Any] = {
    "object.spec.replicas <= 5": True,
    "object.spec.replicas <= params.maxReplicas": False,
    "object.spec.template.spec.containers.all(c, c.image.startsWith('example.com/'))": True,
    "!has(object.spec.paused) || !object.spec.paused": True,
    "oldObject == null": True,
    "oldObject != null && oldObject.spec.replicas > 1": False,
    "request.operation in ['CREATE', 'UPDATE'] && request.kind.kind == 'Deployment'": True,
    "'system:authenticated' in request.userInfo.groups": True,
    "!request.userInfo.username.startsWith('system:node:')": True,
    "namespaceObject.metadata.labels['env'] == 'test'": True,
    "object.metadata.namespace == request.namespace": True,
    "object.metadata.?annotations[?'a.b/c'].orValue('none')": "none",
    "'replicas: ' + string(object.spec.replicas)": "replicas: 3",
    "has(params.missing) ? params.missing : 'default'": "default",
}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_sees_the_request(expression: str) -> None:
    assert evaluate(expression, params={"maxReplicas": 2}) == EXPRESSIONS[expression]


def test_a_field_that_the_object_lacks_is_an_error() -> None:
    with pytest.raises(CelEvaluationError, match="no such key: paused"):
        evaluate("object.spec.paused")


def test_the_fields_of_the_request_are_known_before() -> None:
    with pytest.raises(CelCompileError, match="undefined field 'user'"):
        compile("request.user.name == 'a'", admission_environment())


def test_parameters_and_authorizer_are_there_only_if_declared() -> None:
    for name in ("params", "authorizer"):
        with pytest.raises(CelCompileError, match=f"undeclared reference to '{name}'"):
            compile(f"{name} != null", admission_environment())


def test_a_policy_is_checked_against_the_types_that_it_matches() -> None:
    environment = admission_environment(object_type=type_of_definition("io.k8s.api.apps.v1.Deployment"))

    with pytest.raises(CelCompileError, match="undefined field 'replcas'"):
        compile("object.spec.replcas > 1", environment)
    assert compile("object.spec.replicas > 1", environment).result_type == BOOL


def asked(expression: str) -> list[Question]:
    questions: list[Question] = []

    def authorize(question: Question) -> Decision:
        questions.append(question)
        return Decision(
            allowed=question.verb != "delete", reason="because", error="broken" if question.path else None
        )

    request_resource = ResourceCheck(authorize, Question("", group="apps", resource="deployments", name="web"))
    bindings = {"authorizer": Authorizer(authorize), "authorizer.requestResource": request_resource}
    assert evaluate(expression, **bindings) is True
    return questions


def test_the_authorizer_is_asked_about_resources_paths_and_service_accounts() -> None:
    assert asked(
        "authorizer.group('').resource('pods').subresource('log').namespace('a').check('get').allowed()"
    ) == [Question("get", resource="pods", subresource="log", namespace="a")]
    assert asked("authorizer.path('/healthz').check('get').errored()") == [Question("get", path="/healthz")]
    assert asked(
        "authorizer.serviceAccount('ns', 'sa').group('').resource('pods').check('list').reason() == 'because'"
    ) == [Question("list", service_account=("ns", "sa"), resource="pods")]
    assert asked("!authorizer.requestResource.check('delete').allowed()") == [
        Question("delete", group="apps", resource="deployments", name="web")
    ]
    selected = "authorizer.group('').resource('pods').fieldSelector('a=b').labelSelector('c').check('list').allowed()"
    assert asked(selected) == [Question("list", resource="pods", field_selector="a=b", label_selector="c")]


def test_an_expression_can_ask_the_authorizer_twice_only() -> None:
    check = "authorizer.group('').resource('pods').check('get').allowed()"

    assert len(asked(f"{check} && {check}")) == 2
    with pytest.raises(CelCostError):
        asked(f"{check} && {check} && {check}")


def variables(budget: CostBudget, **expressions: str) -> Variables:
    programs, types = {}, {}
    for name, expression in expressions.items():
        programs[name] = compile(expression, admission_environment(variables=types))
        types[name] = programs[name].result_type
    return Variables(programs, {"object": DEPLOYMENT, "request": REQUEST}, budget)


def test_variables_are_evaluated_when_they_are_read_and_only_once() -> None:
    budget = CostBudget()
    composed = variables(
        budget, containers="object.spec.template.spec.containers", count="variables.containers.size()"
    )
    environment = admission_environment(variables={"containers": DYN, "count": DYN, "broken": DYN})
    assert budget.remaining == CostBudget().remaining

    assert compile("variables.count == 1", environment).evaluate(composed.bindings, budget=budget) is True
    spent = budget.remaining
    compile("variables.count == 1", environment).evaluate(composed.bindings)
    assert budget.remaining == spent
    assert compile("has(variables.containers)", environment).evaluate(composed.bindings) is True


def test_a_variable_that_fails_says_its_name() -> None:
    composed = variables(CostBudget(), broken="object.spec.missing == 1")
    program = compile("variables.broken", admission_environment(variables={"broken": BOOL}))

    with pytest.raises(CelEvaluationError) as raised:
        program.evaluate(composed.bindings)
    assert raised.value.message == 'composited variable "broken" fails to evaluate: no such key: missing'


def test_the_type_of_a_variable_is_that_of_its_expression() -> None:
    composed_types = {"count": compile("1 + 1", admission_environment()).result_type}

    with pytest.raises(CelCompileError, match=r"found no matching overload for '_\+_' applied to '\(int, string\)'"):
        compile("variables.count + 'a'", admission_environment(variables=composed_types))


def mutate(expression: str) -> Any:
    return compile(expression, admission_environment(mutates=True)).evaluate({"object": DEPLOYMENT})


def test_a_mutation_constructs_what_is_applied() -> None:
    result = mutate(
        "Object{metadata: Object.metadata{labels: {'replicas': string(object.spec.replicas)}},"
        " spec: Object.spec{replicas: object.spec.replicas + 1, ?paused: optional.none()}}"
    )

    assert to_wire(result) == {"metadata": {"labels": {"replicas": "3"}}, "spec": {"replicas": 4}}
    assert misnamed_types(result) == []


def test_the_types_in_a_constructed_object_must_be_named_by_their_fields() -> None:
    assert misnamed_types(mutate("Object{spec: Object.metadata{a: 1}}")) == [
        'unexpected type name "Object.metadata", expected "Object.spec", which matches field name path from root'
        " Object type"
    ]


def test_a_mutation_can_be_a_list_of_patches() -> None:
    patch = mutate("[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('a/b~c'), value: [1]}]")

    assert to_wire(patch) == [{"op": "add", "path": "/metadata/labels/a~1b~0c", "value": [1]}]
    with pytest.raises(CelCompileError, match="undefined field 'nope'"):
        mutate("JSONPatch{nope: 1}")
    with pytest.raises(CelCompileError, match="expected type of field 'op' is 'string' but provided type is 'int'"):
        mutate("JSONPatch{op: 1}")


def test_objects_can_be_constructed_by_mutations_only() -> None:
    with pytest.raises(CelCompileError, match="undeclared reference to 'Object'"):
        compile("Object{}", admission_environment())


def test_a_value_that_json_does_not_have_cannot_be_written() -> None:
    with pytest.raises(CelEvaluationError, match="map key 1 is of type int, not string"):
        to_wire({1: "a"})
    with pytest.raises(CelEvaluationError, match="can't be written as JSON"):
        to_wire(mutate("quantity('1')"))
