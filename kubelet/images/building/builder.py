"""Builds an image: stage after stage, instruction after instruction.

What changes files (RUN, COPY, ADD, WORKDIR) makes a layer, and is looked up in the cache first, by all that it
depends on: the layers below, the instruction, its variables, and the content of what it copies. The rest only changes
the configuration. Everything that a build uses is held until its image is in the store.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import orjson

from kubelet.images import build_cache
from kubelet.images.building import commit, plan
from kubelet.images.building.copies import Copies, Copy
from kubelet.images.building.dockerfile import Dockerfile, Instruction, parse_line
from kubelet.images.building.errors import BuildError
from kubelet.images.building.expand import expand
from kubelet.images.building.plan import Stage
from kubelet.images.building.request import Parts, Wishes
from kubelet.images.building.runs import Runs
from kubelet.images.building.settings import SETTINGS
from kubelet.images.building.state import State, absolute, of_image, scratch
from kubelet.images.layers import Incoming
from kubelet.images.store import Image
from kubelet.images.unpack import LayerError

CACHE_VERSION = 1
HOST = "localhost/host"


class Builder:
    """One build; to be used as a context."""

    def __init__(self, parts: Parts, wishes: Wishes) -> None:
        self._parts, self._wishes = parts, wishes
        self._store = parts.store
        self._stack = ExitStack()
        self._states: dict[int, State] = {}
        self._total = self._done = 0

    def __enter__(self) -> Builder:
        self._folder = self._stack.enter_context(self._store.layers.incoming())
        self._runs = Runs(self._folder.path, self._parts, self._wishes)
        self._stack.callback(self._runs.close)
        self._copies = Copies(self._folder.path, self._parts, self.image_of, self.find_source)
        self._stack.callback(self._copies.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def build(self, dockerfile: Dockerfile) -> Image:
        """Build the image, and give it its names. Raises BuildError."""
        platforms = plan.platform_arguments(self._parts.platform, self._parts.platform)
        self._plan = plan.plan(dockerfile, self._wishes.arguments, platforms)
        self._platforms = platforms
        target = self._plan.target(self._wishes.target)
        stages = self._plan.needed(target)
        self._total = sum(1 + len(stage.instructions) for stage in stages)
        for stage in stages:
            self._states[stage.number] = self._build_stage(stage)
        state = self._states[target.number]
        for name, value in self._wishes.labels.items():
            state.config.setdefault("Labels", {})[name] = value
        image = self._store.add(state.configuration(), self._wishes.names)
        self._store.make_durable()
        return image

    # What other parts of the build ask for.

    def image_of(self, state: State) -> tuple[list[str], list[tuple[str, str]]]:
        """The folders of a state, top first, and what is bound onto them from the node."""
        folders = [str(self._store.layers.path(diff_id)) for diff_id in reversed(state.layers)]
        if not state.on_host:
            return folders, []
        host = self._parts.base(HOST, "")
        return [*folders, *map(str, host.layers)], host.binds

    def find_source(self, name: str, stage: Stage) -> State:
        """What `--from` names: an earlier stage, or an image."""
        found = plan.stage_of(name, self._plan.stages[: stage.number])
        if found is not None:
            return self._states[found.number]
        return self._base_state(name, "", 0)

    # The stages.

    def _build_stage(self, stage: Stage) -> State:
        self._step(f"FROM {stage.base if isinstance(stage.base, str) else self._plan.stages[stage.base].name}")
        if isinstance(stage.base, int):
            state = self._states[stage.base].branched()
        elif stage.base == plan.SCRATCH:
            state = scratch(self._parts.platform)
        else:
            state = self._base_state(stage.base, stage.platform, stage.line)
        triggers = state.config.pop("OnBuild", None) or []
        for text in triggers:
            self._instruct(parse_line(text, stage.line, self._plan.escape), state, stage)
        for instruction in stage.instructions:
            self._step(instruction.shown)
            self._instruct(instruction, state, stage)
        return state

    def _base_state(self, name: str, platform: str, line: int) -> State:
        try:
            image = self._parts.base(name, platform)
            state = of_image(self._store, image, self._parts.platform)
            for diff_id in state.layers:
                if not self._hold(diff_id):
                    raise BuildError(f"layer {diff_id} of {name} is gone: pull or import it again")
        except BuildError as error:
            raise BuildError(error.message, error.line or line) from error
        return state

    def _instruct(self, instruction: Instruction, state: State, stage: Stage) -> None:
        try:
            self._carry_out(instruction, state, stage)
        except BuildError as error:
            raise BuildError(f"{instruction.shown}: {error.message}", error.line or instruction.line) from error
        except (LayerError, OSError) as error:
            words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            raise BuildError(f"{instruction.shown}: {words}{where}", instruction.line) from error

    def _carry_out(self, instruction: Instruction, state: State, stage: Stage) -> None:
        name, escape = instruction.name, self._plan.escape
        if instruction.flags and name not in ("RUN", "COPY", "ADD", "HEALTHCHECK", "FROM"):
            raise BuildError(f"unknown flag: --{instruction.flags[0][0]}")
        if name == "ARG":
            self._declare(instruction, state)
        elif name == "RUN":
            self._run(instruction, state, stage)
        elif name in ("COPY", "ADD"):
            self._copy(self._copies.prepare(instruction, state, stage, escape), instruction, state)
        elif name == "WORKDIR":
            self._change_folder(instruction, state)
        else:
            SETTINGS[name](instruction, state, escape)
            state.note(instruction.shown)

    def _declare(self, instruction: Instruction, state: State) -> None:
        """ARG: the value given for the build, else the default, else what was set before the first FROM."""
        for name, default in plan.arguments(instruction, state.variables, self._plan.escape):
            value = self._wishes.arguments.get(name)
            if value is None and default is not None:
                value = default
            if value is None:
                value = self._plan.globals.get(name)
            if value is not None:
                state.arguments[name] = value

    def _run(self, instruction: Instruction, state: State, stage: Stage) -> None:
        with self._runs.prepared(instruction, state, stage, self._copies, self._plan.escape) as run:
            folders, binds = self.image_of(state)

            def make(incoming: Incoming) -> str:
                upper = run.carry_out(folders, binds)
                return commit.commit(self._store.layers, incoming, upper)

            self._layer(instruction.shown, ["RUN", *run.identity], state, make)

    def _copy(self, copy: Copy, instruction: Instruction, state: State) -> None:
        folders, binds = self.image_of(state)

        def make(incoming: Incoming) -> str:
            upper = copy.carry_out(folders, binds, incoming)
            return commit.commit(self._store.layers, incoming, upper)

        self._layer(instruction.shown, copy.identity, state, make)

    def _change_folder(self, instruction: Instruction, state: State) -> None:
        path = expand(instruction.text, state.variables, escape=self._plan.escape)
        state.config["WorkingDir"] = absolute(path, state.workdir)
        self._copy(self._copies.folder(state.config["WorkingDir"]), instruction, state)

    # Layers and their cache.

    def _layer(self, shown: str, identity: Sequence[Any], state: State, make: Callable[[Incoming], str]) -> None:
        """Add the layer of a step: the one that it made before, if nothing has changed since."""
        key = self._key(state, identity)
        known = build_cache.get(self._store.root, key) if self._wishes.use_cache else None
        if known is not None and (not known[0] or self._hold(known[0])):
            self._parts.told("  CACHED")
            state.note(shown, layer=known[0], created=known[1])
            return
        began = time.monotonic()
        with self._store.layers.incoming() as incoming:
            layer = make(incoming)
            if layer and not self._hold(layer):
                raise BuildError("the step's layer was removed right after it had been made")
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        build_cache.put(self._store.root, key, layer, created)
        state.note(shown, layer=layer, created=created)
        self._parts.told(f"  DONE {time.monotonic() - began:.1f}s")

    def _key(self, state: State, identity: Sequence[Any]) -> str:
        return hashlib.sha256(orjson.dumps([CACHE_VERSION, state.layers, state.on_host, identity])).hexdigest()

    def _hold(self, diff_id: str) -> bool:
        with ExitStack() as stack:
            if stack.enter_context(self._store.layers.held(diff_id)):
                self._stack.push(stack.pop_all())
                return True
        return False

    def _step(self, words: str) -> None:
        self._done += 1
        self._parts.told(f"[{self._done}/{self._total}] {words}")
