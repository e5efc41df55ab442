"""A stage of a build at one moment: its layers so far, and what the image's configuration would be."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubelet.images import host_image
from kubelet.images.building.errors import BuildError
from kubelet.images.manifest import Platform
from kubelet.images.store import HOST_FEATURE, Image, ImageStore

DEFAULT_SHELL = ["/bin/sh", "-c"]
DEFAULT_PATH = host_image.PATH
EPOCH = "1970-01-01T00:00:00Z"


@dataclass(slots=True)
class State:
    """`layers` are diff ids, lowest first; `on_host`: below them are the node's own files. `config` is OCI's.

    `arguments` are the ARGs in force; `own_command`: CMD was given in this stage.
    """

    platform: Platform
    layers: list[str] = field(default_factory=list)
    on_host: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    created: str = ""
    author: str = ""
    arguments: dict[str, str] = field(default_factory=dict)
    own_command: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """ENV, by name."""
        return dict(pair.partition("=")[::2] for pair in self.config.get("Env") or ())

    @property
    def variables(self) -> Mapping[str, str]:
        """What $NAME means: ENV wins over ARG."""
        return {**self.arguments, **self.environment}

    @property
    def shell(self) -> list[str]:
        """What runs the shell form of RUN, CMD and ENTRYPOINT."""
        return list(self.config.get("Shell") or DEFAULT_SHELL)

    @property
    def workdir(self) -> str:
        """Where relative paths begin."""
        return self.config.get("WorkingDir") or "/"

    def set_environment(self, name: str, value: str) -> None:
        """ENV."""
        self.config["Env"] = [f"{key}={old}" for key, old in {**self.environment, name: value}.items()]

    def branched(self) -> State:
        """A stage that begins with this one: ARGs end with their stage."""
        child = copy.deepcopy(self)
        child.arguments, child.own_command = {}, False
        return child

    def note(self, created_by: str, *, layer: str = "", created: str = "") -> None:
        """An instruction is done; `layer` is what it added, "" for nothing."""
        if layer:
            self.layers.append(layer)
        self.created = max(self.created, created)
        entry: dict[str, Any] = {"created": self.created or EPOCH, "created_by": created_by}
        if not layer:
            entry["empty_layer"] = True
        self.history.append(entry)

    def configuration(self) -> bytes:
        """The image's configuration file."""
        document: dict[str, Any] = {
            "created": self.created or EPOCH,
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": {key: value for key, value in self.config.items() if value not in (None, [], {}, "")},
            "rootfs": {"type": "layers", "diff_ids": self.layers},
            "history": self.history,
        }
        if self.platform.variant:
            document["variant"] = self.platform.variant
        if self.author:
            document["author"] = self.author
        if self.on_host:
            document["os.features"] = [HOST_FEATURE]
        return orjson.dumps(document)


def absolute(path: str, workdir: str) -> str:
    """A path in the image, from its working directory."""
    return posixpath.normpath(posixpath.join(workdir, path)).replace("//", "/")


def scratch(platform: Platform) -> State:
    """FROM scratch: nothing at all."""
    return State(platform, config={"Env": [f"PATH={DEFAULT_PATH}"]})


def of_image(store: ImageStore, image: Image, platform: Platform) -> State:
    """FROM an image; `localhost/host` is the node itself, on which what is built can run but which it can't leave."""
    if image.is_node:
        return State(platform, on_host=True, config=dict(host_image.config()))
    document = orjson.loads(store.blob(image.id))
    try:
        return State(
            Platform(
                document.get("os") or "linux", document.get("architecture") or "", document.get("variant") or ""
            ),
            layers=list(image.diff_ids),
            on_host=bool(image.binds),
            config=copy.deepcopy(document.get("config") or {}),
            history=_whole_history(document.get("history") or [], len(image.diff_ids)),
            created=str(document.get("created") or ""),
            author=str(document.get("author") or ""),
        )
    except (TypeError, ValueError) as error:
        raise BuildError(f"the base image's configuration is damaged: {error}") from error


def _whole_history(entries: list[dict[str, Any]], layers: int) -> list[dict[str, Any]]:
    """A history with an entry for each layer. It may be missing, but other tools refuse one that does not add up."""
    told = sum(1 for entry in entries if not entry.get("empty_layer"))
    return [
        *entries,
        *({"created": EPOCH, "comment": "from an image without its history"} for _ in range(layers - told)),
    ]
