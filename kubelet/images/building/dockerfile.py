"""Reads a Dockerfile: pure, from its text to instructions with their line, flags, JSON form and here-documents.

Source: https://docs.docker.com/reference/dockerfile/ (format, parser directives, here-documents)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from kubelet.images.building.errors import BuildError

TEXT_BYTES_MAX = 1 << 20
_DIRECTIVE = re.compile(r"#\s*([A-Za-z][A-Za-z0-9]*)\s*=\s*(.+?)\s*")
_HEREDOC = re.compile(r"<<(-?)\s*([\"']?)([A-Za-z_.][A-Za-z0-9_.-]*)\2(?=\s|$|[;&|>)])")
_FLAG = re.compile(r"--([a-z-]+)(?:=(\S*))?\s*")
_WITH_HEREDOCS = ("RUN", "COPY", "ADD")
_WITH_JSON = ("RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "SHELL", "VOLUME")
KNOWN = frozenset(
    (
        *("ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"),
        *("ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
    )
)


@dataclass(frozen=True, slots=True)
class Heredoc:
    """A here-document: its name, its text, and whether variables in it are replaced."""

    name: str
    text: str
    expands: bool


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, the line that it begins at, and what it is given.

    `text` is what stands behind the flags, its lines joined; `json` is the same as a list if it has that form.
    `shell_text` has the here-documents in it, as a shell reads them.
    """

    name: str
    line: int
    text: str
    flags: Sequence[tuple[str, str]] = ()
    json: Sequence[str] | None = None
    heredocs: Sequence[Heredoc] = ()
    shell_text: str = ""

    @property
    def shown(self) -> str:
        """The instruction in one line."""
        flags = "".join(f"--{name}={value} " for name, value in self.flags)
        text = " ".join(self.text.split())
        return f"{self.name} {flags}{text if len(text) <= 200 else text[:197] + '...'}"


@dataclass(frozen=True, slots=True)
class Dockerfile:
    """The instructions, and the character that continues lines and escapes."""

    instructions: Sequence[Instruction]
    escape: str = "\\"


@dataclass(slots=True)
class _Lines:
    lines: list[str]
    escape: str
    position: int = 0
    directives: dict[str, str] = field(default_factory=dict)


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile. Raises BuildError."""
    if len(text) > TEXT_BYTES_MAX:
        raise BuildError("the Dockerfile is too large")
    lines = _Lines(text.removeprefix("\ufeff").splitlines(), "\\")
    _directives(lines)
    instructions = []
    while lines.position < len(lines.lines):
        line = lines.lines[lines.position]
        if not line.strip() or line.lstrip().startswith("#"):
            lines.position += 1
        else:
            instructions.append(_instruction(lines))
    if not instructions:
        raise BuildError("the Dockerfile has no instructions")
    return Dockerfile(instructions, lines.escape)


def parse_line(text: str, line: int, escape: str) -> Instruction:
    """Read one instruction, such as ONBUILD keeps. Raises BuildError."""
    return _made(text, line, [], escape)


def _directives(lines: _Lines) -> None:
    """`# escape=…` and its like, which only count at the very top."""
    for line in lines.lines:
        match = _DIRECTIVE.fullmatch(line.strip())
        if match is None:
            return
        name = match[1].lower()
        if name in lines.directives:
            raise BuildError(f"only one {name} parser directive can be used", lines.position + 1)
        lines.directives[name] = match[2]
        if name == "escape":
            if match[2] not in ("\\", "`"):
                raise BuildError(f"invalid escape token {match[2]!r} does not match ` or \\", lines.position + 1)
            lines.escape = match[2]
        lines.position += 1


def _instruction(lines: _Lines) -> Instruction:
    begin = lines.position + 1
    parts: list[str] = []
    continued = re.compile(re.escape(lines.escape) + r"[ \t]*$")
    while lines.position < len(lines.lines):
        line = lines.lines[lines.position]
        lines.position += 1
        if parts and (not line.strip() or line.lstrip().startswith("#")):
            continue  # comments and empty lines do not interrupt what is continued
        match = continued.search(line)
        if match is None:
            parts.append(line)
            break
        parts.append(line[: match.start()])
    text = "".join(parts).strip()
    name = text.split(None, 1)[0].upper() if text else ""
    bodies = _heredocs(lines, text, begin) if name in _WITH_HEREDOCS else []
    return _made(text, begin, bodies, lines.escape)


def _heredocs(lines: _Lines, text: str, begin: int) -> list[tuple[Heredoc, str]]:
    """The here-documents that a line announces: with each, its lines as they stand there, end and all."""
    found = []
    for match in _HEREDOC.finditer(text):
        if match.start() and text[match.start() - 1] == "<":
            continue  # <<<word is something else
        strips, quote, name = bool(match[1]), match[2], match[3]
        body: list[str] = []
        while True:
            if lines.position >= len(lines.lines):
                raise BuildError(f"unterminated heredoc {name}", begin)
            line = lines.lines[lines.position]
            lines.position += 1
            if (line.lstrip("\t") if strips else line) == name:
                break
            body.append(line)
        raw = "".join(f"{line}\n" for line in body)
        content = "".join(f"{line.lstrip(chr(9))}\n" for line in body) if strips else raw
        found.append((Heredoc(name, content, expands=not quote), f"{raw}{name}\n"))
    return found


def _made(text: str, line: int, bodies: list[tuple[Heredoc, str]], escape: str) -> Instruction:
    name, _, rest = text.partition(" ") if " " in text.split("\t")[0] else text.partition("\t")
    name, rest = name.upper(), rest.strip()
    if name not in KNOWN:
        raise BuildError(f"unknown instruction: {name[:60]}", line)
    flags: list[tuple[str, str]] = []
    while match := _FLAG.match(rest):
        flags.append((match[1], match[2] if match[2] is not None else "true"))
        rest = rest[match.end() :]
    if not rest and name not in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
        raise BuildError(f"{name} requires at least one argument", line)
    return Instruction(
        name=name,
        line=line,
        text=rest,
        flags=flags,
        json=_json(rest) if name in _WITH_JSON else None,
        heredocs=[heredoc for heredoc, _ in bodies],
        shell_text=rest + ("\n" + "".join(raw for _, raw in bodies) if bodies else ""),
    )


def _json(text: str) -> list[str] | None:
    """A list of strings; whatever else it is, it is no list, and a shell's business."""
    if not text.startswith("["):
        return None
    try:
        found = orjson.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, list) and all(isinstance(word, str) for word in found) else None
