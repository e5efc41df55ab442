"""The figures of a cgroup are read from its files, in both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet.runtime.cgroups import Hierarchies
from kubelet.server.stats.groups import Groups, Stall, disks, shares_of_weight, stalls

V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 2000000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 4\n"
    "throttled_usec 700\n",
    "cpu.max": "20000 100000\n",
    "cpu.weight": "39\n",
    "memory.current": "10485760\n",
    "memory.max": "67108864\n",
    "memory.peak": "20971520\n",
    "memory.swap.current": "4096\n",
    "memory.swap.max": "max\n",
    "memory.stat": "anon 4194304\nfile 6291456\nfile_mapped 1024\ninactive_file 2097152\npgfault 12\npgmajfault 3\n",
    "memory.events": "low 0\nhigh 0\nmax 5\noom 1\noom_kill 2\n",
    "pids.current": "7\n",
    "pids.max": "4096\n",
    "cgroup.procs": "11\n12\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
    "cpu.pressure": "some avg10=1.50 avg60=0.40 avg300=0.10 total=9\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=2\n",
}
V1 = {
    "cpuacct": {"cpuacct.usage": "2500000000\n", "cpuacct.stat": "user 200\nsystem 50\n"},
    "cpu": {
        "cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 700\n",
        "cpu.shares": "204\n",
        "cpu.cfs_quota_us": "20000\n",
        "cpu.cfs_period_us": "100000\n",
    },
    "memory": {
        "memory.usage_in_bytes": "10485760\n",
        "memory.limit_in_bytes": "67108864\n",
        "memory.max_usage_in_bytes": "20971520\n",
        "memory.failcnt": "5\n",
        "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        "memory.stat": "cache 1\ntotal_cache 6291456\ntotal_rss 4194304\ntotal_mapped_file 1024\n"
        "total_inactive_file 2097152\ntotal_pgfault 12\ntotal_pgmajfault 3\ntotal_swap 4096\n",
        "cgroup.procs": "11\n12\n",
    },
    "pids": {"pids.current": "7\n", "pids.max": "max\n"},
}


@pytest.fixture(params=[1, 2])
def groups(request: pytest.FixtureRequest, tmp_path: Path) -> Groups:
    if request.param == 2:
        _write(tmp_path / "node/pod", V2)
        return Groups(Hierarchies(version=2, unified=str(tmp_path)))
    for controller, files in V1.items():
        _write(tmp_path / controller / "node/pod", files)
    return Groups(Hierarchies(version=1, v1={name: str(tmp_path / name) for name in V1}))


def _write(folder: Path, files: dict[str, str]) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_usage_is_the_same_in_both_versions(groups: Groups) -> None:
    usage = groups.usage("node/pod")
    assert usage is not None
    assert usage.cpu_nanoseconds == 2_500_000_000
    assert (usage.memory_bytes, usage.working_set_bytes, usage.rss_bytes) == (10 << 20, 8 << 20, 4 << 20)
    assert (usage.page_faults, usage.major_page_faults, usage.swap_bytes) == (12, 3, 4096)
    assert (usage.memory_limit, usage.swap_limit) == (64 << 20, None)


def test_details_are_the_same_in_both_versions(groups: Groups) -> None:
    detail = groups.detail("node/pod")
    assert detail is not None
    assert (detail.user_nanoseconds, detail.system_nanoseconds) == (2_000_000_000, 500_000_000)
    assert (detail.periods, detail.throttled_periods) == (10, 4)
    assert (detail.quota_microseconds, detail.period_microseconds) == (20_000, 100_000)
    assert (detail.cache_bytes, detail.mapped_file_bytes, detail.memory_bytes_max) == (6 << 20, 1024, 20 << 20)
    assert (detail.limit_hits, detail.oom_kills, detail.tasks, detail.processes) == (5, 2, 7, 2)
    assert groups.tasks("node/pod") == 7


def test_a_group_that_is_gone_has_no_figures(groups: Groups) -> None:
    assert groups.usage("node/gone") is None
    assert groups.detail("node/gone") is None
    assert groups.tasks("node/gone") is None


def test_a_file_that_ends_early_is_no_error(tmp_path: Path) -> None:
    _write(tmp_path / "pod", {**V2, "memory.stat": "anon 41\nfile"})
    assert Groups(Hierarchies(version=2, unified=str(tmp_path))).usage("pod") is None


def test_pressure_is_told_where_the_kernel_counts_it(tmp_path: Path) -> None:
    _write(tmp_path / "pod", V2)
    assert Groups(Hierarchies(version=2, unified=str(tmp_path))).pressure("pod") == {
        "cpu": (Stall(9000, (1.5, 0.4, 0.1)), Stall(2000, (0.0, 0.0, 0.0)))
    }
    assert Groups(Hierarchies(version=1, v1={"cpu": str(tmp_path)})).pressure("pod") == {}
    assert stalls("some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")[1].total_nanoseconds == 0


def test_disks_and_weights_are_read() -> None:
    assert disks(V2["io.stat"] + "8:16 \n") == {"8:0": (1, 2, 3, 4), "8:16": (0, 0, 0, 0)}
    assert [shares_of_weight(weight) for weight in (0, 1, 100, 10_000)] == [0, 2, 2597, 262_144]
