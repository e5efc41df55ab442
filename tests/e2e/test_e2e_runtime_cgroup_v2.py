"""The runtime on cgroup v2: its tests run again in a small virtual machine that has nothing else.

It boots once for all of them: its processor is emulated, and some twenty times slower than a real one. They may set
its clock, too. On a machine whose own cgroups are v2 the other tests show the rest, and this one has nothing to add.
"""

import compileall
import os
import re
import sys
from pathlib import Path

import pytest

from kubelet.runtime import cgroups
from tests.support import vm

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for virtiofs"),
    pytest.mark.skipif(cgroups.present().version == 2, reason="this machine's own cgroups are v2"),
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
EVERYTHING = f"{LIMITS} or {RESIZES} or {LIVES} or {OTHERS} or {CLOCKS}"
OVER_ITS_MEMORY = (
    "tests/e2e/test_e2e_runtime_security.py::test_a_container_over_its_memory_limit_is_killed_and_says_so"
)
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


# Only the plugins that these tests need: importing the others takes a minute there.
PYTEST = "-p no:cacheprovider -p pytest_asyncio.plugin -p pytest_timeout -o timeout=0 --noconftest -q --color=no"
ENVIRONMENT = "PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 WHERRY_OWN_MACHINE=1"
ENDED = "===== ended with"


def pytest_command(*arguments: str) -> str:
    return f"{ENVIRONMENT} {sys.executable} -m pytest {PYTEST} {' '.join(arguments)}"


def in_a_container() -> str:
    """As in Docker: the node agent is in the very group that it sees as the root, which must hold no processes."""
    inside = f"umount /sys/fs/cgroup; mount -t cgroup2 cgroup /sys/fs/cgroup; {pytest_command(OVER_ITS_MEMORY)}"
    enter = "mkdir /sys/fs/cgroup/box; echo $$ >/sys/fs/cgroup/box/cgroup.procs"
    delegate = "echo +cpu +memory +pids >/sys/fs/cgroup/cgroup.subtree_control"
    return f'({delegate}; {enter}; exec unshare --cgroup --mount /bin/sh -c "{inside}")'


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, int]]:
    """What the two runs in the machine printed and how they ended."""
    # What is not compiled here is compiled there by each process anew.
    for package in ("apimachinery", "apiclient", "apiserver", "kubelet", "tests/support"):
        compileall.compile_dir(REPOSITORY / package, quiet=1)
    runs = (pytest_command("-k", f"'{EVERYTHING}'", *FILES), in_a_container())
    script = "; ".join([f"cd {REPOSITORY}", *(f'{run}; echo "{ENDED} $?"' for run in runs)])
    try:
        result = vm.run(["/bin/sh", "-c", script], tmp_path_factory.mktemp("machine"), seconds_max=SECONDS_MAX)
    except vm.Unavailable as error:
        pytest.skip(str(error))
    parts = re.split(rf"{ENDED} (\d+)\n", result.output)
    return [(output, int(code)) for output, code in zip(parts[::2], parts[1::2], strict=False)]


def test_limits_and_lives_of_containers_are_the_same_on_cgroup_v2(outcomes: list[tuple[str, int]]) -> None:
    output, exit_code = outcomes[0]
    assert exit_code == 0 and " passed" in output, output[-8000:]


def test_a_node_agent_in_a_container_makes_room_for_its_pods(outcomes: list[tuple[str, int]]) -> None:
    output, exit_code = outcomes[1]
    assert exit_code == 0 and "1 passed" in output, output[-8000:]
