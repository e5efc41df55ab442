"""Accounts that are held to it let their pods use only Secrets that they list themselves.

Source: https://kubernetes.io/docs/concepts/security/service-accounts/#enforce-mountable-secrets
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from apimachinery import meta
from apimachinery.meta import Object

ANNOTATION = "kubernetes.io/enforce-mountable-secrets"
_TRUE = ("1", "t", "T", "true", "TRUE", "True")


def are_enforced(account: Object) -> bool:
    """Whether an account is held to its list."""
    return meta.annotations(account).get(ANNOTATION) in _TRUE


def problem_of_pod(pod: Object, account: Object) -> str:
    """What a new pod uses that its account does not list; empty if there is nothing."""
    return next(_of_pod(pod["spec"], account), "")


def problem_of_debugging(pod: Object, account: Object) -> str:
    """What containers for debugging use that the pod's account does not list; empty if there is nothing."""
    return next(_of_containers(pod["spec"], account, (("ephemeralContainers", "ephemeral container"),)), "")


def _of_pod(spec: Object, account: Object) -> Iterator[str]:
    listed = _names(account.get("secrets"))
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret is not None and secret not in listed:
            yield f'volume with secret.secretName="{secret}" {_not_listed(account, "secret")}'
    kinds = (("initContainers", "init container"), ("containers", "container"))
    yield from _of_containers(spec, account, kinds)
    listed = _names(account.get("imagePullSecrets"))
    for number, reference in enumerate(spec.get("imagePullSecrets") or ()):
        if reference.get("name") not in listed:
            told = f'imagePullSecrets[{number}].name="{reference.get("name")}"'
            yield f"{told} {_not_listed(account, 'imagePullSecret')}"


def _of_containers(spec: Object, account: Object, kinds: Iterable[tuple[str, str]]) -> Iterator[str]:
    listed = _names(account.get("secrets"))
    for field, called in kinds:
        for container in spec.get(field) or ():
            for what, secret in _used(container):
                if secret not in listed:
                    told = f'{called} {container.get("name")} with {what} referencing secret.secretName="{secret}"'
                    yield f"{told} {_not_listed(account, 'secret')}"


def _used(container: Object) -> Iterator[tuple[str, str]]:
    """(by what, the Secret) of each Secret that a container's variables come from."""
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("secretKeyRef")
        if reference is not None:
            yield f"envVar {variable.get('name')}", reference.get("name") or ""
    for source in container.get("envFrom") or ():
        if source.get("secretRef") is not None:
            yield "envFrom", source["secretRef"].get("name") or ""


def _names(listed: Iterable[dict[str, Any]] | None) -> set[str]:
    return {one.get("name") or "" for one in listed or ()}


def _not_listed(account: Object, what: str) -> str:
    return f"is not allowed because service account {meta.name(account)} does not reference that {what}"
