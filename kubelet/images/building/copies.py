"""COPY and ADD: from what stands in the Dockerfile to what copying.py carries out.

Source: https://docs.docker.com/reference/dockerfile/#copy and #add
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubelet.containers import image_files
from kubelet.images.building import context, ignore
from kubelet.images.building.dockerfile import Heredoc, Instruction
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand, words
from kubelet.images.building.plan import Stage
from kubelet.images.building.request import Parts
from kubelet.images.building.state import State, absolute
from kubelet.images.layers import Incoming
from kubelet.images.unpackers import Unpackers

DOWNLOAD_BYTES_MAX = 16 << 30
Folders = tuple[list[str], list[tuple[str, str]]]


@dataclass(slots=True)
class Copy:
    """Something to copy: what its layer depends on, and what copying.py is told."""

    identity: list[Any]
    steps: list[dict[str, Any]]
    unpackers: Unpackers
    trees: list[dict[str, Any]] = field(default_factory=list)

    def carry_out(self, folders: Sequence[str], binds: Sequence[tuple[str, str]], incoming: Incoming) -> Path:
        """Copy onto an image; returns the folder with what was written. Raises LayerError."""
        what = {"lowers": list(folders), "binds": list(binds), "trees": self.trees, "steps": self.steps}
        self.unpackers.start_copy(what, str(incoming.path), incoming.descriptor).result()
        return incoming.path / "target" / "upper"


class Copies:
    """Prepares the copies of one build."""

    def __init__(
        self,
        folder: Path,
        parts: Parts,
        image_of: Callable[[State], Folders],
        find_source: Callable[[str, Stage], State],
    ) -> None:
        self._folder, self._parts = folder, parts
        self._image_of, self._find_source = image_of, find_source
        self._downloads = 0
        self._tree: context.Tree | None = None
        self._ignore_text = ""

    def close(self) -> None:
        """Let go of the context."""
        if self._tree is not None:
            self._tree.close()

    @property
    def tree(self) -> context.Tree:
        """The context, less what .dockerignore names. Raises BuildError."""
        if self._tree is None:
            path = self._parts.context / ".dockerignore"
            self._ignore_text = path.read_text(errors="surrogateescape") if path.is_file() else ""
            self._tree = context.Tree(str(self._parts.context), ignore.parse(self._ignore_text))
        return self._tree

    def folder(self, path: str) -> Copy:
        """WORKDIR: a folder, with those above it, unless they are there."""
        step = {"do": "folder", "path": path, "owner": [0, 0]}
        return Copy(["WORKDIR", path], [step], unpackers=self._parts.unpackers)

    def prepare(self, instruction: Instruction, state: State, stage: Stage, escape: str) -> Copy:
        """COPY or ADD. Raises BuildError, OSError."""
        variables = state.variables
        flags = {name: expand(value, variables, escape=escape) for name, value in instruction.flags}
        if instruction.json is not None:
            given = [expand(word, variables, escape=escape) for word in instruction.json]
        else:
            given = words(instruction.text, variables, escape=escape)
        if len(given) < 2:
            raise BuildError(
                f"{instruction.name} requires at least two arguments, but only {len(given)} was provided"
            )
        *sources, destination = given
        _check_flags(instruction.name, flags)
        preparing = _Preparing(self, instruction, state, stage, flags, variables, escape)
        return preparing.run(sources, destination)

    # For _Preparing.

    def source_tree(self, name: str, stage: Stage) -> tuple[dict[str, Any], list[Any]]:
        """The files of a stage or image, and what identifies them."""
        source = self._find_source(name, stage)
        folders, binds = self._image_of(source)
        return {"lowers": folders, "binds": binds}, ["--from", source.layers, source.on_host]

    def context_tree(self) -> dict[str, Any]:
        """The context."""
        assert self._tree is not None
        return {"path": str(self._parts.context), "ignore": self._ignore_text}

    def download(self, url: str, checksum: str) -> tuple[Path, str]:
        """Fetch what ADD names by a URL; returns the file and its digest. Raises BuildError."""
        from kubelet.images.building.download import download

        self._downloads += 1
        folder = self._folder / f"download-{self._downloads}"
        folder.mkdir()
        name = posixpath.basename(urlsplit(url).path) or "download"
        path = folder / name
        digest = download(url, path, DOWNLOAD_BYTES_MAX)
        if checksum and digest != checksum:
            raise BuildError(f"digest mismatch {digest}: {checksum}")
        return path, digest

    @property
    def unpackers(self) -> Unpackers:
        """Who carries it out."""
        return self._parts.unpackers

    def owner(self, text: str, state: State) -> list[int]:
        """--chown: numbers, or names that the image's own /etc/passwd and /etc/group know."""
        folders = [Path(folder) for folder in self._image_of(state)[0]]
        user, _, group = text.partition(":")
        uid, gid = _user(user, image_files.read(folders, "/etc/passwd"))
        if group:
            gid = _group(group, image_files.read(folders, "/etc/group"))
        return [uid, gid]


class _Preparing:
    """One COPY or ADD."""

    def __init__(
        self,
        copies: Copies,
        instruction: Instruction,
        state: State,
        stage: Stage,
        flags: dict[str, str],
        variables: Any,
        escape: str,
    ) -> None:
        self._copies, self._instruction, self._state, self._stage = copies, instruction, state, stage
        self._flags, self._variables, self._escape = flags, variables, escape
        self._copy = Copy([instruction.name], [], unpackers=copies.unpackers)

    def run(self, sources: Sequence[str], destination: str) -> Copy:
        """All sources of it."""
        to = absolute(destination, self._state.workdir)
        into = destination.endswith("/") or len(sources) > 1
        if len(sources) > 1 and not destination.endswith("/") and destination not in (".", ".."):
            name = self._instruction.name
            words_ = "the destination must be a directory and end with a /"
            raise BuildError(f"when using {name} with more than one source file, {words_}")
        where = self._flags.get("from", "")
        owner = self._copies.owner(self._flags["chown"], self._state) if "chown" in self._flags else None
        common = {
            "to": to,
            "into": into,
            "owner": owner if owner is not None else None if where else [0, 0],
            "owned": owner is not None,
            "mode": _mode(self._flags["chmod"]) if "chmod" in self._flags else None,
        }
        self._copy.identity.append({**common, "link": False})
        heredocs = {heredoc.name: heredoc for heredoc in self._instruction.heredocs}
        if where:
            self._from(where, sources, common)
            return self._copy
        for source in sources:
            if source.startswith("<<") and (heredoc := heredocs.get(source.strip("<-\"'"))):
                self._write(heredoc, common)
            elif self._instruction.name == "ADD" and source.startswith(("http://", "https://")):
                self._download(source, common)
            else:
                self._from_context(source, common)
        return self._copy

    def _from(self, name: str, sources: Sequence[str], common: dict[str, Any]) -> None:
        tree, identity = self._copies.source_tree(name, self._stage)
        self._copy.trees.append(tree)
        self._copy.identity += [identity, list(sources)]
        # What the patterns mean is found out where the image is mounted.
        self._copy.steps.append({"do": "copy", "tree": 0, "patterns": list(sources), "unpack": False, **common})

    def _from_context(self, source: str, common: dict[str, Any]) -> None:
        if self._instruction.name == "ADD" and source.endswith(".git") and "://" in source:
            raise BuildError("ADD of Git repositories is not supported")
        tree = self._copies.tree
        paths = tree.find(source)
        self._copy.identity.append([[path, tree.digest(path)] for path in paths])
        into = common["into"] or len(paths) > 1
        number = self._number(self._copies.context_tree())
        unpack = self._instruction.name == "ADD"
        step = {"do": "copy", "tree": number, "paths": paths, "unpack": unpack, **common, "into": into}
        self._copy.steps.append(step)

    def _download(self, url: str, common: dict[str, Any]) -> None:
        path, digest = self._copies.download(url, self._flags.get("checksum", ""))
        self._copy.identity.append([url, digest])
        number = self._number({"path": str(path.parent), "ignore": ""})
        mode = common["mode"] if common["mode"] is not None else 0o600
        step = {"do": "copy", "tree": number, "paths": [path.name], "unpack": False, **common, "mode": mode}
        self._copy.steps.append(step)

    def _write(self, heredoc: Heredoc, common: dict[str, Any]) -> None:
        text = heredoc.text
        if heredoc.expands:
            text = _expanded(text, self._variables, self._escape)
        self._copy.identity.append(
            [heredoc.name, hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()]
        )
        self._copy.steps.append({"do": "write", "name": heredoc.name, "text": text, **common})

    def _number(self, tree: dict[str, Any]) -> int:
        if tree not in self._copy.trees:
            self._copy.trees.append(tree)
        return self._copy.trees.index(tree)


def _expanded(text: str, variables: Any, escape: str) -> str:
    """A here-document's variables; quotes mean nothing in it."""
    quoted = text.replace(escape + escape, escape * 4).replace('"', f'{escape}"')
    return expand(f'"{quoted}"', variables, escape=escape)


def _check_flags(name: str, flags: dict[str, str]) -> None:
    known = {"COPY": {"from", "chown", "chmod", "link"}, "ADD": {"chown", "chmod", "link", "checksum"}}[name]
    for flag in flags:
        if flag not in known:
            raise BuildError(f"unknown flag: --{flag}")


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise BuildError(f"invalid chmod parameter: {text!r}. it should be octal string and between 0 and 07777")
    return mode


def _user(name: str, passwd: str) -> tuple[int, int]:
    if name.isdigit():
        return int(name), int(name)
    for line in passwd.splitlines():
        fields = line.split(":")
        if len(fields) > 3 and fields[0] == name and fields[2].isdigit() and fields[3].isdigit():
            return int(fields[2]), int(fields[3])
    raise BuildError(f"unable to find user {name}: no matching entries in the image's /etc/passwd")


def _group(name: str, groups: str) -> int:
    if name.isdigit():
        return int(name)
    for line in groups.splitlines():
        fields = line.split(":")
        if len(fields) > 2 and fields[0] == name and fields[2].isdigit():
            return int(fields[2])
    raise BuildError(f"unable to find group {name}: no matching entries in the image's /etc/group")
