"""Which device nodes a container may use: rules for the devices cgroup, v1 files or a v2 eBPF program.

Source: Documentation/admin-guide/cgroup-v1/devices.rst and cgroup-v2.rst "Device controller", bpf(2).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ANY = -1
_KINDS = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_EVERY_ACCESS = 7


@dataclass(frozen=True, slots=True)
class Rule:
    """Allow or deny a kind of device ("a" for all, "b", "c"), a major and minor number, an access."""

    allow: bool
    kind: str = "a"
    major: int = ANY
    minor: int = ANY
    access: str = "rwm"

    @property
    def whole(self) -> bool:
        """True if the rule speaks of every device and access."""
        return self.kind == "a" and self.major == ANY and self.minor == ANY


# null, zero, full, random, urandom, tty, ptmx, pts: what any program may expect. Making other nodes is not
# allowed either, which is stricter than Docker (it allows mknod but no use). Nor is the device that goes by the
# name of console (5:1): it is the node's, while a container's /dev/console is a terminal of its own.
DEFAULT_RULES = (
    Rule(False),
    *(Rule(True, "c", 1, minor) for minor in (3, 5, 7, 8, 9)),
    *(Rule(True, "c", 5, minor) for minor in (0, 2)),
    Rule(True, "c", 136),
)
DEFAULT_NODES = (
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
)


def rules(resources: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of OCI `linux.resources.devices`, on top of the defaults unless they allow everything."""
    given = tuple(
        Rule(
            bool(entry.get("allow")),
            entry.get("type") or "a",
            ANY if entry.get("major") is None else entry["major"],
            ANY if entry.get("minor") is None else entry["minor"],
            entry.get("access") or "rwm",
        )
        for entry in resources.get("devices") or []
    )
    everything = [rule for rule in given if rule.whole]
    if everything and everything[-1].allow:
        return (Rule(True),)
    return (*DEFAULT_RULES, *(rule for rule in given if not rule.whole))


def v1_writes(wanted: Sequence[Rule]) -> list[tuple[str, str]]:
    """(file, value) in order. A new group allows what its parent does, so allowing all is no write."""
    writes = []
    for rule in wanted:
        if rule.whole:
            if not rule.allow:
                writes.append(("devices.deny", "a"))
            continue
        major = "*" if rule.major == ANY else str(rule.major)
        minor = "*" if rule.minor == ANY else str(rule.minor)
        file = "devices.allow" if rule.allow else "devices.deny"
        writes.append((file, f"{rule.kind} {major}:{minor} {rule.access}"))
    return writes


def v2_program(wanted: Sequence[Rule]) -> bytes:
    """eBPF instructions for BPF_CGROUP_DEVICE; the last rule that matches decides, so they are asked backwards.

    The context (struct bpf_cgroup_dev_ctx) holds access_type (kind in the low half, access in the high),
    major and minor; the program returns 1 to allow.
    """
    program = [
        _load(2, 0),
        _and(2, 0xFFFF),
        _load(3, 0),
        _shift_right(3, 16),
        _load(4, 4),
        _load(5, 8),
    ]
    for rule in reversed(wanted):
        verdict = [_move(0, int(rule.allow)), _EXIT]
        if rule.whole:
            program += verdict
            break
        tests = [(2, _KINDS[rule.kind])] if rule.kind != "a" else []
        tests += [(4, rule.major)] if rule.major != ANY else []
        tests += [(5, rule.minor)] if rule.minor != ANY else []
        mask = sum(_ACCESS[letter] for letter in rule.access)
        block: list[bytes] = []
        if mask != _EVERY_ACCESS and rule.allow:
            # All that is asked for has to be in the mask: nothing may be left outside of it.
            block += [_copy(1, 3), _and(1, ~mask & _EVERY_ACCESS), _skip_unless_equal(1, 0)]
        elif mask != _EVERY_ACCESS:
            block += [_copy(1, 3), _and(1, mask), _skip_if_zero(1)]
        block += [_skip_unless_equal(register, value) for register, value in tests]
        block += verdict
        program += [
            _with_offset(instruction, len(block) - index - 1) if instruction[0] in _SKIPS else instruction
            for index, instruction in enumerate(block)
        ]
    else:
        program += [_move(0, 0), _EXIT]
    return b"".join(program)


def _instruction(code: int, destination: int = 0, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | destination, offset, value)


def _load(register: int, offset: int) -> bytes:
    return _instruction(0x61, register, 1, offset)  # BPF_LDX | BPF_MEM | BPF_W from the context in r1


def _and(register: int, value: int) -> bytes:
    return _instruction(0x54, register, value=value)


def _shift_right(register: int, bits: int) -> bytes:
    return _instruction(0x74, register, value=bits)


def _move(register: int, value: int) -> bytes:
    return _instruction(0xB4, register, value=value)


def _copy(destination: int, source: int) -> bytes:
    return _instruction(0xBC, destination, source)


def _skip_unless_equal(register: int, value: int) -> bytes:
    return _instruction(0x55, register, value=value)


def _skip_if_zero(register: int) -> bytes:
    return _instruction(0x15, register)


def _with_offset(instruction: bytes, offset: int) -> bytes:
    return instruction[:2] + struct.pack("=h", offset) + instruction[4:]


_EXIT = _instruction(0x95)
# Their offsets are filled in when it is known how long the rule's block is.
_SKIPS = (0x55, 0x15)
