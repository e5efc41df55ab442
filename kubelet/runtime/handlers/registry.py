"""The handlers of this node: what a RuntimeClass's `handler` may name, and what each can do.

"wherry" is this node's own runtime, as is no handler at all. `runc` and `crun` are there when they are installed;
others, or other ways to call these, are given by a flag. A handler is known by its name and found to be broken only
when a pod uses it, as with other container runtimes.
Sources: https://kubernetes.io/docs/concepts/containers/runtime-class/ and
https://github.com/opencontainers/runtime-spec/blob/main/features.md
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import shlex
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apiclient.logs import kv

logger = logging.getLogger(__name__)

OWN = "wherry"
INSTALLED = ("runc", "crun")
ASK_SECONDS_MAX = 10.0
FEATURES_BYTES_MAX = 1 << 20
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Handlers = Mapping[str, tuple[str, ...]]


class UnknownHandler(Exception):
    """No runtime of this node goes by that name."""


@dataclass(frozen=True, slots=True)
class Features:
    """What Node.status.runtimeHandlers tells of a handler."""

    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False


OWN_FEATURES = Features(recursive_read_only_mounts=True, user_namespaces=True)


def parse(text: str) -> tuple[str, tuple[str, ...]]:
    """`NAME=PATH[ ARG…]` as a name and a command line. Raises ValueError."""
    name, found, command = text.partition("=")
    words = shlex.split(command)
    if not found or not words:
        raise ValueError(f"{text!r} is not of the form NAME=PATH[ ARG…]")
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} can't be a handler: lower case letters, digits and '-', at most 63")
    if name == OWN:
        raise ValueError(f"the handler {OWN!r} is this node's own runtime")
    if not words[0].startswith("/"):
        raise ValueError(f"the path {words[0]!r} of handler {name!r} is not absolute")
    return name, tuple(words)


def configured(given: Iterable[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    """Name and command line of each handler other than our own: what is installed, and what was given."""
    installed = {name: (path,) for name in INSTALLED if (path := shutil.which(name))}
    return {**installed, **dict(given)}


def resolve(handlers: Handlers, name: str) -> str:
    """The handler that a pod gets: "" for this node's own runtime. Raises UnknownHandler in containerd's words."""
    if name in ("", OWN):
        return ""
    if name not in handlers:
        raise UnknownHandler(f'no runtime for "{name}" is configured')
    return name


def features(told: Mapping[str, Any]) -> Features:
    """What `features` of an OCI runtime says; whatever it says, a pod's own users are made by our runtime alone."""
    return Features(recursive_read_only_mounts="rro" in (told.get("mountOptions") or ()))


async def ask(command: tuple[str, ...]) -> Features:
    """Have a runtime tell its features; one that knows no such command has none to tell of."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            "features",
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as error:
        logger.warning(kv("runtime handler can't be run", command=command[0], error=str(error)))
        return Features()
    assert process.stdout is not None
    try:
        async with asyncio.timeout(ASK_SECONDS_MAX):
            text = await process.stdout.read(FEATURES_BYTES_MAX)
            await process.wait()
        return features(json.loads(text)) if process.returncode == 0 else Features()
    except (TimeoutError, ValueError, AttributeError, TypeError) as error:
        logger.warning(kv("runtime handler tells no features", command=command[0], error=repr(error)))
        return Features()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def status(own: Features, others: Mapping[str, Features]) -> list[dict[str, Any]]:
    """Node.status.runtimeHandlers: the default handler has no name."""
    listed = {"": own, OWN: own, **others}
    return [
        {
            "name": name,
            "features": {
                "recursiveReadOnlyMounts": found.recursive_read_only_mounts,
                "userNamespaces": found.user_namespaces,
            },
        }
        for name, found in sorted(listed.items())
    ]
