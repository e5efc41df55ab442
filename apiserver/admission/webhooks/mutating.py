"""MutatingAdmissionWebhook: webhooks are asked one after the other, and each sees what those before it have changed.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.errors import ApiError, internal
from apimachinery.meta import Object
from apimachinery.patch import json_patch
from apimachinery.resources import MUTATINGWEBHOOKCONFIGURATIONS, Resource
from apiserver.admission.plugin import ANY_SUBRESOURCE, ANYTHING, Attributes, Cluster, Plugin
from apiserver.admission.reinvocation import reinvocation_of
from apiserver.admission.requests import Permissions
from apiserver.admission.reshaping import replace_object
from apiserver.admission.webhooks.asking import CallFailed, Webhooks, settle_failure
from apiserver.admission.webhooks.hooks import Hook

NAME = "MutatingAdmissionWebhook"
_ANNOTATIONS = "mutation.webhook.admission.k8s.io/"


def plugin(webhooks: Webhooks) -> Plugin:
    """The plugin over all webhooks that are configured."""
    hooks = webhooks.configured(MUTATINGWEBHOOKCONFIGURATIONS)

    async def mutate(attributes: Attributes, cluster: Cluster) -> None:
        candidates = hooks.candidates(attributes)
        if not candidates:
            return
        known, permissions = reinvocation_of(attributes, NAME), Permissions(webhooks.authorizer, attributes)
        known.begin()
        for number, candidate in enumerate(candidates):
            hook = candidate.item
            matched = await webhooks.match(candidate, attributes, permissions)
            if matched is None or known.skips(hook.key):
                continue
            try:
                changed = await _ask(webhooks, hook, attributes, matched)
            except CallFailed as error:
                where = f"{_ANNOTATIONS}round_{attributes.round}_index_{number}"
                settle_failure(hook, error, attributes, where)
                changed = False
            known.was_asked(hook.key, changed=changed, wants_again=hook.reinvoked)
        known.end()

    return Plugin(NAME, ANYTHING, mutate=mutate, subresources=ANY_SUBRESOURCE)


async def _ask(webhooks: Webhooks, hook: Hook, attributes: Attributes, matched: Resource) -> bool:
    """Whether a webhook has changed the object. Raises CallFailed, or ApiError if it refuses."""
    answer = await webhooks.ask(hook, attributes, matched, mutates=True)
    if not answer.patch:
        return False
    if attributes.obj is None:
        told = f'admission webhook "{hook.name}" attempted to modify the object'
        raise internal(f"{told}, which is not supported for this operation")
    shown, _ = await webhooks.objects(attributes, matched)
    assert shown is not None
    return await replace_object(attributes, webhooks.served, _patched(shown, answer.patch))


def _patched(obj: Object, patch: Sequence[Any]) -> Object:
    try:
        found: Object = json_patch(obj, list(patch))
    except ApiError as error:
        raise internal(error.message) from error
    return found
