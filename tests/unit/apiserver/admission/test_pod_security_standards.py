"""What the Pod Security Standards let through at each level and version, and the words in which they refuse."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from apiserver.admission.pod_security.checks import CHECKS
from apiserver.admission.pod_security.evaluation import NEWEST_MINOR, details, violations
from apiserver.admission.pod_security.levels import LEVELS, Standard
from tests.unit.apiserver.admission.harmless_pods import HARMLESS, container, of_containers, spec


def told(level: str, of: Object, *, minor: int | None = None, annotations: dict[str, str] | None = None) -> str:
    return details(violations(Standard(level, minor), {"annotations": annotations or {}}, of))


# One pod for each thing that a check looks at, and what it is refused for

BASELINE_CASES: list[tuple[Object, str]] = [
    (
        spec(hostNetwork=True, hostPID=True, hostIPC=True),
        "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
    ),
    (spec(hostPID=True), "host namespaces (hostPID=true)"),
    (
        spec(volumes=[{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]),
        'hostPath volumes (volumes "a", "b")',
    ),
    (
        of_containers(container("a"), container("b", ports=[{"containerPort": 20, "hostPort": 20}])),
        'hostPort (container "b" uses hostPort 20)',
    ),
    (
        of_containers(
            container("c", ports=[{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 10}]),
            initContainers=[container("b", ports=[{"containerPort": 1, "hostPort": 30}])],
        ),
        'hostPort (containers "b", "c" use hostPorts 10, 30, 9)',
    ),
    (
        of_containers(container("a", livenessProbe={"httpGet": {"host": "8.8.8.8", "port": 80}})),
        'probe or lifecycle host (container "a" uses probe or lifecycle host "8.8.8.8")',
    ),
    (
        of_containers(
            container("b", readinessProbe={"tcpSocket": {"host": "b.com", "port": 80}}),
            container("a", lifecycle={"preStop": {"httpGet": {"host": "a.com", "port": 80}}}),
            container("d", startupProbe={"tcpSocket": {"port": 80}}, lifecycle={"postStart": {"exec": {}}}),
        ),
        'probe or lifecycle host (containers "a", "b" use probe or lifecycle hosts "a.com", "b.com")',
    ),
    (
        of_containers(container("a", {"privileged": True}), container("b", {"privileged": False})),
        'privileged (container "a" must not set securityContext.privileged=true)',
    ),
    (
        of_containers(container("a", {"procMount": "Unmasked"}), container("b", {"procMount": "Default"})),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
    ),
    (
        spec({"sysctls": [{"name": "a"}, {"name": "kernel.shm_rmid_forced"}, {"name": "b"}]}),
        "forbidden sysctls (a, b)",
    ),
    (
        spec({"windowsOptions": {"hostProcess": True}}, initContainers=[container("e", {"windowsOptions": {}})]),
        "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
    ),
    (
        of_containers(
            container("e", {"windowsOptions": {"hostProcess": True}}),
            ephemeralContainers=[container("f", {"windowsOptions": {"hostProcess": True}})],
            securityContext={**HARMLESS, "windowsOptions": {"hostProcess": True}},
        ),
        'hostProcess (pod and containers "e", "f" must not set securityContext.windowsOptions.hostProcess=true)',
    ),
    (
        spec({"seLinuxOptions": {"type": "bad"}}),
        'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "bad")',
    ),
    (
        of_containers(
            container("e", {"seLinuxOptions": {"type": "bar"}}),
            container("f", {"seLinuxOptions": {"user": "u"}}),
            container("g", {"seLinuxOptions": {"role": "r", "level": "l"}}),
            container("h", {"seLinuxOptions": {"type": "container_t"}}),
            securityContext={**HARMLESS, "seLinuxOptions": {"type": "foo"}},
        ),
        'seLinuxOptions (pod and containers "e", "f", "g" set forbidden securityContext.seLinuxOptions: '
        'types "bar", "foo"; user may not be set; role may not be set)',
    ),
    (
        spec({"appArmorProfile": {"type": "Unconfined"}}),
        'forbidden AppArmor profile (pod must not set AppArmor profile type to "Unconfined")',
    ),
    (
        of_containers(
            container("foo", {"appArmorProfile": {"type": "Unconfined"}}),
            container("bar", {"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}}),
        ),
        'forbidden AppArmor profile (container "foo" must not set AppArmor profile type to "Unconfined")',
    ),
    (
        spec({"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
    (
        of_containers(
            container("c", {"seccompProfile": {"type": "Unconfined"}}),
            container("d", {"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}),
        ),
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")',
    ),
]


@pytest.mark.parametrize(("of", "why"), BASELINE_CASES)
def test_what_the_baseline_refuses(of, why):
    assert told("baseline", of) == why
    assert told("privileged", of) == ""
    assert told("restricted", of) != ""


RESTRICTED_CASES: list[tuple[Object, str]] = [
    (
        {"containers": [{"name": "a"}], **{"securityContext": HARMLESS}},
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"])',
    ),
    (
        of_containers(container("a", {"allowPrivilegeEscalation": True}), container("b")),
        'allowPrivilegeEscalation != false (container "a" must set securityContext.allowPrivilegeEscalation=false)',
    ),
    (
        of_containers(
            container("a", {"capabilities": {"drop": ["ALL"], "add": ["CHOWN", "NET_BIND_SERVICE"]}}),
            container("b", {"capabilities": {"drop": ["NET_RAW"], "add": ["BAR"]}}),
        ),
        'unrestricted capabilities (container "b" must set securityContext.capabilities.drop=["ALL"]; '
        'containers "a", "b" must not include "BAR", "CHOWN" in securityContext.capabilities.add)',
    ),
    (
        spec(volumes=[{"name": "a", "hostPath": {}}, {"name": "b", "nfs": {}}, {"name": "c", "emptyDir": {}}]),
        'restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")',
    ),
    (
        spec(volumes=[{"name": "a", "flexVolume": {"driver": "d"}}]),
        'restricted volume types (volume "a" uses restricted volume type "flexVolume")',
    ),
    (
        spec(volumes=[{"name": "a", "somethingNew": {}}]),
        'restricted volume types (volume "a" uses restricted volume type "unknown")',
    ),
    (
        spec({"runAsNonRoot": None}),
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
    ),
    (
        of_containers(container("a", {"runAsNonRoot": True}), container("b"), securityContext={"seccompProfile": {}}),
        'runAsNonRoot != true (pod or container "b" must set securityContext.runAsNonRoot=true), '
        'seccompProfile (pod must not set securityContext.seccompProfile.type to "")',
    ),
    (
        of_containers(container("a", {"runAsNonRoot": False}), container("b", {"runAsNonRoot": False})),
        'runAsNonRoot != true (containers "a", "b" must not set securityContext.runAsNonRoot=false)',
    ),
    (
        spec({"runAsNonRoot": False}),
        "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false)",
    ),
    (
        of_containers(
            container("a", {"runAsUser": 0}),
            container("b", {"runAsUser": 1}),
            securityContext={**HARMLESS, "runAsUser": 0},
        ),
        'runAsUser=0 (pod and container "a" must not set runAsUser=0)',
    ),
    (
        of_containers(
            container("a"),
            container("b", {"seccompProfile": {"type": "Localhost", "localhostProfile": "p"}}),
            securityContext={"runAsNonRoot": True},
        ),
        'seccompProfile (pod or container "a" must set securityContext.seccompProfile.type to '
        '"RuntimeDefault" or "Localhost")',
    ),
    (
        of_containers(container("a", {"procMount": "Unmasked"}), hostUsers=False),
        'procMount (container "a" must not set securityContext.procMount to "Unmasked")',
    ),
]


@pytest.mark.parametrize(("of", "why"), RESTRICTED_CASES)
def test_what_the_restricted_level_refuses_besides(of, why):
    assert told("restricted", of) == why


def test_capabilities_that_all_containers_have_may_be_added():
    usual = container("a", {"capabilities": {"add": ["CHOWN", "NET_BIND_SERVICE", "SYS_CHROOT"]}})
    assert told("baseline", of_containers(usual)) == ""
    more = [container(name, {"capabilities": {"add": ["FOO", "BAR", "KILL"]}}) for name in ("a", "b")]
    assert told("baseline", of_containers(*more)) == (
        'non-default capabilities (containers "a", "b" must not include "BAR", "FOO" '
        "in securityContext.capabilities.add)"
    )


def test_annotations_that_asked_for_profiles_count_where_they_did():
    apparmor = {
        "container.apparmor.security.beta.kubernetes.io/a": "unconfined",
        "container.apparmor.security.beta.kubernetes.io/b": "localhost/p",
        "container.apparmor.security.beta.kubernetes.io/c": "runtime/default",
    }
    assert told("baseline", spec(), annotations=apparmor) == (
        "forbidden AppArmor profile (annotation must not set AppArmor profile type to "
        '"container.apparmor.security.beta.kubernetes.io/a="unconfined"")'
    )
    both = spec({"appArmorProfile": {"type": "Unconfined"}})
    assert told("baseline", both, annotations=apparmor).startswith(
        'forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to "Unconfined", '
    )
    seccomp = {
        "seccomp.security.alpha.kubernetes.io/pod": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/c": "",
        "container.seccomp.security.alpha.kubernetes.io/other": "unconfined",
    }
    assert told("baseline", spec(), minor=18, annotations=seccomp) == (
        'seccompProfile (forbidden annotations container.seccomp.security.alpha.kubernetes.io/c="", '
        'seccomp.security.alpha.kubernetes.io/pod="unconfined")'
    )
    assert told("baseline", spec(), minor=19, annotations=seccomp) == ""
    allowed = {"seccomp.security.alpha.kubernetes.io/pod": "docker/default"}
    assert told("baseline", spec(), minor=0, annotations=allowed) == ""


def sysctl(name: str) -> Object:
    return spec({"sysctls": [{"name": name, "value": "1"}]})


ESCALATING = of_containers(container("a", {"allowPrivilegeEscalation": None}))
KEEPING = of_containers(container("a", {"capabilities": {}}))
SINCE: list[tuple[str, str, int, Object, Object]] = [
    # (level, check, since when it differs, what is refused only before, what is refused only since then)
    ("restricted", "allowPrivilegeEscalation", 8, spec(), ESCALATING),
    ("restricted", "allowPrivilegeEscalation", 25, {**ESCALATING, "os": {"name": "windows"}}, spec()),
    ("restricted", "capabilities", 22, spec(), KEEPING),
    ("restricted", "capabilities", 25, {**KEEPING, "os": {"name": "windows"}}, spec()),
    ("restricted", "seccomp", 19, spec(), spec({"seccompProfile": None})),
    ("restricted", "seccomp", 25, spec({"seccompProfile": None}, os={"name": "windows"}), spec()),
    ("baseline", "seccomp", 19, spec(), spec({"seccompProfile": {"type": "Unconfined"}})),
    ("restricted", "runAsUser", 23, spec(), spec({"runAsUser": 0})),
    ("restricted", "runAsUser", 35, spec({"runAsUser": 0}, hostUsers=False), spec()),
    ("restricted", "runAsNonRoot", 35, spec({"runAsNonRoot": None}, hostUsers=False), spec()),
    ("baseline", "procMount", 35, of_containers(container("a", {"procMount": "Unmasked"}), hostUsers=False), spec()),
    ("baseline", "sysctls", 27, sysctl("net.ipv4.ip_local_reserved_ports"), spec()),
    ("baseline", "sysctls", 29, sysctl("net.ipv4.tcp_keepalive_time"), spec()),
    ("baseline", "sysctls", 29, sysctl("net.ipv4.tcp_keepalive_probes"), spec()),
    ("baseline", "sysctls", 32, sysctl("net.ipv4.tcp_wmem"), spec()),
    ("baseline", "seLinux", 31, spec({"seLinuxOptions": {"type": "container_engine_t"}}), spec()),
    (
        "baseline",
        "probes",
        34,
        spec(),
        of_containers(container("a", livenessProbe={"httpGet": {"host": "h", "port": 1}})),
    ),
]


@pytest.mark.parametrize(("level", "check", "since", "before", "after"), SINCE)
def test_each_version_is_as_it_was(level, check, since, before, after):
    last = Standard(level, since - 1)
    first = Standard(level, since)
    assert bool(violations(last, {}, before)) == (before != spec())
    assert violations(last, {}, after) == []
    assert violations(first, {}, before) == []
    assert bool(violations(first, {}, after)) == (after != spec())
    # What differs stays so until now, as long as nobody has changed it again.
    assert violations(Standard(level), {}, before) == []


def test_what_comes_is_as_it_is_now():
    odd = of_containers(container("a", {"procMount": "Unmasked"}), hostUsers=False)
    for minor in (None, NEWEST_MINOR, NEWEST_MINOR + 1, 99):
        assert told("baseline", odd, minor=minor) == ""
        assert told("restricted", odd, minor=minor) != ""
    assert NEWEST_MINOR == 35


@pytest.mark.parametrize("minor", [None, *range(NEWEST_MINOR + 1)])
def test_a_harmless_pod_passes_every_level_at_every_version(minor):
    for level in LEVELS:
        assert violations(Standard(level, minor), {}, spec()) == []


def test_what_is_wrong_is_told_in_the_order_in_which_kubernetes_tells_it():
    worst = of_containers(
        {"name": "c", "securityContext": {"privileged": True, "capabilities": {"add": ["SYS_ADMIN"]}}},
        securityContext={"runAsUser": 0, "seLinuxOptions": {"user": "u"}, "sysctls": [{"name": "x"}]},
        hostNetwork=True,
        volumes=[{"name": "v", "hostPath": {"path": "/"}}],
    )
    reasons = [violation.reason for violation in violations(Standard("baseline"), {}, worst)]
    assert reasons == [
        *("non-default capabilities", "host namespaces", "hostPath volumes", "privileged"),
        *("seLinuxOptions", "forbidden sysctls"),
    ]
    reasons = [violation.reason for violation in violations(Standard("restricted"), {}, worst)]
    assert reasons == [
        *("host namespaces", "privileged", "seLinuxOptions", "forbidden sysctls"),
        *("allowPrivilegeEscalation != false", "unrestricted capabilities", "restricted volume types"),
        *("runAsNonRoot != true", "runAsUser=0", "seccompProfile"),
    ]


def test_the_table_of_checks_is_in_order():
    assert len({check.id for check in CHECKS}) == len(CHECKS)
    baseline = {check.id for check in CHECKS if check.level == "baseline"}
    for check in CHECKS:
        minors = [since for since, _ in check.versions]
        assert minors == sorted(set(minors))
        assert not check.replaces or (check.level == "restricted" and check.replaces in baseline)
