"""Compiles OCI seccomp profiles to the classic BPF programs that seccomp(2) takes.

A program is a binary search over the numbers of the system calls, a few instructions for any call; those that
depend on arguments end in a chain of comparisons, and all others in a verdict. Compiled programs are kept in a
folder, since a profile is used by many containers.

Calls of another architecture than the machine's own (32-bit programs on a 64-bit kernel) are refused with
ENOSYS, and so are calls that are newer than the table of numbers, as a C library then does without them.
Source: https://github.com/opencontainers/runtime-spec/blob/main/config-linux.md#seccomp, seccomp(2).
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from kubelet.runtime import seccomp_default
from kubelet.runtime.syscall_numbers import numbers

_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000
_ENOSYS = 38
_INSTRUCTIONS_MAX = 4096

_RET_KILL_PROCESS, _RET_KILL_THREAD = 0x80000000, 0x00000000
_RET_TRAP, _RET_ERRNO, _RET_TRACE = 0x00030000, 0x00050000, 0x7FF00000
_RET_LOG, _RET_ALLOW = 0x7FFC0000, 0x7FFF0000
_ACTIONS = {
    "SCMP_ACT_KILL": _RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": _RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": _RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": _RET_TRAP,
    "SCMP_ACT_ERRNO": _RET_ERRNO,
    "SCMP_ACT_TRACE": _RET_TRACE,
    "SCMP_ACT_LOG": _RET_LOG,
    "SCMP_ACT_ALLOW": _RET_ALLOW,
}
_FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
# What a profile may ask for, as an OCI runtime tells it of itself.
SUPPORTED = {"actions": sorted(_ACTIONS), "knownFlags": sorted(_FLAGS), "supportedFlags": sorted(_FLAGS)}

_LOAD, _AND, _RETURN, _JUMP = 0x20, 0x54, 0x06, 0x05
_JUMP_EQ, _JUMP_GT, _JUMP_GE = 0x15, 0x25, 0x35
_ARGUMENTS = 6
_NR_OFFSET, _ARCH_OFFSET, _ARGS_OFFSET = 0, 4, 16
# A jump target that is known only when the rule is complete: the rule's end, where the next one begins.
_FAIL = 255

Instruction = tuple[int, int, int, int]


class ProfileError(ValueError):
    """A profile that can't be compiled; the message says why."""


@cache
def default_profile(capabilities: tuple[str, ...]) -> dict[str, Any]:
    """RuntimeDefault for a container with these capabilities. Shared: not to be changed."""
    return seccomp_default.profile(capabilities, os.uname().machine)


class Programs:
    """Compiled programs, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._by_identity: dict[int, tuple[Mapping[str, Any], str]] = {}

    def path(self, profile: Mapping[str, Any]) -> str:
        """The file that holds this profile's program. ProfileError if there can be none."""
        known = self._by_identity.get(id(profile))
        if known is not None and known[0] is profile:
            return known[1]
        machine = os.uname().machine
        digest = hashlib.sha256(orjson.dumps([machine, _source_digest(), profile])).hexdigest()[:32]
        path = self._folder / f"{digest}.bpf"
        if not path.exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            temporary = path.with_suffix(f".{os.getpid()}")
            temporary.write_bytes(compile_profile(profile, machine))
            temporary.replace(path)
        if len(self._by_identity) > 256:
            self._by_identity.clear()
        self._by_identity[id(profile)] = (profile, str(path))
        return str(path)


@cache
def _source_digest() -> str:
    """A compiled program is as old as the compiler that made it."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def flags(profile: Mapping[str, Any]) -> int:
    """The profile's flags for seccomp(2)."""
    unknown = [name for name in profile.get("flags") or [] if name not in _FLAGS]
    if unknown:
        raise ProfileError(f"unknown seccomp flag {unknown[0]!r}")
    return sum(_FLAGS[name] for name in profile.get("flags") or [])


def compile_profile(profile: Mapping[str, Any], machine: str) -> bytes:
    """The program for a machine, as an array of struct sock_filter. ProfileError if there can be none."""
    if machine not in _AUDIT_ARCH:
        raise ProfileError(f"seccomp is not supported on {machine}")
    try:
        return _compile(profile, machine)
    except (AttributeError, KeyError, TypeError) as error:
        raise ProfileError(f"the seccomp profile has not the shape of OCI's linux.seccomp: {error!r}") from error


def _compile(profile: Mapping[str, Any], machine: str) -> bytes:
    default = _verdict(profile.get("defaultAction", ""), profile.get("defaultErrnoRet"))
    table = numbers(machine)
    chains: dict[int, list[tuple[list[Mapping[str, Any]], int]]] = {}
    for rule in profile.get("syscalls") or []:
        action = _verdict(rule.get("action", ""), rule.get("errnoRet"))
        if action == default:
            continue
        for name in rule.get("names") or []:
            if name in table:
                chain = chains.setdefault(table[name], [])
                chain += [(conditions, action) for conditions in _alternatives(rule.get("args") or [])]
    unknown = _RET_ERRNO | _ENOSYS if default & 0xFFFF0000 == _RET_ERRNO else default
    segments: list[tuple[int, list[Instruction]]] = []
    for number in range(max(table.values()) + 1):
        code = _chain(chains.get(number, []), default)
        if not segments or segments[-1][1] != code:
            segments.append((number, code))
    segments.append((max(table.values()) + 1, [_return(unknown)]))
    program = [
        (_LOAD, 0, 0, _ARCH_OFFSET),
        (_JUMP_EQ, 1, 0, _AUDIT_ARCH[machine]),
        _return(_RET_ERRNO | _ENOSYS),
        (_LOAD, 0, 0, _NR_OFFSET),
    ]
    if machine == "x86_64":
        program += [(_JUMP_GE, 0, 1, _X32_BIT), _return(_RET_ERRNO | _ENOSYS)]
    program += _search(segments)
    if len(program) > _INSTRUCTIONS_MAX:
        raise ProfileError(f"the seccomp profile needs {len(program)} instructions; {_INSTRUCTIONS_MAX} are allowed")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _verdict(action: str, errno: int | None) -> int:
    if action not in _ACTIONS:
        raise ProfileError(f"unsupported seccomp action {action!r}")
    value = _ACTIONS[action]
    if value in (_RET_ERRNO, _RET_TRACE):
        value |= 1 if errno is None else errno & 0xFFFF
    return value


def _alternatives(conditions: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """All conditions must hold, but several on the same argument are alternatives, as runc has it."""
    indexes = [condition["index"] for condition in conditions]
    if len(set(indexes)) < len(indexes):
        return [[condition] for condition in conditions]
    return [list(conditions)]


def _chain(rules: Sequence[tuple[list[Mapping[str, Any]], int]], default: int) -> list[Instruction]:
    """The code of one system call: rules with conditions in order, then the one without, or the default."""
    code: list[Instruction] = []
    last = default
    for conditions, action in rules:
        if not conditions:
            last = action
            continue
        tests = [instruction for condition in conditions for instruction in _test(condition)]
        tests.append(_return(action))
        for position, (operation, if_true, if_false, value) in enumerate(tests):
            end = len(tests) - position - 1
            code.append(
                (operation, end if if_true == _FAIL else if_true, end if if_false == _FAIL else if_false, value)
            )
    return [*code, _return(last)]


def _test(condition: Mapping[str, Any]) -> list[Instruction]:
    """One comparison of a 64-bit argument, by halves; goes on when it holds, else to _FAIL."""
    operator = condition["op"]
    value, second = int(condition["value"]), int(condition.get("valueTwo") or 0)
    index = int(condition["index"])
    if not 0 <= index < _ARGUMENTS:
        raise ProfileError(f"a system call has no argument {index} that a seccomp profile could look at")
    offset = _ARGS_OFFSET + 8 * index
    high, low = (_LOAD, 0, 0, offset + 4), (_LOAD, 0, 0, offset)
    value_high, value_low = value >> 32 & 0xFFFFFFFF, value & 0xFFFFFFFF
    if operator == "SCMP_CMP_EQ":
        return [high, (_JUMP_EQ, 0, _FAIL, value_high), low, (_JUMP_EQ, 0, _FAIL, value_low)]
    if operator == "SCMP_CMP_NE":
        return [high, (_JUMP_EQ, 0, 2, value_high), low, (_JUMP_EQ, _FAIL, 0, value_low)]
    if operator == "SCMP_CMP_MASKED_EQ":
        return [
            high,
            (_AND, 0, 0, value_high),
            (_JUMP_EQ, 0, _FAIL, second >> 32 & 0xFFFFFFFF),
            low,
            (_AND, 0, 0, value_low),
            (_JUMP_EQ, 0, _FAIL, second & 0xFFFFFFFF),
        ]
    if operator in ("SCMP_CMP_GT", "SCMP_CMP_GE"):
        compare = _JUMP_GT if operator == "SCMP_CMP_GT" else _JUMP_GE
        return [
            high,
            (_JUMP_GT, 3, 0, value_high),
            (_JUMP_EQ, 0, _FAIL, value_high),
            low,
            (compare, 0, _FAIL, value_low),
        ]
    if operator in ("SCMP_CMP_LT", "SCMP_CMP_LE"):
        compare = _JUMP_GE if operator == "SCMP_CMP_LT" else _JUMP_GT
        return [
            high,
            (_JUMP_GT, _FAIL, 0, value_high),
            (_JUMP_EQ, 0, 2, value_high),
            low,
            (compare, _FAIL, 0, value_low),
        ]
    raise ProfileError(f"unknown seccomp operator {operator!r}")


def _search(segments: Sequence[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """Binary search: each segment's code serves from its first number to the next segment's."""
    if len(segments) == 1:
        return segments[0][1]
    middle = len(segments) // 2
    below, above = _search(segments[:middle]), _search(segments[middle:])
    first = segments[middle][0]
    if len(below) <= 255:
        return [(_JUMP_GE, len(below), 0, first), *below, *above]
    return [(_JUMP_GE, 0, 1, first), (_JUMP, 0, 0, len(below)), *below, *above]


def _return(value: int) -> Instruction:
    return (_RETURN, 0, 0, value)
