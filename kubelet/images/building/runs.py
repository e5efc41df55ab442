"""RUN: from what stands in the Dockerfile to a command in a container, with the mounts of the step.

    --mount=type=cache,target=T[,id=I][,sharing=shared|locked]       kept between builds, in no image
    --mount=type=bind[,from=STAGE|IMAGE][,source=S],target=T         of the context, a stage or an image
    --mount=type=tmpfs,target=T[,size=N]
    --mount=type=secret,id=I[,target=T][,required=true]              from --secret of the command line
    --network=host|none|default

Source: https://docs.docker.com/reference/dockerfile/#run
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubelet.containers import image_files, security
from kubelet.images import build_cache
from kubelet.images.building import commit
from kubelet.images.building.copies import Copies, Copy
from kubelet.images.building.dockerfile import Instruction
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand
from kubelet.images.building.plan import PREDEFINED, Stage
from kubelet.images.building.request import Parts, Wishes
from kubelet.images.building.state import DEFAULT_PATH, State
from kubelet.images.layers import Incoming

if TYPE_CHECKING:
    from kubelet.images.building.running import Runner

_BOOLEANS = ("required", "readonly", "ro", "rw", "readwrite")


@dataclass(slots=True)
class Run:
    """A step: what its layer depends on, and how it is carried out."""

    identity: list[Any]
    carry_out: Callable[[Sequence[str], Sequence[tuple[str, str]]], Path]


@dataclass(frozen=True, slots=True)
class Mount:
    """One --mount."""

    kind: str
    target: str
    options: dict[str, str]


@dataclass(slots=True)
class _Given:
    """What a step's mounts come to: for the container, and for the cache."""

    mounts: list[dict[str, Any]] = field(default_factory=list)
    identity: list[Any] = field(default_factory=list)


class Runs:
    """The RUN steps of one build."""

    def __init__(self, folder: Path, parts: Parts, wishes: Wishes) -> None:
        self._folder, self._parts, self._wishes = folder, parts, wishes
        self._runner: Runner | None = None
        self._count = 0

    def close(self) -> None:
        """End whatever still runs."""
        if self._runner is not None:
            self._runner.close()

    @contextmanager
    def prepared(
        self, instruction: Instruction, state: State, stage: Stage, copies: Copies, escape: str
    ) -> Iterator[Run]:
        """A step, ready to be carried out. Raises BuildError, OSError."""
        flags = [(name, expand(value, state.variables, escape=escape)) for name, value in instruction.flags]
        mounts = [_mount(value, state.workdir) for name, value in flags if name == "mount"]
        network = next((value for name, value in flags if name == "network"), "default")
        _check(flags, network)
        reaches = self._wishes.reaches_network if network == "default" else network == "host"
        args = _arguments(instruction, state)
        env = self._environment(state)
        with ExitStack() as stack:
            given = _Given()
            for mount in mounts:
                self._give(mount, given, stage, copies, stack)
            # Proxies are how a step is carried out, and not what it is.
            telling = [pair for pair in env if pair.partition("=")[0] not in PREDEFINED]
            user = state.config.get("User") or ""
            identity = [args, sorted(telling), state.workdir, user, reaches, given.identity]

            def carry_out(folders: Sequence[str], binds: Sequence[tuple[str, str]]) -> Path:
                return self._run(args, env, state, folders, binds, given.mounts, reaches)

            yield Run(identity, carry_out)

    def _run(
        self,
        args: list[str],
        env: list[str],
        state: State,
        folders: Sequence[str],
        binds: Sequence[tuple[str, str]],
        mounts: list[dict[str, Any]],
        reaches: bool,
    ) -> Path:
        from kubelet.images.building.running import Command, Runner, bind

        if self._runner is None:
            self._runner = Runner(self._folder, lambda line: self._parts.told(f"  | {line}"))
        lowers = list(folders)
        if not lowers:
            empty = self._folder / "empty"
            empty.mkdir(exist_ok=True)
            lowers = [str(empty)]
        node = [bind(source, destination, "ro") for source, destination in binds]
        user = _user(state, [Path(folder) for folder in lowers])
        command = Command(args, env, state.workdir, user, lowers, [*node, *mounts], reaches)
        finished = self._runner.run(command)
        if finished.exit_code:
            shown = " ".join(args)
            message = f"process {shown if len(shown) < 200 else shown[:197] + '...'!r} did not complete successfully"
            raise BuildError(f"{message}: exit code: {finished.exit_code}")
        commit.remove_stubs(finished.upper, lowers, finished.stubs)
        return finished.upper

    def _environment(self, state: State) -> list[str]:
        given = {name: value for name, value in self._wishes.arguments.items() if name in PREDEFINED}
        variables = {"PATH": DEFAULT_PATH, **given, **state.arguments, **state.environment}
        return [f"{name}={value}" for name, value in variables.items()]

    def _give(self, mount: Mount, given: _Given, stage: Stage, copies: Copies, stack: ExitStack) -> None:
        from kubelet.images.building.running import bind

        if mount.kind == "cache":
            name = hashlib.sha256((mount.options.get("id") or mount.target).encode()).hexdigest()[:32]
            folder = build_cache.mount(self._parts.store.root, name)
            if mount.options.get("sharing", "shared") == "locked":
                stack.enter_context(_locked(folder))
            _give_away(folder, mount)
            given.mounts.append(bind(str(folder), mount.target))
        elif mount.kind == "tmpfs":
            options = [f"size={mount.options['size']}"] if "size" in mount.options else []
            tmpfs = {"type": "tmpfs", "source": "tmpfs", "destination": mount.target, "options": options}
            given.mounts.append(tmpfs)
        elif mount.kind == "secret":
            path = self._secret(mount)
            if path is not None:
                given.mounts.append(bind(str(path), mount.target, "ro"))
        else:
            source, identity = self._bound(mount, stage, copies, stack)
            given.mounts.append(bind(str(source), mount.target, "ro" if "rw" not in mount.options else "rw"))
            given.identity.append(identity)

    def _bound(self, mount: Mount, stage: Stage, copies: Copies, stack: ExitStack) -> tuple[Path, list[Any]]:
        """What a bind mount shows, as a copy: the step can write what it likes, and the context stays as it is."""
        source = mount.options.get("from", "")
        path = mount.options.get("source") or "/"
        incoming: Incoming = stack.enter_context(self._parts.store.layers.incoming())
        copy = Copy([], [], unpackers=copies.unpackers)
        common = {"to": "/shown", "into": True, "owner": None, "owned": False, "mode": None, "unpack": False}
        if source:
            tree, identity = copies.source_tree(source, stage)
            copy.trees.append(tree)
            copy.steps.append({"do": "copy", "tree": 0, "patterns": [path], **common})
        else:
            found = copies.tree.find(path)
            identity = [[one, copies.tree.digest(one)] for one in found]
            copy.trees.append(copies.context_tree())
            copy.steps.append({"do": "copy", "tree": 0, "paths": found, **common})
        shown = copy.carry_out([], [], incoming) / "shown"
        name = posixpath.basename(path.rstrip("/"))
        single = shown / name
        is_file = bool(name) and single.is_file() and len(list(shown.iterdir())) == 1
        return (single if is_file else shown), [mount.target, path, identity]

    def _secret(self, mount: Mount) -> Path | None:
        name = mount.options.get("id") or posixpath.basename(mount.target)
        path = self._wishes.secrets.get(name)
        if path is None and mount.options.get("required") == "true":
            raise BuildError(f"secret {name}: not found; give it with --secret id={name},src=FILE")
        return path


def _arguments(instruction: Instruction, state: State) -> list[str]:
    """The command line; a here-document that is all there is, is the script itself."""
    if instruction.json is not None:
        return list(instruction.json)
    heredocs = instruction.heredocs
    if len(heredocs) == 1 and instruction.text.split() and instruction.text.strip().startswith("<<"):
        rest = instruction.text.strip().lstrip("<-").strip("\"'")
        if rest == heredocs[0].name:
            if heredocs[0].text.startswith("#!"):
                raise BuildError(
                    "a here-document with an interpreter line (#!) is not supported: name it, as in RUN python3 <<EOF"
                )
            return [*state.shell, heredocs[0].text]
    return [*state.shell, instruction.shell_text]


def _user(state: State, folders: Sequence[Path]) -> dict[str, Any]:
    try:
        pod: dict[str, Any] = {"metadata": {}, "spec": {}}
        image_user = state.config.get("User") or ""
        found = security.user_of(pod, {"name": "build"}, image_user, lambda path: image_files.read(folders, path))
    except security.SecurityFailure as error:
        raise BuildError(str(error)) from error
    return {"uid": found.uid, "gid": found.gid, "additionalGids": list(found.groups)}


def _check(flags: Sequence[tuple[str, str]], network: str) -> None:
    for name, value in flags:
        if name not in ("mount", "network", "security") or (name == "security" and value != "sandbox"):
            raise BuildError(f"unknown flag: --{name}={value}")
    if network not in ("default", "host", "none"):
        raise BuildError(f"invalid network mode {network!r}: it is default, host or none")


def _mount(text: str, workdir: str) -> Mount:
    options: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = part.partition("=")
        if not equals and key not in _BOOLEANS:
            raise BuildError(f"invalid field {part!r} in --mount: it must be a key=value pair")
        key = {"src": "source", "dst": "target", "destination": "target", "readwrite": "rw"}.get(key, key)
        options[key] = value if equals else "true"
    if options.get("rw") == "false":
        del options["rw"]
    kind = options.pop("type", "bind")
    if kind not in ("bind", "cache", "tmpfs", "secret"):
        raise BuildError(f"--mount=type={kind} is not supported")
    target = options.pop("target", "")
    if not target and kind == "secret" and options.get("id"):
        target = f"/run/secrets/{options['id']}"
    if not target:
        raise BuildError(f"--mount=type={kind} needs a target")
    return Mount(kind, posixpath.normpath(posixpath.join(workdir, target)), options)


def _give_away(folder: Path, mount: Mount) -> None:
    uid, gid = (int(mount.options.get(key, "0")) for key in ("uid", "gid"))
    os.chown(folder, uid, gid)
    folder.chmod(int(mount.options.get("mode", "0755"), 8))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one step at a time, of all builds on this machine."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
