"""Admission policies as their authors and kubectl's users see them: applied, obeyed, and told of in whose words."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from tests.support.apiserver import ApiServerProcess
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl, in_new_namespace
from tests.support.manager import managing

GROUP = "admissionregistration.k8s.io"


@pytest.fixture
def kubectl(server: ApiServerProcess, tmp_path: Path) -> Kubectl:
    return in_new_namespace(kubectl_current(), server.kubeconfig, tmp_path)


def rule(resource: str, group: str = "") -> Object:
    return {
        "apiGroups": [group],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": [resource],
    }


class Policies:
    """The policies of one test, which are about its namespace alone; in the end they are taken away."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._made: list[str] = []

    def validating(self, name: str, matching: Object, bound: Object | None = None, **spec: Any) -> str:
        """A ValidatingAdmissionPolicy and its binding; the policy's full name."""
        constraints = {"resourceRules": [matching]}
        policy = {"failurePolicy": "Fail", "matchConstraints": constraints, **spec}
        return self._make("Validating", "v1", name, policy, {"validationActions": ["Deny"], **(bound or {})})

    def mutating(self, name: str, matching: Object, *mutations: Object, **spec: Any) -> str:
        """A MutatingAdmissionPolicy and its binding; the policy's full name."""
        constraints = {"resourceRules": [matching]}
        policy = {"matchConstraints": constraints, "reinvocationPolicy": "Never", "mutations": mutations, **spec}
        return self._make("Mutating", "v1beta1", name, policy, {})

    def _make(self, kind: str, version: str, name: str, policy: Object, bound: Object) -> str:
        full, of = f"{self._kubectl.namespace}-{name}", {"apiVersion": f"{GROUP}/{version}"}
        here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self._kubectl.namespace}}}
        objects = [
            {**of, "kind": f"{kind}AdmissionPolicy", "metadata": {"name": full}, "spec": policy},
            {
                **of,
                "kind": f"{kind}AdmissionPolicyBinding",
                "metadata": {"name": f"{full}-binding"},
                "spec": {"policyName": full, "matchResources": here, **bound},
            },
        ]
        made = self._kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )
        resource = f"{kind.lower()}admissionpolicy"
        assert made == f"{resource}.{GROUP}/{full} created\n{resource}binding.{GROUP}/{full}-binding created\n"
        self._made += [f"{resource}/{full}", f"{resource}binding/{full}-binding"]
        return full

    def remove(self) -> None:
        if self._made:
            self._kubectl("delete", *self._made)


@pytest.fixture
def policies(kubectl: Kubectl) -> Iterator[Policies]:
    made = Policies(kubectl)
    yield made
    made.remove()


def deployment(replicas: int, name: str = "web") -> str:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return json.dumps({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec})


DEPLOYMENTS = rule("deployments", "apps")


def test_a_denial_is_told_as_kubernetes_tells_it(kubectl: Kubectl, policies: Policies) -> None:
    name = policies.validating("demo", DEPLOYMENTS, validations=[{"expression": "object.spec.replicas <= 5"}])
    denied = (
        f"ValidatingAdmissionPolicy '{name}' with binding '{name}-binding' denied request: "
        "failed expression: object.spec.replicas <= 5"
    )
    assert kubectl("apply", "-f", "-", stdin=deployment(6), fails=True) == (
        f'The deployments "web" is invalid: : {denied}\n'
    )
    assert kubectl("create", "deployment", "web", "--image=i", "--replicas=6", fails=True) == (
        f'error: failed to create deployment: deployments.apps "web" is forbidden: {denied}\n'
    )
    assert kubectl("apply", "-f", "-", stdin=deployment(5)) == "deployment.apps/web created\n"
    assert kubectl("patch", "deployment", "web", "-p", '{"spec": {"replicas": 7}}', fails=True) == (
        f'The deployments "web" is invalid: : {denied}\n'
    )


def test_reasons_and_messages_are_the_policys_own(kubectl: Kubectl, policies: Policies) -> None:
    name = policies.validating(
        "words",
        DEPLOYMENTS,
        variables=[{"name": "most", "expression": "3"}],
        validations=[
            {
                "expression": "object.spec.replicas <= variables.most",
                "messageExpression": "'at most ' + string(variables.most) + ' in ' + namespaceObject.metadata.name",
                "reason": "Forbidden",
            }
        ],
    )
    assert kubectl("apply", "-f", "-", stdin=deployment(4), fails=True) == (
        'Error from server (Forbidden): error when creating "STDIN": deployments.apps "web" is forbidden: '
        f"ValidatingAdmissionPolicy '{name}' with binding '{name}-binding' denied request: "
        f"at most 3 in {kubectl.namespace}\n"
    )


def test_a_binding_may_only_warn(kubectl: Kubectl, policies: Policies) -> None:
    name = policies.validating(
        "warns",
        rule("configmaps"),
        {"validationActions": ["Warn", "Audit"]},
        validations=[{"expression": "has(object.metadata.labels)", "message": "say what it is for"}],
    )
    done = kubectl.run("create", "configmap", "a")
    assert done.stdout == "configmap/a created\n"
    assert done.stderr == (
        f"Warning: Validation failed for ValidatingAdmissionPolicy '{name}' with binding '{name}-binding': "
        "say what it is for\n"
    )


def test_who_is_refused_is_warned_as_well(kubectl: Kubectl, policies: Policies) -> None:
    spec = {"validations": [{"expression": "has(object.data)", "message": "empty"}]}
    warns = policies.validating("warns", rule("configmaps"), {"validationActions": ["Warn"]}, **spec)
    policies.validating("zealous", rule("configmaps"), **spec)
    told = kubectl("create", "configmap", "a", fails=True).splitlines()
    assert told[0].startswith(f"Warning: Validation failed for ValidatingAdmissionPolicy '{warns}'")
    assert told[1].startswith('error: failed to create configmap: configmaps "a" is forbidden: ')


def test_parameters_are_whatever_the_binding_names(kubectl: Kubectl, policies: Policies) -> None:
    kubectl("create", "configmap", "limits", "--from-literal=replicas=2")
    name = policies.validating(
        "limited",
        DEPLOYMENTS,
        {"paramRef": {"name": "limits", "parameterNotFoundAction": "Deny"}},
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        validations=[
            {
                "expression": "object.spec.replicas <= int(params.data.replicas)",
                "messageExpression": "'no more than ' + params.data.replicas",
            }
        ],
    )
    assert "denied request: no more than 2\n" in kubectl("apply", "-f", "-", stdin=deployment(3), fails=True)
    kubectl("patch", "configmap", "limits", "-p", '{"data": {"replicas": "3"}}')
    assert kubectl("apply", "-f", "-", stdin=deployment(3)) == "deployment.apps/web created\n"
    kubectl("delete", "configmap", "limits")
    assert kubectl("apply", "-f", "-", stdin=deployment(2), fails=True).endswith(
        f"ValidatingAdmissionPolicy '{name}' with binding '{name}-binding' denied request: failed to configure "
        "binding: no params found for policy binding with `Deny` parameterNotFoundAction\n"
    )


def test_match_conditions_and_rights_of_the_one_who_asks(kubectl: Kubectl, policies: Policies) -> None:
    kubectl("create", "role", "editor", "--verb=*", "--resource=configmaps")
    kubectl("create", "rolebinding", "editor", "--role=editor", "--user=jane")
    policies.validating(
        "careful",
        rule("configmaps"),
        matchConditions=[{"name": "people", "expression": "!request.userInfo.username.startsWith('system:')"}],
        validations=[
            {
                "expression": "authorizer.group('').resource('secrets').namespace(request.namespace)"
                ".check('list').allowed()",
                "message": "who may not list secrets makes no config either",
            }
        ],
    )
    refused = kubectl("create", "configmap", "a", "--as=jane", fails=True)
    assert "denied request: who may not list secrets makes no config either" in refused
    kubectl("create", "configmap", "a")
    kubectl("create", "role", "reader", "--verb=list", "--resource=secrets")
    kubectl("create", "rolebinding", "reader", "--role=reader", "--user=jane")
    assert kubectl("create", "configmap", "b", "--as=jane") == "configmap/b created\n"


def test_an_expression_that_does_not_compile_is_refused_with_the_policy(kubectl: Kubectl) -> None:
    policy = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "broken"},
        "spec": {
            "matchConstraints": {"resourceRules": [DEPLOYMENTS]},
            "validations": [{"expression": "object.spec.replicas <"}],
        },
    }
    told = kubectl("apply", "-f", "-", stdin=json.dumps(policy), fails=True)
    assert told.startswith(
        'The ValidatingAdmissionPolicy "broken" is invalid: spec.validations[0].expression: Invalid value: '
        '"object.spec.replicas <": compilation failed: ERROR: <input>:1:23: Syntax error: '
    )


def test_authors_are_warned_of_fields_that_are_not_there(
    server: ApiServerProcess, kubectl: Kubectl, policies: Policies
) -> None:
    with managing(server):
        name = policies.validating("typed", DEPLOYMENTS, validations=[{"expression": "object.replicas > 1"}])
        policy = f"validatingadmissionpolicy/{name}"
        kubectl("wait", policy, "--for=jsonpath={.status.observedGeneration}=1", "--timeout=30s")
        told = kubectl(
            "get", policy, "-o", "jsonpath={.status.typeChecking.expressionWarnings[*]['fieldRef','warning']}"
        )
        assert told == (
            "spec.validations[0].expression apps/v1, Kind=Deployment: "
            "ERROR: <input>:1:7: undefined field 'replicas'\n"
            " | object.replicas > 1\n"
            " | ......^\n"
        )


def test_mutating_policies_are_found_in_the_version_that_serves_them(kubectl: Kubectl) -> None:
    found = kubectl.lines("api-resources", f"--api-group={GROUP}", "--no-headers")
    versions = {line[0]: line[1] for line in found}
    assert versions["mutatingadmissionpolicies"] == versions["mutatingadmissionpolicybindings"] == f"{GROUP}/v1beta1"
    assert versions["validatingadmissionpolicies"] == f"{GROUP}/v1"
    assert "VERSION:    v1beta1\n" in kubectl("explain", "mutatingadmissionpolicies.spec.mutations")


def test_pods_are_given_what_a_mutating_policy_says(kubectl: Kubectl, policies: Policies) -> None:
    sidecar = """
        Object{spec: Object.spec{initContainers: [
            Object.spec.initContainers{name: "mesh", image: "mesh:v1", restartPolicy: "Always"}
        ]}}
    """
    policies.mutating(
        "mesh",
        rule("pods"),
        {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": sidecar}},
        {
            "patchType": "JSONPatch",
            "jsonPatch": {
                "expression": '[JSONPatch{op: "add", path: "/metadata/labels/" + '
                'jsonpatch.escapeKey("example.com/mesh"), value: "yes"}]'
            },
        },
        matchConditions=[
            {"name": "once", "expression": "!object.spec.?initContainers.orValue([]).exists(c, c.name == 'mesh')"}
        ],
    )
    kubectl("run", "web", "--image=i")
    pod = kubectl.get("pod", "web")
    assert [one["name"] for one in pod["spec"]["initContainers"]] == ["mesh"]
    assert pod["metadata"]["labels"] == {"run": "web", "example.com/mesh": "yes"}
    tried = kubectl("run", "tried", "--image=i", "--dry-run=server", "-o", "jsonpath={.spec.initContainers[*].name}")
    assert tried == "mesh"


def test_a_mutation_that_can_not_be_made_is_told(kubectl: Kubectl, policies: Policies) -> None:
    name = policies.mutating(
        "broken",
        rule("configmaps"),
        {"patchType": "JSONPatch", "jsonPatch": {"expression": '[JSONPatch{op: "remove", path: "/data/none"}]'}},
    )
    told = kubectl("create", "configmap", "a", "--from-literal=a=b", fails=True)
    assert f"policy '{name}' with binding '{name}-binding' denied request: JSON Patch: " in told
