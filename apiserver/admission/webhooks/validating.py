"""ValidatingAdmissionWebhook: all webhooks that a request matches are asked at once, and each can refuse it.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/
"""

from __future__ import annotations

import asyncio

from apimachinery.resources import VALIDATINGWEBHOOKCONFIGURATIONS, Resource
from apiserver.admission.plugin import ANY_SUBRESOURCE, ANYTHING, Attributes, Cluster, Plugin
from apiserver.admission.requests import Permissions
from apiserver.admission.webhooks.asking import CallFailed, Webhooks, settle_failure
from apiserver.admission.webhooks.hooks import Hook

_ANNOTATIONS = "validating.webhook.admission.k8s.io/"


def plugin(webhooks: Webhooks) -> Plugin:
    """The plugin over all webhooks that are configured."""
    hooks = webhooks.configured(VALIDATINGWEBHOOKCONFIGURATIONS)

    async def validate(attributes: Attributes, cluster: Cluster) -> None:
        candidates = hooks.candidates(attributes)
        if not candidates:
            return
        permissions = Permissions(webhooks.authorizer, attributes)
        asked: list[tuple[Hook, Resource]] = []
        for candidate in candidates:
            matched = await webhooks.match(candidate, attributes, permissions)
            if matched is not None:
                asked.append((candidate.item, matched))
        results = await asyncio.gather(
            *(_ask(webhooks, hook, attributes, matched, number) for number, (hook, matched) in enumerate(asked)),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    return Plugin("ValidatingAdmissionWebhook", ANYTHING, validate=validate, subresources=ANY_SUBRESOURCE)


async def _ask(webhooks: Webhooks, hook: Hook, attributes: Attributes, matched: Resource, number: int) -> None:
    try:
        await webhooks.ask(hook, attributes, matched, mutates=False)
    except CallFailed as error:
        settle_failure(hook, error, attributes, f"{_ANNOTATIONS}round_0_index_{number}")
