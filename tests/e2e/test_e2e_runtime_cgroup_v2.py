"""The runtime on cgroup v2: its tests run again in a small virtual machine that has nothing else.

They may set its clock, too. On a machine whose own cgroups are v2 the other tests show the rest, and this one has
nothing to add.
"""

import os
import sys
from pathlib import Path

import pytest

from kubelet.runtime import cgroups
from tests.support import vm

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for virtiofs"),
    pytest.mark.timeout(900),
]
SECONDS_MAX = 800
REPOSITORY = Path(__file__).resolve().parents[2]
# What is different on v2: limits, devices, OOM kills, finding and killing processes, entering a container.
LIMITS = "over_its_memory or no_oom_kill or bomb or cpu_limit or can_be_neither or changed or together or lifted"
OTHERS = "limits_hold"
RESIZES = "order_that_is_planned or end_as_a_whole or killed_for_memory"
LIVES = "exit_codes or viewer_types or new_one_finds or ended_without_a_kubelet or dies_with_its or use_is_told"
CLOCKS = "step_of_the_clock"
FILES = (
    "tests/e2e/test_e2e_clock_steps.py",
    "tests/e2e/test_e2e_runtime.py",
    "tests/e2e/test_e2e_runtime_security.py",
    "tests/e2e/test_e2e_runtime_exec.py",
    "tests/e2e/test_e2e_runtime_resize.py",
    "tests/e2e/test_e2e_runtime_classes.py::test_limits_hold_and_an_oom_kill_is_noticed[crun]",
    "tests/e2e/test_e2e_oci_command.py::test_limits_hold_are_changed_and_told",
    "tests/e2e/test_e2e_server.py",
    "tests/faults/test_runtime_faults.py",
)


def in_machine(script: str, folder: Path) -> vm.Result:
    try:
        return vm.run(["/bin/sh", "-c", script], folder, seconds_max=SECONDS_MAX)
    except vm.Unavailable as error:
        pytest.skip(str(error))


def pytest_command(selection: str) -> str:
    command = f"{sys.executable} -m pytest -q -p no:cacheprovider -o timeout=0 -k '{selection}' {' '.join(FILES)}"
    return f"cd {REPOSITORY} && PYTHONDONTWRITEBYTECODE=1 WHERRY_OWN_MACHINE=1 {command}"


@pytest.mark.skipif(cgroups.present().version == 2, reason="this machine's own cgroups are v2")
def test_limits_and_lives_of_containers_are_the_same_on_cgroup_v2(tmp_path: Path) -> None:
    result = in_machine(pytest_command(f"{LIMITS} or {RESIZES} or {LIVES} or {OTHERS} or {CLOCKS}"), tmp_path)
    assert result.exit_code == 0 and " passed" in result.output, result.output[-8000:]


@pytest.mark.skipif(cgroups.present().version == 2, reason="this machine's own cgroups are v2")
def test_a_node_agent_in_a_container_makes_room_for_its_pods(tmp_path: Path) -> None:
    """As in Docker: the node agent is in the very group that it sees as the root, which must hold no processes."""
    inside = f"umount /sys/fs/cgroup; mount -t cgroup2 cgroup /sys/fs/cgroup; {pytest_command('over_its_memory')}"
    enter = "mkdir /sys/fs/cgroup/box; echo $$ >/sys/fs/cgroup/box/cgroup.procs"
    delegate = "echo +cpu +memory +pids >/sys/fs/cgroup/cgroup.subtree_control"
    script = f'{delegate}; {enter}; exec unshare --cgroup --mount /bin/sh -c "{inside}"'
    result = in_machine(script, tmp_path)
    assert result.exit_code == 0 and "1 passed" in result.output, result.output[-8000:]
