"""What Node.status.runtimeHandlers says: the runtimes that a RuntimeClass may name on this node, and their features.

Source: https://kubernetes.io/docs/concepts/containers/runtime-class/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kubelet.runtime.handlers import registry
from kubelet.runtime.handlers.registry import Features, Handlers


class RuntimeHandlers:
    """The handlers, each asked once for its features; `changed` is called when they have been told."""

    def __init__(self, handlers: Handlers, changed: Callable[[], None]) -> None:
        self._handlers = handlers
        self._changed = changed
        self._features = dict.fromkeys(handlers, Features())

    def status(self) -> list[dict[str, Any]]:
        """The list as the Node shows it."""
        return registry.status(registry.OWN_FEATURES, self._features)

    async def run(self) -> None:
        """Ask all other runtimes; a node without any has nothing to do."""
        if self._handlers:
            told = await asyncio.gather(*(registry.ask(command) for command in self._handlers.values()))
            self._features = dict(zip(self._handlers, told, strict=True))
            self._changed()
