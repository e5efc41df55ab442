"""Pod security as people see it who use kubectl: what is refused, what they are warned of, and in which words."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.kubectl import Kubectl, in_new_namespace


@pytest.fixture
def kubectl(server: ApiServerProcess, tmp_path: Path) -> Kubectl:
    return in_new_namespace(kubectl_current(), server.kubeconfig, tmp_path)


def label(kubectl: Kubectl, *labels: str) -> str:
    """Label the namespace; what kubectl complains of."""
    said = [f"pod-security.kubernetes.io/{one}" for one in labels]
    done = kubectl.run("label", "namespace", kubectl.namespace, "--overwrite", *said)
    return done.stderr


PRIVILEGED = json.dumps(
    {"spec": {"containers": [{"name": "p", "image": "i", "securityContext": {"privileged": True}}]}}
)
PRIVILEGED_TOLD = 'privileged (container "p" must not set securityContext.privileged=true)'
RESTRICTED_TOLD = (
    'allowPrivilegeEscalation != false (container "web" must set securityContext.allowPrivilegeEscalation=false), '
    'unrestricted capabilities (container "web" must set securityContext.capabilities.drop=["ALL"]), '
    'runAsNonRoot != true (pod or container "web" must set securityContext.runAsNonRoot=true), '
    'seccompProfile (pod or container "web" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")'
)


def test_kubectl_run_is_told_why_a_pod_is_refused(kubectl: Kubectl) -> None:
    label(kubectl, "enforce=restricted", "enforce-version=v1.33")
    assert kubectl("run", "web", "--image=i", fails=True) == (
        f'Error from server (Forbidden): pods "web" is forbidden: violates PodSecurity "restricted:v1.33": '
        f"{RESTRICTED_TOLD}\n"
    )
    harmless = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "web",
                "image": "i",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    assert kubectl("run", "web", "--image=i", "--overrides", json.dumps({"spec": harmless})) == "pod/web created\n"


def test_kubectl_create_deployment_is_warned_of_pods_that_will_be_refused(kubectl: Kubectl) -> None:
    label(kubectl, "enforce=restricted")
    done = kubectl.run("create", "deployment", "web", "--image=web")
    assert done.stdout == "deployment.apps/web created\n"
    assert done.stderr == f'Warning: would violate PodSecurity "restricted:latest": {RESTRICTED_TOLD}\n'


def test_what_is_only_warned_of_is_created(kubectl: Kubectl) -> None:
    label(kubectl, "warn=baseline")
    done = kubectl.run("run", "p", "--image=i", "--overrides", PRIVILEGED)
    assert done.stdout == "pod/p created\n"
    assert done.stderr == f'Warning: would violate PodSecurity "baseline:latest": {PRIVILEGED_TOLD}\n'


def test_labels_have_values_that_are_known(kubectl: Kubectl) -> None:
    assert label(kubectl, "enforce=strict", "warn-version=1.30") == (
        f'The Namespace "{kubectl.namespace}" is invalid: \n'
        '* metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": '
        "must be one of privileged, baseline, restricted\n"
        '* metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.30": '
        'must be "latest" or "v1.x"\n'
    )


def test_pods_that_are_there_are_told_of_even_if_the_labels_are_only_tried_out(kubectl: Kubectl) -> None:
    for name in ("a", "b"):
        kubectl("run", name, "--image=i", "--overrides", PRIVILEGED)
    said = "pod-security.kubernetes.io/enforce=baseline"
    done = kubectl.run("label", "namespace", kubectl.namespace, "--dry-run=server", said)
    assert done.stderr == (
        f'Warning: existing pods in namespace "{kubectl.namespace}" violate the new PodSecurity enforce level '
        '"baseline:latest"\n'
        "Warning: a (and 1 other pod): privileged\n"
    )
    assert said.partition("=")[0] not in kubectl.get("namespace", kubectl.namespace)["metadata"]["labels"]


def test_all_namespaces_can_be_asked_which_of_their_pods_would_be_refused(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=i", "--overrides", PRIVILEGED)
    said = "pod-security.kubernetes.io/enforce=baseline"
    done = kubectl.run("label", "--dry-run=server", "--overwrite", "namespace", "--all", said)
    assert f"namespace/{kubectl.namespace} labeled (server dry run)\n" in done.stdout
    assert f'Warning: existing pods in namespace "{kubectl.namespace}" violate' in done.stderr
    assert "Warning: p: privileged\n" in done.stderr


def test_pods_that_are_there_can_be_labelled_and_debugged_only_harmlessly(kubectl: Kubectl) -> None:
    kubectl("run", "p", "--image=i", "--overrides", PRIVILEGED)
    label(kubectl, "enforce=baseline")
    assert kubectl("label", "pod", "p", "a=b") == "pod/p labeled\n"
    assert "violates PodSecurity" in kubectl("set", "image", "pod/p", "p=other", fails=True)
    kubectl("run", "q", "--image=i")
    debug = ("debug", "q", "--image=busybox", "-c", "debugger", "--attach=false")
    told = kubectl(*debug, "--profile=sysadmin", fails=True)
    assert 'privileged (container "debugger" must not set securityContext.privileged=true)' in told
    kubectl(*debug, "--profile=baseline")
    containers: list[dict[str, Any]] = kubectl.get("pod", "q")["spec"]["ephemeralContainers"]
    assert [one["name"] for one in containers] == ["debugger"]


CONFIGURATION = """
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- name: PodSecurity
  configuration:
    apiVersion: pod-security.admission.config.k8s.io/v1
    kind: PodSecurityConfiguration
    defaults: {enforce: baseline, enforce-version: v1.30}
    exemptions: {namespaces: [kube-system]}
"""


async def test_an_operator_says_what_holds_where_namespaces_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / "admission.yaml"
    file.write_text(CONFIGURATION)
    flags = [f"--admission-control-config-file={file}", "--disable-admission-plugins=ServiceAccount"]
    flags.append("--enable-admission-plugins=NodeRestriction,AlwaysPullImages")
    with running(tmp_path / "configured", flags) as server:
        await server.wait_ready()
        kubectl = Kubectl(kubectl_current(), server.kubeconfig, "default", tmp_path)
        told = await asyncio.to_thread(kubectl, "run", "p", "--image=i", "--overrides", PRIVILEGED, fails=True)
        assert told.endswith(f'violates PodSecurity "baseline:v1.30": {PRIVILEGED_TOLD}\n')
        made = await asyncio.to_thread(
            kubectl, "run", "p", "--image=i", "--overrides", PRIVILEGED, "-n", "kube-system"
        )
        assert made == "pod/p created\n"
        pulled = "jsonpath={.spec.containers[0].imagePullPolicy}"
        assert await asyncio.to_thread(kubectl, "get", "pod", "p", "-n", "kube-system", "-o", pulled) == "Always"


async def test_a_server_that_is_told_what_can_not_be_does_not_start(tmp_path: Path) -> None:
    with running(tmp_path / "wrong", ["--enable-admission-plugins=Nothing"]) as server:
        assert server.process is not None
        assert await asyncio.to_thread(server.process.wait, 30) == 1
        assert server.log().splitlines()[-1] == 'error: enable-admission-plugins plugin "Nothing" is unknown'
        server.process = None
