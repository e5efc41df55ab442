"""A Dockerfile as stages: pure, which images they begin with and which of them a target needs.

Source: https://docs.docker.com/build/building/multi-stage/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.images.building.dockerfile import Dockerfile, Instruction
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand, words
from kubelet.images.manifest import Platform

SCRATCH = "scratch"
# Set from outside without being declared, and of no influence on what is cached.
PREDEFINED = frozenset(
    name
    for plain in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
    for name in (plain, plain.lower())
)
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*")


@dataclass(slots=True)
class Stage:
    """One stage: `base` is scratch, a full or short image name, or the number of an earlier stage."""

    number: int
    name: str
    base: str | int
    line: int
    platform: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    needs: set[int] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages, and the variables from before the first FROM that a stage may take over by ARG."""

    stages: Sequence[Stage]
    globals: Mapping[str, str]
    escape: str

    def needed(self, target: Stage) -> list[Stage]:
        """The stages that a target is made of, in the order of the file."""
        wanted = {target.number}
        for stage in reversed(self.stages):
            if stage.number in wanted:
                wanted |= stage.needs
        return [stage for stage in self.stages if stage.number in wanted]

    def target(self, name: str) -> Stage:
        """The stage of this name or number, the last one for "". Raises BuildError."""
        if not name:
            return self.stages[-1]
        for stage in reversed(self.stages):
            if name.lower() == stage.name or name == str(stage.number):
                return stage
        raise BuildError(f"target stage {name!r} could not be found")


def platform_arguments(build: Platform, target: Platform) -> dict[str, str]:
    """The ARGs that tell about platforms."""
    found = {}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        found[f"{prefix}PLATFORM"] = str(platform)
        found[f"{prefix}OS"] = platform.os
        found[f"{prefix}ARCH"] = platform.architecture
        found[f"{prefix}VARIANT"] = platform.variant
    return found


def plan(dockerfile: Dockerfile, given: Mapping[str, str], platforms: Mapping[str, str]) -> Plan:
    """Arrange the stages. `given` are --build-arg values. Raises BuildError."""
    values: dict[str, str] = dict(platforms)
    stages: list[Stage] = []
    for instruction in dockerfile.instructions:
        if instruction.name == "FROM":
            stages.append(_from(instruction, values, stages, dockerfile.escape))
        elif stages:
            stages[-1].instructions.append(instruction)
            _note_source(instruction, stages)
        elif instruction.name == "ARG":
            for name, default in arguments(instruction, values, dockerfile.escape):
                value = given.get(name, default)
                if value is not None:
                    values[name] = value
        else:
            raise BuildError("no build stage in current context: the first instruction is not FROM", instruction.line)
    if not stages:
        raise BuildError("the Dockerfile has no FROM")
    return Plan(stages, values, dockerfile.escape)


def arguments(instruction: Instruction, values: Mapping[str, str], escape: str) -> list[tuple[str, str | None]]:
    """What an ARG declares: names, each with its default value or None. Raises BuildError."""
    found: list[tuple[str, str | None]] = []
    known = dict(values)
    for word in words(instruction.text, known, escape=escape):
        name, equals, value = word.partition("=")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BuildError(f"{name!r} is no name for an ARG", instruction.line)
        found.append((name, value if equals else None))
    return found


def stage_of(name: str, stages: Sequence[Stage]) -> Stage | None:
    """The stage that `--from` means by a name or number."""
    for stage in reversed(stages):
        if stage.name and stage.name == name.lower():
            return stage
    return stages[int(name)] if name.isdigit() and int(name) < len(stages) else None


def _from(instruction: Instruction, values: Mapping[str, str], stages: Sequence[Stage], escape: str) -> Stage:
    try:
        parts = words(instruction.text, values, escape=escape)
        flags = {name: expand(value, values, escape=escape) for name, value in instruction.flags}
    except BuildError as error:
        raise BuildError(error.message, instruction.line) from error
    name = ""
    if len(parts) == 3 and parts[1].lower() == "as":
        name = parts[2].lower()
        if not _STAGE_NAME.fullmatch(name):
            raise BuildError(f"invalid name for build stage: {parts[2]!r}", instruction.line)
    elif len(parts) != 1:
        raise BuildError("FROM requires either one or three arguments", instruction.line)
    if not parts[0]:
        raise BuildError(f"base name ({instruction.text}) should not be blank", instruction.line)
    earlier = next((stage for stage in reversed(stages) if stage.name and stage.name == parts[0].lower()), None)
    base: str | int = earlier.number if earlier is not None else parts[0]
    stage = Stage(len(stages), name, base, instruction.line, flags.pop("platform", ""))
    if flags:
        raise BuildError(f"unknown flag: --{next(iter(flags))}", instruction.line)
    if earlier is not None:
        stage.needs.add(earlier.number)
    return stage


def _note_source(instruction: Instruction, stages: list[Stage]) -> None:
    """COPY --from, and RUN --mount=from, need another stage."""
    names = [value for flag, value in instruction.flags if flag == "from"]
    for flag, value in instruction.flags:
        if flag == "mount":
            names += [part.partition("=")[2] for part in value.split(",") if part.startswith("from=")]
    for name in names:
        source = stage_of(name, stages[:-1])
        if source is not None:
            stages[-1].needs.add(source.number)
