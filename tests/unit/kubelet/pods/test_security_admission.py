"""What a pod may ask of the node's kernel, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.pods import security_admission
from tests.support.pods import container, pod


def refused(asking: Any, *allowed: str) -> tuple[str, str] | None:
    verdict = security_admission.objection(asking, security_admission.parse_sysctls(",".join(allowed)))
    return (verdict.reason, verdict.message) if verdict is not None else None


def asking(*names: str, **spec: Any) -> Any:
    return pod(securityContext={"sysctls": [{"name": name, "value": "1"} for name in names]}, **spec)


@pytest.mark.parametrize(
    "name",
    [
        "kernel.shm_rmid_forced",
        "kernel/shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_wmem",
    ],
)
def test_a_safe_sysctl_is_set_for_any_pod(name: str) -> None:
    assert refused(asking(name)) is None


@pytest.mark.parametrize("name", ["kernel.msgmax", "net.core.somaxconn", "vm.swappiness", "kernel.core_pattern"])
def test_any_other_is_refused_until_the_nodes_owner_allows_it(name: str) -> None:
    assert refused(asking("kernel.shm_rmid_forced", name)) == (
        "SysctlForbidden",
        f'forbidden sysctl: "{name}" not allowlisted',
    )


def test_unsafe_sysctls_are_allowed_by_their_names_or_beginnings() -> None:
    assert refused(asking("kernel.msgmax", "net.core.somaxconn"), "kernel.msg*", "net.core.somaxconn") is None
    assert refused(asking("net.core.somaxconns"), "net.core.somaxconn") is not None
    assert refused(asking("net/ipv4/conf/eth0.1/forwarding"), "net.ipv4.conf.*") is None


@pytest.mark.parametrize("names", ["vm.swappiness", "kernel.*", "*", "net.*.x", "kernel.core_pattern"])
def test_what_would_tune_the_whole_node_can_not_be_allowed(names: str) -> None:
    with pytest.raises(ValueError, match=r"namespaced|no sysctl's name"):
        security_admission.parse_sysctls(names)


def test_what_a_pod_shares_with_the_node_is_the_nodes_to_tune() -> None:
    message = 'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host Net enabled'
    assert refused(asking("net.ipv4.tcp_syncookies", hostNetwork=True)) == ("SysctlForbidden", message)
    message = 'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host IPC enabled'
    assert refused(asking("kernel.shm_rmid_forced", hostIPC=True)) == ("SysctlForbidden", message)


NO_APPARMOR = ("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")


@pytest.mark.parametrize("profile", [{"type": "RuntimeDefault"}, {"type": "Localhost", "localhostProfile": "x"}])
def test_a_profile_that_can_not_be_enforced_is_not_left_out_in_silence(profile: dict[str, str]) -> None:
    context = {"appArmorProfile": profile}
    assert refused(pod(securityContext=context)) == NO_APPARMOR
    assert refused(pod(container(securityContext=context))) == NO_APPARMOR
    assert refused(pod(initContainers=[container("init", securityContext=context)])) == NO_APPARMOR


def test_who_asks_for_no_profile_has_what_he_wants() -> None:
    assert refused(pod(securityContext={"appArmorProfile": {"type": "Unconfined"}})) is None
    assert refused(pod()) is None


def test_profiles_may_still_be_named_by_annotations() -> None:
    key = "container.apparmor.security.beta.kubernetes.io/web"
    for value, expected in (("runtime/default", NO_APPARMOR), ("unconfined", None)):
        annotated = pod()
        annotated["metadata"] = {**annotated["metadata"], "annotations": {key: value}}
        assert refused(annotated) == expected
