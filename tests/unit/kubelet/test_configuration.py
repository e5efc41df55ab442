"""What /configz shows is how the agent is run."""

from __future__ import annotations

import pytest

from kubelet import options
from kubelet.configuration import duration, kubelet_configuration

REQUIRED = ("--kubeconfig=k", "--node-name=node-1", "--node-ip=10.0.0.1", "--root-dir=/r", "--cgroup-root=wherry/n")


def test_defaults_are_kubernetes_own() -> None:
    shown = kubelet_configuration(options.parse(REQUIRED))
    assert (shown["kind"], shown["apiVersion"]) == ("KubeletConfiguration", "kubelet.config.k8s.io/v1beta1")
    assert (shown["address"], shown["port"], shown["maxPods"]) == ("10.0.0.1", 10250, 110)
    assert shown["evictionHard"]["memory.available"] == "100Mi"
    assert shown["evictionHard"]["nodefs.available"] == "10%"
    assert (shown["imageGCHighThresholdPercent"], shown["imageMinimumGCAge"]) == (85, "2m0s")
    assert shown["authentication"]["webhook"] == {"enabled": True, "cacheTTL": "2m0s"}
    assert shown["authorization"]["webhook"]["cacheUnauthorizedTTL"] == "30s"


def test_flags_are_shown() -> None:
    flags = ("--eviction-hard=memory.available<1Gi,nodefs.inodesFree<2048,pid.available<1024", "--pod-max-pids=-1")
    shown = kubelet_configuration(options.parse([*REQUIRED, *flags, "--cluster-dns=10.96.0.10", "--max-pods=7"]))
    assert shown["evictionHard"] == {
        "memory.available": "1Gi",
        "nodefs.inodesFree": "2048",
        "pid.available": "1024",
    }
    assert (shown["podPidsLimit"], shown["clusterDNS"], shown["maxPods"]) == (-1, ["10.96.0.10"], 7)
    assert shown["cgroupRoot"] == "/wherry/n"


def test_it_says_when_pods_have_to_go() -> None:
    shown = kubelet_configuration(options.parse(REQUIRED))
    assert "evictionSoft" not in shown and shown["shutdownGracePeriod"] == "0s"
    assert (shown["evictionPressureTransitionPeriod"], shown["evictionMaxPodGracePeriod"]) == ("5m0s", 0)
    soft = ("--eviction-soft=memory.available<1Gi", "--eviction-soft-grace-period=memory.available=1m30s")
    more = ("--eviction-minimum-reclaim=memory.available=500Mi", "--shutdown-grace-period=30s")
    shown = kubelet_configuration(options.parse([*REQUIRED, *soft, *more, "--pod-manifest-path=/m"]))
    assert shown["evictionSoft"] == {"memory.available": "1Gi"}
    assert shown["evictionSoftGracePeriod"] == {"memory.available": "1m30s"}
    assert shown["evictionMinimumReclaim"] == {"memory.available": "500Mi"}
    assert shown["shutdownGracePeriodByPodPriority"][0] == {"priority": 0, "shutdownGracePeriodSeconds": 30}
    assert shown["staticPodPath"] == "/m"


def test_flags_that_do_not_fit_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (
        "--eviction-soft=memory.available<1Gi",
        "--shutdown-grace-period-critical-pods=10s",
        "--housekeeping-interval=0s",
        "--eviction-soft-grace-period=memory=1m",
    ):
        with pytest.raises(SystemExit):
            options.parse([*REQUIRED, wrong])
        assert "error" in capsys.readouterr().err


def test_a_log_has_a_size_and_two_files_at_least(capsys: pytest.CaptureFixture[str]) -> None:
    shown = kubelet_configuration(
        options.parse([*REQUIRED, "--container-log-max-size=1500", "--container-log-max-files=2"])
    )
    assert (shown["containerLogMaxSize"], shown["containerLogMaxFiles"]) == ("1500", 2)
    for wrong in ("--container-log-max-size=0", "--container-log-max-size=big", "--container-log-max-files=1"):
        with pytest.raises(SystemExit):
            options.parse([*REQUIRED, wrong])
        assert wrong.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (30, "30s"), (120, "2m0s"), (14_400, "4h0m0s"), (3_661.9, "1h1m1s")]
)
def test_durations_are_written_as_go_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_it_says_who_is_held_to_what() -> None:
    shown = kubelet_configuration(options.parse(REQUIRED))
    assert (shown["enforceNodeAllocatable"], shown["systemReserved"], shown["oomScoreAdj"]) == (["pods"], {}, -999)
    enforced = ("--enforce-node-allocatable=system-reserved", "--system-reserved-cgroup=/system.slice")
    shown = kubelet_configuration(options.parse([*REQUIRED, *enforced, "--system-reserved=cpu=500m,pid=100"]))
    assert shown["enforceNodeAllocatable"] == ["system-reserved"] and "kubeReservedCgroup" not in shown
    assert shown["systemReservedCgroup"] == "/system.slice"
    assert shown["systemReserved"] == {"cpu": "500m", "pid": "100"}
    nothing = kubelet_configuration(options.parse([*REQUIRED, "--enforce-node-allocatable=none"]))
    assert nothing["enforceNodeAllocatable"] == ["none"]
