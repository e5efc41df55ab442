"""Which runtime a pod's RuntimeClass names.

Few pods have one, so that it is read when the pod's sandbox is made and not followed; a pod keeps the runtime that it
began with, since its runtimeClassName never changes.
Source: https://kubernetes.io/docs/concepts/containers/runtime-class/
"""

from __future__ import annotations

from apiclient.rest import Client
from apimachinery import errors
from apimachinery.meta import Object
from apimachinery.resources import RUNTIMECLASSES
from kubelet.runtime.handlers import registry
from kubelet.runtime.handlers.registry import Handlers, UnknownHandler


class NoRuntime(Exception):
    """The pod names a runtime that can't be had; the message says why."""


class RuntimeClasses:
    """RuntimeClasses as the API has them, and the handlers of this node."""

    def __init__(self, client: Client, handlers: Handlers) -> None:
        self._client = client
        self._handlers = handlers

    async def handler(self, pod: Object) -> str:
        """The handler that makes a pod's containers, "" for our own runtime. Raises NoRuntime."""
        name = pod["spec"].get("runtimeClassName")
        if not name:
            return ""
        try:
            found = await self._client.get(RUNTIMECLASSES, name)
        except errors.ApiError as error:
            if errors.is_not_found(error):
                raise NoRuntime(f'runtimeclass.node.k8s.io "{name}" not found') from error
            raise NoRuntime(f"failed to lookup RuntimeClass {name}: {error.message}") from error
        try:
            return registry.resolve(self._handlers, found["handler"])
        except UnknownHandler as error:
            raise NoRuntime(f"failed to get sandbox runtime: {error}") from error
