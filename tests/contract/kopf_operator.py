"""An operator as its author would write it with kopf; `test_kopf.py` runs it as a process.

For each Shop it keeps a ConfigMap with the shop's goods, counts its rounds, and closes up before it goes.
"""

from typing import Any

import kopf
import kubernetes


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "shops.example.com/close-up"
    settings.posting.level = 20
    settings.watching.server_timeout = 30


@kopf.on.create("example.com", "v1", "shops")
def open_shop(body: kopf.Body, spec: kopf.Spec, name: str, namespace: str, **_: Any) -> dict[str, str]:
    goods = {"metadata": {"name": f"{name}-goods"}, "data": {"goods": ",".join(spec["goods"])}}
    kopf.adopt(goods, owner=body)
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, goods)
    kopf.info(body, reason="Opened", message=f"{name} is open")
    return {"goods": f"{name}-goods"}


@kopf.on.field("example.com", "v1", "shops", field="spec.goods")
def restock(old: Any, new: Any, name: str, namespace: str, **_: Any) -> None:
    if old is not None:
        data = {"data": {"goods": ",".join(new)}}
        kubernetes.client.CoreV1Api().patch_namespaced_config_map(f"{name}-goods", namespace, data)


@kopf.timer("example.com", "v1", "shops", interval=0.2)
def make_a_round(status: kopf.Status, patch: kopf.Patch, **_: Any) -> None:
    patch.status["rounds"] = status.get("rounds", 0) + 1


@kopf.on.delete("example.com", "v1", "shops")
def close_up(name: str, namespace: str, **_: Any) -> None:
    body = {"metadata": {"name": f"{name}-closed"}}
    kubernetes.client.CoreV1Api().create_namespaced_config_map(namespace, body)


@kopf.on.event("", "v1", "configmaps", labels={"watched": "yes"})
def notice(event: kopf.RawEvent, name: str, namespace: str, labels: kopf.Labels, **_: Any) -> None:
    if event["type"] != "DELETED" and "noticed" not in labels:
        patch = {"metadata": {"labels": {"noticed": "yes"}}}
        kubernetes.client.CoreV1Api().patch_namespaced_config_map(name, namespace, patch)
