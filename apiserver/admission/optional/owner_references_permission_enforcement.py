"""OwnerReferencesPermissionEnforcement: nobody has objects deleted or kept by owners who could not do so otherwise.

Whoever gives an object that is there another owner may delete it. Whoever makes an owner wait for it may change the
owner's finalizers.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#ownerreferencespermissionenforcement
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from apimachinery.meta import Object
from apiserver.admission.plugin import ANY_SUBRESOURCE, CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer
from apiserver.decision import Decision
from apiserver.request_info import RequestInfo

# Nodes tell what becomes of pods, and own none.
_NOT_LOOKED_AT = ("", "pods", "status")


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin, which asks what the writer may do besides."""

    async def check(attributes: Attributes, cluster: Cluster) -> None:
        new, old = _owners(attributes.obj), _owners(attributes.old)
        if new == old or (*attributes.resource.key, attributes.subresource) == _NOT_LOOKED_AT:
            return
        if attributes.operation != CREATE:
            _require_deletion(attributes, authorizer)
        blocking = list(_newly_blocking(new, old))
        if blocking and not authorizer.decide(attributes.user, _finalizers("*", "*", "*", "*", "")).allowed:
            for owner in blocking:
                _require_finalizers(attributes, authorizer, served, owner)

    return Plugin(
        "OwnerReferencesPermissionEnforcement", (CREATE, UPDATE), validate=check, subresources=ANY_SUBRESOURCE
    )


def _owners(obj: Object | None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ((obj or {}).get("metadata") or {}).get("ownerReferences") or []
    return found


def _newly_blocking(new: list[dict[str, Any]], old: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    before = {owner.get("uid") for owner in old if owner.get("blockOwnerDeletion")}
    return (owner for owner in new if owner.get("blockOwnerDeletion") and owner.get("uid") not in before)


def _require_deletion(attributes: Attributes, authorizer: Authorizer) -> None:
    resource = attributes.resource
    asked = RequestInfo(
        "delete",
        "",
        resource.group,
        resource.version,
        resource.plural,
        attributes.subresource,
        attributes.namespace,
        attributes.name,
    )
    decision = authorizer.decide(attributes.user, asked)
    if not decision.allowed:
        raise refused(attributes, f"cannot set an ownerRef on a resource you can't delete: {_why(decision)}")


def _require_finalizers(
    attributes: Attributes, authorizer: Authorizer, served: Served, owner: dict[str, Any]
) -> None:
    api_version, kind = owner.get("apiVersion") or "", owner.get("kind") or ""
    resource = served.by_kind(api_version, kind)
    if resource is None:
        told = f'cannot find RESTMapping for APIVersion {api_version} Kind {kind}: no matches for kind "{kind}" in'
        raise refused(
            attributes, f'cannot set blockOwnerDeletion in this case because {told} version "{api_version}"'
        )
    # An owner that is in a namespace is in that of what it owns.
    scope = attributes.namespace if resource.namespaced else ""
    asked = _finalizers(resource.group, resource.version, resource.plural, owner.get("name") or "", scope)
    decision = authorizer.decide(attributes.user, asked)
    if not decision.allowed:
        told = "if an ownerReference refers to a resource you can't set finalizers on"
        raise refused(attributes, f"cannot set blockOwnerDeletion {told}: {_why(decision)}")


def _finalizers(group: str, version: str, plural: str, name: str, namespace: str) -> RequestInfo:
    return RequestInfo("update", "", group, version, plural, "finalizers", namespace, name)


def _why(decision: Decision) -> str:
    return f"{decision.reason}, <nil>"
