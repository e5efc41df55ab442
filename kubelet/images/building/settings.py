"""Instructions that only change the image's configuration: pure functions, one each, in one table.

Source: https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from kubelet.images.building.dockerfile import Instruction
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand, split, words
from kubelet.images.building.state import State
from kubelet.images.collector import parse_duration

Apply = Callable[[Instruction, State, str], None]
_PORT = re.compile(r"(\d+)(?:-(\d+))?(?:/(tcp|udp|sctp))?", re.IGNORECASE)
_DURATIONS = {
    "interval": "Interval",
    "timeout": "Timeout",
    "start-period": "StartPeriod",
    "start-interval": "StartInterval",
}


def env(instruction: Instruction, state: State, escape: str) -> None:
    """ENV KEY=VALUE …, or the old ENV KEY VALUE."""
    # All values of one instruction see the variables as they were before it.
    for name, value in _pairs(instruction, state, escape):
        if not name:
            raise BuildError("ENV names can not be blank")
        state.set_environment(name, value)


def label(instruction: Instruction, state: State, escape: str) -> None:
    """LABEL KEY=VALUE …"""
    labels = state.config.setdefault("Labels", {})
    for name, value in _pairs(instruction, state, escape):
        if not name:
            raise BuildError("LABEL names can not be blank")
        labels[name] = value


def cmd(instruction: Instruction, state: State, _escape: str) -> None:
    """CMD."""
    state.config["Cmd"] = _command(instruction, state)
    state.own_command = True


def entrypoint(instruction: Instruction, state: State, _escape: str) -> None:
    """ENTRYPOINT; a CMD that came with the base image was meant for another one."""
    state.config["Entrypoint"] = _command(instruction, state)
    if not state.own_command:
        state.config["Cmd"] = None


def user(instruction: Instruction, state: State, escape: str) -> None:
    """USER."""
    state.config["User"] = expand(instruction.text, state.variables, escape=escape)


def expose(instruction: Instruction, state: State, escape: str) -> None:
    """EXPOSE PORT[/PROTOCOL] …"""
    ports = state.config.setdefault("ExposedPorts", {})
    for word in words(instruction.text, state.variables, escape=escape):
        match = _PORT.fullmatch(word)
        first = int(match[1]) if match else 0
        last = int(match[2] or first) if match else 0
        if match is None or not 0 < first <= last <= 65535:
            raise BuildError(f"invalid containerPort: {word}")
        for port in range(first, last + 1):
            ports[f"{port}/{(match[3] or 'tcp').lower()}"] = {}


def volume(instruction: Instruction, state: State, escape: str) -> None:
    """VOLUME."""
    volumes = state.config.setdefault("Volumes", {})
    paths = instruction.json if instruction.json is not None else split(instruction.text, escape=escape)
    for path in paths:
        expanded = expand(path, state.variables, escape=escape).strip()
        if not expanded:
            raise BuildError("VOLUME specified can not be an empty string")
        volumes[expanded] = {}


def shell(instruction: Instruction, state: State, _escape: str) -> None:
    """SHELL ["executable", "parameters"]."""
    if not instruction.json:
        raise BuildError('SHELL requires the arguments to be in JSON form: SHELL ["executable", "parameters"]')
    state.config["Shell"] = list(instruction.json)


def stopsignal(instruction: Instruction, state: State, escape: str) -> None:
    """STOPSIGNAL."""
    state.config["StopSignal"] = expand(instruction.text, state.variables, escape=escape)


def maintainer(instruction: Instruction, state: State, _escape: str) -> None:
    """MAINTAINER."""
    state.author = instruction.text


def healthcheck(instruction: Instruction, state: State, _escape: str) -> None:
    """HEALTHCHECK [options] CMD …, or NONE. Kubernetes has probes instead, other engines go by it."""
    kind, _, rest = instruction.text.partition(" ")
    if kind.upper() == "NONE":
        state.config["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not rest.strip():
        raise BuildError(f"unknown type {kind!r} in HEALTHCHECK: it is CMD command, or NONE")
    from kubelet.images.building.dockerfile import parse_line

    command = parse_line(f"CMD {rest.strip()}", instruction.line, "\\")
    test = ["CMD", *command.json] if command.json is not None else ["CMD-SHELL", command.text]
    found: dict[str, Any] = {"Test": test}
    for name, value in instruction.flags:
        try:
            if name == "retries":
                found["Retries"] = int(value)
            elif name in _DURATIONS:
                found[_DURATIONS[name]] = int(parse_duration(value) * 1e9)
            else:
                raise BuildError(f"unknown flag: --{name}")
        except ValueError as error:
            raise BuildError(f"--{name}: {error}") from error
    state.config["Healthcheck"] = found


def onbuild(instruction: Instruction, state: State, _escape: str) -> None:
    """ONBUILD: kept for images that are built from this one."""
    trigger = instruction.text.split(None, 1)[0].upper()
    if trigger in ("ONBUILD", "FROM", "MAINTAINER"):
        raise BuildError(f"{trigger} isn't allowed as an ONBUILD trigger")
    state.config["OnBuild"] = [*(state.config.get("OnBuild") or []), instruction.text]


SETTINGS: dict[str, Apply] = {
    "CMD": cmd,
    "ENTRYPOINT": entrypoint,
    "ENV": env,
    "EXPOSE": expose,
    "HEALTHCHECK": healthcheck,
    "LABEL": label,
    "MAINTAINER": maintainer,
    "ONBUILD": onbuild,
    "SHELL": shell,
    "STOPSIGNAL": stopsignal,
    "USER": user,
    "VOLUME": volume,
}


def _command(instruction: Instruction, state: State) -> list[str]:
    if instruction.json is not None:
        return list(instruction.json)
    return [*state.shell, instruction.text] if instruction.text else []


def _pairs(instruction: Instruction, state: State, escape: str) -> list[tuple[str, str]]:
    """KEY=VALUE …, or KEY and then all the rest as its value."""
    found = split(instruction.text, escape=escape)
    variables = dict(state.variables)
    if "=" not in found[0]:
        name, _, value = instruction.text.partition(" ")
        if not value.strip():
            raise BuildError(f"{instruction.name} must have two arguments")
        return [(name, expand(value.strip(), variables, escape=escape))]
    pairs = []
    for word in found:
        name, equals, value = word.partition("=")
        if not equals:
            message = f"Syntax error - can't find = in {word!r}. Must be of the form: name=value"
            raise BuildError(message)
        pairs.append((expand(name, variables, escape=escape), expand(value, variables, escape=escape)))
    return pairs
