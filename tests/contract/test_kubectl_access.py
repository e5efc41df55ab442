"""Who may do what, as stock kubectl sees it: accounts, tokens, roles, impersonation and certificates."""

from __future__ import annotations

import base64
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess
from tests.support.certificate_requests import KEY, pem
from tests.support.clients import kubectl_current
from tests.support.manager import managing

SECONDS_MAX = 60
_numbers = itertools.count()

READER = """
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list]}
- {apiGroups: [""], resources: [secrets], resourceNames: [shared], verbs: [get]}
"""


class Kubectl:
    """One kubectl in one namespace: with the administrator's kubeconfig, or with a token alone."""

    def __init__(self, server: ApiServerProcess, namespace: str, token: str = "") -> None:
        self._server = server
        self.namespace = namespace
        self._command = [kubectl_current(), "--namespace", namespace]
        if token:
            authority = server.data_dir / "pki" / "ca.crt"
            self._command += ["--kubeconfig", "/dev/null", "--server", server.url, "--token", token]
            self._command += ["--certificate-authority", str(authority)]
        else:
            self._command += ["--kubeconfig", str(server.kubeconfig)]

    def __call__(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        """What it prints; what it complains of if it is to fail."""
        done = subprocess.run(
            [*self._command, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def get(self, *arguments: str) -> Any:
        """An object as it is stored."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def can(self, *arguments: str) -> bool:
        """`kubectl auth can-i`, whose exit status is part of the answer."""
        done = subprocess.run(
            [*self._command, "auth", "can-i", *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        assert done.stdout.split()[:1] in (["yes"], ["no"]), done.stdout + done.stderr
        assert (done.returncode == 0) == done.stdout.startswith("yes")
        return done.returncode == 0

    def with_token(self, token: str) -> Kubectl:
        """The same namespace, with somebody's token."""
        return Kubectl(self._server, self.namespace, token.strip())


def eventually(condition: Callable[[], Any]) -> Any:
    """What a condition is once it is true."""
    deadline = time.monotonic() + SECONDS_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.02)
    return found


@pytest.fixture
def kubectl(server: ApiServerProcess) -> Kubectl:
    """The administrator's, in a namespace of its own with an account `robot`."""
    found = Kubectl(server, f"access-{next(_numbers)}")
    found("create", "namespace", found.namespace)
    found("create", "serviceaccount", "robot")
    return found


@pytest.fixture
def robot(kubectl: Kubectl) -> Kubectl:
    """The account's."""
    return kubectl.with_token(kubectl("create", "token", "robot"))


def bind(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=READER)
    kubectl("create", "rolebinding", "reader", "--role", "reader", f"--serviceaccount={kubectl.namespace}:robot")


def test_an_account_may_do_what_its_role_says_and_nothing_else(kubectl: Kubectl, robot: Kubectl) -> None:
    account = f"system:serviceaccount:{kubectl.namespace}:robot"
    assert f'User "{account}" cannot list resource "configmaps"' in robot("get", "configmaps", fails=True)
    bind(kubectl)
    for name in ("shared", "other"):
        kubectl("create", "secret", "generic", name)
    assert robot.get("configmaps")["items"] == []
    assert robot.get("secret", "shared")["metadata"]["name"] == "shared"
    assert robot("get", "secret", "other", fails=True).strip() == (
        f'Error from server (Forbidden): secrets "other" is forbidden: User "{account}" cannot get resource '
        f'"secrets" in API group "" in the namespace "{kubectl.namespace}"'
    )
    assert "cannot list resource" in robot("get", "secrets", fails=True)
    assert "cannot delete resource" in robot("delete", "secret", "shared", fails=True)
    assert "cannot list resource" in robot("get", "configmaps", "-n", "default", fails=True)
    kubectl("delete", "rolebinding", "reader")
    assert "is forbidden" in robot("get", "configmaps", fails=True)


def test_one_can_ask_what_one_may_do(kubectl: Kubectl, robot: Kubectl) -> None:
    bind(kubectl)
    assert kubectl.can("delete", "nodes") and kubectl.can("*", "*") and kubectl.can("get", "/metrics")
    assert robot.can("list", "configmaps") and robot.can("get", "secrets/shared")
    assert not robot.can("list", "secrets") and not robot.can("get", "secrets") and not robot.can("get", "/metrics")
    assert robot.can("create", "selfsubjectaccessreviews.authorization.k8s.io")
    listed = robot("auth", "can-i", "--list")
    (line,) = [line for line in listed.splitlines() if line.startswith("configmaps")]
    assert line.split() == ["configmaps", "[]", "[]", "[get", "list]"]
    account = f"system:serviceaccount:{kubectl.namespace}:robot"
    assert kubectl.can("list", "configmaps", "--as", account)
    assert not kubectl.can("list", "pods", "--as", account)


def test_one_can_ask_who_one_is(kubectl: Kubectl, robot: Kubectl) -> None:
    assert "kubernetes-admin" in kubectl("auth", "whoami")
    found = json.loads(robot("auth", "whoami", "-o", "json"))["status"]["userInfo"]
    assert found["username"] == f"system:serviceaccount:{kubectl.namespace}:robot"
    assert f"system:serviceaccounts:{kubectl.namespace}" in found["groups"]


def test_tokens_have_bounds_and_audiences(kubectl: Kubectl) -> None:
    assert "may not specify a duration less than 10 minutes" in kubectl(
        "create", "token", "robot", "--duration", "1m", fails=True
    )
    foreign = kubectl.with_token(kubectl("create", "token", "robot", "--audience", "vault"))
    assert "Unauthorized" in foreign("get", "configmaps", fails=True)
    assert 'serviceaccounts "none" not found' in kubectl("create", "token", "none", fails=True)


def test_a_token_ends_with_what_it_is_bound_to(kubectl: Kubectl) -> None:
    kubectl("create", "secret", "generic", "key")
    bound = ["create", "token", "robot", "--bound-object-kind", "Secret", "--bound-object-name", "key"]
    holder = kubectl.with_token(kubectl(*bound))
    assert "Forbidden" in holder("get", "configmaps", fails=True)
    kubectl("delete", "secret", "key")
    assert "Unauthorized" in holder("get", "configmaps", fails=True)


def test_a_token_ends_with_its_account(kubectl: Kubectl, robot: Kubectl) -> None:
    assert "Forbidden" in robot("get", "configmaps", fails=True)
    kubectl("delete", "serviceaccount", "robot")
    kubectl("create", "serviceaccount", "robot")
    assert "Unauthorized" in robot("get", "configmaps", fails=True)


def test_a_secret_that_asks_for_a_token_gets_one(kubectl: Kubectl) -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {"name": "held", "annotations": {"kubernetes.io/service-account.name": "robot"}},
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    data = eventually(lambda: kubectl.get("secret", "held").get("data", {}))
    holder = kubectl.with_token(base64.b64decode(data["token"]).decode())
    assert f"system:serviceaccount:{kubectl.namespace}:robot" in holder("auth", "whoami")
    kubectl("delete", "serviceaccount", "robot")
    eventually(lambda: "held" not in kubectl("get", "secrets"))
    assert "Unauthorized" in holder("auth", "whoami", fails=True)


def test_nobody_gives_away_more_than_they_have(kubectl: Kubectl, robot: Kubectl) -> None:
    bind(kubectl)
    verbs = "--verb=get,list,create,update,patch"
    kubectl("create", "role", "manager", verbs, "--resource", "roles,rolebindings")
    kubectl("create", "rolebinding", "manager", "--role", "manager", f"--serviceaccount={kubectl.namespace}:robot")
    robot("create", "role", "same", "--verb", "get", "--resource", "configmaps")
    refused = robot("create", "role", "thief", "--verb", "get,list", "--resource", "secrets", fails=True)
    account, groups = (
        f"system:serviceaccount:{kubectl.namespace}:robot",
        f"system:serviceaccounts:{kubectl.namespace}",
    )
    assert refused.startswith(
        f'Error from server (Forbidden): roles.rbac.authorization.k8s.io "thief" is forbidden: user "{account}" '
        f'(groups=["system:serviceaccounts" "{groups}" "system:authenticated"]) is attempting to grant RBAC '
        "permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    robot("create", "rolebinding", "more", "--role", "same", "--user", "jane")
    assert kubectl.can("get", "configmaps", "--as", "jane")
    bound = ["create", "rolebinding", "all", "--clusterrole", "cluster-admin", "--user", "jane"]
    assert "is attempting to grant RBAC permissions not currently held" in robot(*bound, fails=True)
    kubectl("create", "role", "binder", "--verb=bind", "--resource=clusterroles", "--resource-name=cluster-admin")
    kubectl("create", "rolebinding", "binder", "--role", "binder", f"--serviceaccount={kubectl.namespace}:robot")
    robot(*bound)
    assert kubectl.can("delete", "secrets", "--as", "jane")


def test_acting_as_somebody_else(kubectl: Kubectl, robot: Kubectl) -> None:
    bind(kubectl)
    account = f"system:serviceaccount:{kubectl.namespace}:robot"
    assert kubectl("get", "configmaps", "--as", account, "-o", "name") == ""
    assert "is forbidden" in kubectl("get", "pods", "--as", account, fails=True)
    assert kubectl("get", "pods", "--as", "jane", "--as-group", "system:masters", "-o", "name") == ""
    found = json.loads(kubectl("auth", "whoami", "--as", "jane", "--as-uid", "7", "-o", "json"))
    assert found["status"]["userInfo"] == {"username": "jane", "uid": "7", "groups": ["system:authenticated"]}
    assert robot("get", "configmaps", "--as", "jane", fails=True).strip() == (
        f'Error from server (Forbidden): users "jane" is forbidden: User "{account}" cannot impersonate resource '
        '"users" in API group "" at the cluster scope'
    )


def test_a_certificate_is_asked_for_approved_and_used(
    kubectl: Kubectl, server: ApiServerProcess, tmp_path: Path
) -> None:
    name = kubectl.namespace
    manifest = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(pem("jane", "developers")).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "expirationSeconds": 3600,
        },
    }
    kubectl("apply", "-f", "-", stdin=json.dumps(manifest))
    assert kubectl("get", "csr", name).split()[-1] == "Pending"
    kubectl("certificate", "approve", name)
    issued = eventually(lambda: kubectl.get("csr", name)["status"].get("certificate"))
    assert kubectl("get", "csr", name).split()[-1] == "Approved,Issued"
    (tmp_path / "crt").write_bytes(base64.b64decode(issued))
    (tmp_path / "key").write_bytes(_key_pem())
    jane = Kubectl(server, kubectl.namespace)
    jane._command = [kubectl_current(), "--kubeconfig", "/dev/null", "--server", server.url]
    jane._command += ["--certificate-authority", str(server.data_dir / "pki" / "ca.crt")]
    jane._command += ["--client-certificate", str(tmp_path / "crt"), "--client-key", str(tmp_path / "key")]
    found = json.loads(jane("auth", "whoami", "-o", "json"))["status"]["userInfo"]
    assert (found["username"], found["groups"]) == ("jane", ["developers", "system:authenticated"])
    refused = {**manifest, "metadata": {"name": f"{name}-denied"}}
    kubectl("apply", "-f", "-", stdin=json.dumps(refused))
    kubectl("certificate", "deny", f"{name}-denied")
    assert kubectl("get", "csr", f"{name}-denied").split()[-1] == "Denied"


def _key_pem() -> bytes:
    from cryptography.hazmat.primitives import serialization

    form = serialization.PrivateFormat.PKCS8
    return KEY.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def test_a_machine_joins_with_a_bootstrap_token_and_gets_its_certificate(
    kubectl: Kubectl, server: ApiServerProcess
) -> None:
    said = {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
    literals = [f"--from-literal={key}={value}" for key, value in said.items()]
    kind = "--type=bootstrap.kubernetes.io/token"
    kubectl("create", "secret", "generic", "bootstrap-token-abcdef", "-n", "kube-system", kind, *literals)
    machine = kubectl.with_token("abcdef.0123456789abcdef")
    for role in ("node-bootstrapper", "certificates.k8s.io:certificatesigningrequests:nodeclient"):
        name = role.rpartition(":")[2]
        kubectl(
            "create", "clusterrolebinding", name, "--clusterrole", f"system:{role}", "--group", "system:bootstrappers"
        )
    manifest = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "node-n9"},
        "spec": {
            "request": base64.b64encode(pem("system:node:n9", "system:nodes")).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
            "usages": ["digital signature", "client auth"],
        },
    }
    machine("create", "-f", "-", stdin=json.dumps(manifest))
    with managing(server):
        eventually(lambda: machine.get("csr", "node-n9")["status"].get("certificate"))
        assert machine.get("csr", "node-n9")["spec"]["username"] == "system:bootstrap:abcdef"
        # The manager also puts together the roles that gather others.
        eventually(lambda: kubectl.get("clusterrole", "view").get("rules"))
        kubectl("create", "rolebinding", "viewer", "--clusterrole", "view", "--user", "jane")
        assert kubectl.can("list", "pods", "--as", "jane") and not kubectl.can("list", "secrets", "--as", "jane")


async def test_tokens_hold_across_a_restart(kubectl: Kubectl, robot: Kubectl, server: ApiServerProcess) -> None:
    server.kill()
    server.start()
    await server.wait_ready()
    assert f"system:serviceaccount:{kubectl.namespace}:robot" in robot("auth", "whoami")
