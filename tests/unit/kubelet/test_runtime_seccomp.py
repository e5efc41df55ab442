"""Seccomp profiles as programs: what a filter answers to a call, found by running it in a small BPF machine."""

import errno
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import capabilities, seccomp, seccomp_default
from kubelet.runtime.syscall_numbers import numbers

ALLOW = "allow"
X86_64, AARCH64, I386 = 0xC000003E, 0xC00000B7, 0x40000003
DEFAULT = tuple(sorted(capabilities.DEFAULT))
NODE_WIDE = """
    keyctl add_key request_key io_uring_setup userfaultfd bpf mount umount2 move_mount reboot kexec_load
    init_module finit_module delete_module settimeofday clock_settime setns unshare pivot_root swapon syslog
    perf_event_open open_by_handle_at acct iopl kcmp fsopen quotactl sethostname vhangup mbind
"""


def run(program: bytes, number: int, *args: int, arch: int = X86_64) -> object:
    """The verdict on a call: "allow", ("errno", code), or the raw value (Documentation/networking/filter.rst)."""
    padded = (*args, 0, 0, 0, 0, 0, 0)[:6]
    data = struct.pack("=IIQ6Q", number, arch, 0, *(value & (1 << 64) - 1 for value in padded))
    instructions = list(struct.iter_unpack("=HBBI", program))
    position = accumulator = 0
    while True:
        code, if_true, if_false, value = instructions[position]
        position += 1
        if code == 0x20:
            accumulator = struct.unpack_from("=I", data, value)[0]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x05:
            position += value
        elif code in (0x15, 0x25, 0x35):
            holds = {0x15: accumulator == value, 0x25: accumulator > value, 0x35: accumulator >= value}[code]
            position += if_true if holds else if_false
        elif code == 0x06:
            if value == 0x7FFF0000:
                return ALLOW
            return ("errno", value & 0xFFFF) if value & 0xFFFF0000 == 0x00050000 else value
        else:
            raise AssertionError(f"no such instruction: {code:#x}")


def call(program: bytes, name: str, *args: int) -> object:
    return run(program, numbers("x86_64")[name], *args)


def refused(code: int = errno.EPERM) -> tuple[str, int]:
    return ("errno", code)


def default_program(*added: str, machine: str = "x86_64") -> bytes:
    profile = seccomp_default.profile(sorted({*capabilities.DEFAULT, *added}), machine)
    return seccomp.compile_profile(profile, machine)


def program(*rules: dict[str, Any], default: str = "SCMP_ACT_ERRNO", **more: Any) -> bytes:
    return seccomp.compile_profile({"defaultAction": default, "syscalls": list(rules), **more}, "x86_64")


def rule(name: str, *args: tuple[int, str, int, int], action: str = "SCMP_ACT_ALLOW", **more: Any) -> dict[str, Any]:
    conditions = [{"index": i, "op": op, "value": value, "valueTwo": two} for i, op, value, two in args]
    return {"names": [name], "action": action, "args": conditions, **more}


@pytest.mark.parametrize("name", ["read", "openat", "execve", "wait4", "ptrace", "chroot", "futex", "io_setup"])
def test_what_programs_need_is_allowed(name: str) -> None:
    assert call(default_program(), name) == ALLOW


@pytest.mark.parametrize("name", NODE_WIDE.split())
def test_what_reaches_the_node_is_refused(name: str) -> None:
    assert call(default_program(), name) == refused()


@pytest.mark.parametrize(
    ("capability", "name"),
    [
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "unshare"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_MODULE", "finit_module"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_BPF", "bpf"),
        ("CAP_SYSLOG", "syslog"),
    ],
)
def test_a_capability_brings_the_calls_that_it_is_for(capability: str, name: str) -> None:
    assert call(default_program(capability), name) == ALLOW


def test_threads_and_processes_are_allowed_but_no_new_namespaces() -> None:
    thread, new_user, new_cgroup = 0x3D0F00, 0x10000000, 0x02000000
    assert call(default_program(), "clone", thread) == ALLOW
    assert call(default_program(), "clone", new_user | thread) == refused()
    assert call(default_program(), "clone", new_cgroup) == refused()
    assert call(default_program("CAP_SYS_ADMIN"), "clone", new_user) == ALLOW


def test_clone3_does_not_exist_so_that_c_libraries_use_clone() -> None:
    assert call(default_program(), "clone3") == refused(errno.ENOSYS)


def test_sockets_of_the_container_are_allowed_but_not_those_of_the_hypervisor_or_the_kernels_crypto() -> None:
    af_unix, af_inet, af_inet6, af_netlink, af_packet, af_alg, af_vsock = 1, 2, 10, 16, 17, 38, 40
    for family in (af_unix, af_inet, af_inet6, af_netlink, af_packet):
        assert call(default_program(), "socket", family) == ALLOW
    for family in (af_alg, af_vsock, af_inet + (1 << 32)):
        assert call(default_program(), "socket", family) == refused()


def test_personality_may_be_asked_for_but_not_weaken_address_randomization() -> None:
    addr_no_randomize = 0x0040000
    assert call(default_program(), "personality", 0xFFFFFFFF) == ALLOW
    assert call(default_program(), "personality", 0) == ALLOW
    assert call(default_program(), "personality", addr_no_randomize) == refused()


def test_calls_of_another_architecture_do_not_exist() -> None:
    read_i386, x32_bit = 3, 0x40000000
    assert run(default_program(), read_i386, arch=I386) == refused(errno.ENOSYS)
    assert run(default_program(), numbers("x86_64")["read"] | x32_bit) == refused(errno.ENOSYS)


def test_calls_newer_than_the_table_do_not_exist_rather_than_being_forbidden() -> None:
    assert run(default_program(), max(numbers("x86_64").values()) + 1) == refused(errno.ENOSYS)


def test_the_profile_compiles_for_arm() -> None:
    filter_ = default_program(machine="aarch64")
    table = numbers("aarch64")
    assert run(filter_, table["openat"], arch=AARCH64) == ALLOW
    assert run(filter_, table["mount"], arch=AARCH64) == refused()
    assert run(filter_, table["openat"], arch=X86_64) == refused(errno.ENOSYS)


@pytest.mark.parametrize(
    ("operator", "value", "two", "holds", "fails"),
    [
        ("SCMP_CMP_EQ", 5 << 32 | 7, 0, [5 << 32 | 7], [7, 5 << 32, 5 << 32 | 8]),
        ("SCMP_CMP_NE", 5 << 32 | 7, 0, [7, 5 << 32, 0], [5 << 32 | 7]),
        ("SCMP_CMP_LT", 5 << 32 | 7, 0, [0, 5 << 32 | 6, 4 << 32 | 9], [5 << 32 | 7, 6 << 32, 5 << 32 | 8]),
        ("SCMP_CMP_LE", 5 << 32 | 7, 0, [0, 5 << 32 | 7, 4 << 32 | 9], [6 << 32, 5 << 32 | 8]),
        ("SCMP_CMP_GT", 5 << 32 | 7, 0, [6 << 32, 5 << 32 | 8], [5 << 32 | 7, 4 << 32 | 9, 0]),
        ("SCMP_CMP_GE", 5 << 32 | 7, 0, [6 << 32, 5 << 32 | 7], [5 << 32 | 6, 4 << 32 | 9, 0]),
        ("SCMP_CMP_MASKED_EQ", 0xF0, 0x50, [0x50, 0x5F, 0x1_0000_0050], [0x60, 0]),
    ],
)
def test_arguments_are_compared_over_all_their_bits(
    operator: str, value: int, two: int, holds: list[int], fails: list[int]
) -> None:
    filter_ = program(rule("ioctl", (1, operator, value, two)))
    assert [call(filter_, "ioctl", 0, argument) for argument in holds] == [ALLOW] * len(holds)
    assert [call(filter_, "ioctl", 0, argument) for argument in fails] == [refused()] * len(fails)


def test_conditions_on_different_arguments_must_all_hold() -> None:
    filter_ = program(rule("ioctl", (0, "SCMP_CMP_EQ", 1, 0), (1, "SCMP_CMP_EQ", 2, 0)))
    assert call(filter_, "ioctl", 1, 2) == ALLOW
    assert call(filter_, "ioctl", 1, 3) == refused()
    assert call(filter_, "ioctl", 0, 2) == refused()


def test_conditions_on_the_same_argument_are_alternatives() -> None:
    filter_ = program(rule("ioctl", (1, "SCMP_CMP_EQ", 2, 0), (1, "SCMP_CMP_EQ", 3, 0)))
    assert [call(filter_, "ioctl", 0, value) for value in (2, 3, 4)] == [ALLOW, ALLOW, refused()]


def test_a_profile_may_allow_everything_but_some() -> None:
    filter_ = program(
        rule("mkdir", action="SCMP_ACT_ERRNO", errnoRet=errno.EACCES),
        rule("rmdir", action="SCMP_ACT_KILL_PROCESS"),
        default="SCMP_ACT_ALLOW",
    )
    assert call(filter_, "mkdir") == refused(errno.EACCES)
    assert call(filter_, "rmdir") == 0x80000000
    assert call(filter_, "read") == ALLOW


def test_names_that_this_architecture_lacks_are_passed_over() -> None:
    assert call(program(rule("socketcall"), rule("read")), "read") == ALLOW


@pytest.mark.parametrize(
    ("profile", "problem"),
    [
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY"),
        ({}, "unsupported seccomp action ''"),
        (
            {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [rule("read", (0, "SCMP_CMP_XX", 1, 0), action="SCMP_ACT_KILL")],
            },
            "SCMP_CMP_XX",
        ),
    ],
)
def test_a_profile_that_can_not_be_compiled_is_refused_with_the_reason(profile: dict[str, Any], problem: str) -> None:
    with pytest.raises(seccomp.ProfileError, match=problem):
        seccomp.compile_profile(profile, "x86_64")


@pytest.mark.parametrize(
    "profile",
    [
        [],
        "SCMP_ACT_ALLOW",
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": 7, "action": "SCMP_ACT_ERRNO"}]},
        {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": ["read"]},
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [{"index": 0}]}],
        },
    ],
)
def test_what_has_not_the_shape_of_a_profile_is_refused_as_such(profile: Any) -> None:
    with pytest.raises(seccomp.ProfileError, match="has not the shape of OCI's linux.seccomp"):
        seccomp.compile_profile(profile, "x86_64")


def test_a_call_has_six_arguments() -> None:
    condition = {"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}
    rule = {"names": ["read"], "action": "SCMP_ACT_ERRNO", "args": [condition]}
    with pytest.raises(seccomp.ProfileError, match="no argument 6"):
        seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, "x86_64")


@pytest.mark.parametrize(
    ("action", "verdict"),
    [
        ("SCMP_ACT_KILL", 0x00000000),
        ("SCMP_ACT_KILL_THREAD", 0x00000000),
        ("SCMP_ACT_KILL_PROCESS", 0x80000000),
        ("SCMP_ACT_TRAP", 0x00030000),
        ("SCMP_ACT_ERRNO", ("errno", 1)),
        ("SCMP_ACT_TRACE", 0x7FF00001),
        ("SCMP_ACT_LOG", 0x7FFC0000),
    ],
)
def test_every_action_has_the_kernels_verdict(action: str, verdict: object) -> None:
    rule = {"names": ["mkdir"], "action": action}
    program = seccomp.compile_profile({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}, "x86_64")
    assert (call(program, "mkdir"), call(program, "rmdir")) == (verdict, ALLOW)


def test_a_program_is_compiled_once_and_found_again_by_another_process(tmp_path: Path) -> None:
    profile = seccomp.default_profile(DEFAULT)
    path = seccomp.Programs(tmp_path).path(profile)
    written = os.stat(path).st_mtime_ns
    assert seccomp.Programs(tmp_path).path(dict(profile)) == path
    assert os.stat(path).st_mtime_ns == written


def test_system_call_numbers_are_those_of_this_kernels_headers() -> None:
    header = Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h")
    if not header.exists():
        pytest.skip("linux-libc-dev is not installed")
    table = numbers("x86_64")
    lines = [line.split() for line in header.read_text().splitlines() if line.startswith("#define __NR_")]
    assert {name: table.get(name) for name in (line[1][5:] for line in lines)} == {
        line[1][5:]: int(line[2]) for line in lines
    }
