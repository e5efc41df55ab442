"""Publishes the cluster's authority in every namespace as the ConfigMap `kube-root-ca.crt`, for pods to trust.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/ (root CA publication)
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object, deletion_requested, name, namespace
from apimachinery.resources import CONFIGMAPS, NAMESPACES
from controllers.context import Context
from controllers.requests import create_if_absent, replacing

CONFIG_MAP = "kube-root-ca.crt"
DESCRIPTION = "kubernetes.io/description"
DESCRIPTION_TEXT = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of "
    "Kubernetes clusters."
)


class RootCaPublisher:
    """One control loop over all namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._data = {"ca.crt": context.options.root_ca or ""}
        self._namespaces = context.informers.of(NAMESPACES)
        self._config_maps = context.informers.whole.informer(CONFIGMAPS, field_selector=f"metadata.name={CONFIG_MAP}")
        self.informers = (self._namespaces, self._config_maps)
        self.queue = context.queue()
        self._namespaces.add_handler(self._namespace_changed)
        self._config_maps.add_handler(self._config_map_changed)

    def _namespace_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(name(new))

    def _config_map_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        config_map = new or old
        assert config_map is not None
        self.queue.add(namespace(config_map))

    async def reconcile(self, key: str) -> None:
        """Create the namespace's ConfigMap, or set it right."""
        scope = self._namespaces.get(key)
        if scope is None or deletion_requested(scope):
            return
        note = {DESCRIPTION: DESCRIPTION_TEXT}
        known = self._config_maps.get(f"{key}/{CONFIG_MAP}")
        if known is None:
            metadata = {"name": CONFIG_MAP, "namespace": key, "annotations": note}
            config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": self._data}
            await create_if_absent(self._client, CONFIGMAPS, config_map)
        elif known.get("data") != self._data or meta.annotations(known).get(DESCRIPTION) != DESCRIPTION_TEXT:
            data = replacing(known.get("data") or {}, self._data)
            await self._client.patch(CONFIGMAPS, CONFIG_MAP, {"metadata": {"annotations": note}, "data": data}, key)
