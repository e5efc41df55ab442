"""One webhook is asked about one request: whether it must be, and what its answer does.

What fails on the way (no connection, no answer in time, an answer that is none) is a `CallFailed`, for which the
webhook's failure policy says whether the request goes on. That it says no is a refusal, whatever its policy.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import bad_request, internal
from apimachinery.managedfields.entries import Managed, encoded
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.admission.matching import Candidate, Unmatchable
from apiserver.admission.plugin import Attributes, Cluster, refused
from apiserver.admission.requests import Permissions, admission_request
from apiserver.admission.served import Served
from apiserver.admission.webhooks.hooks import Hook, Hooks
from apiserver.admission.webhooks.review import Answer, BadAnswer, read_answer, refusal, review
from apiserver.authorization import Authorizer
from apiserver.logs import kv
from apiserver.registry.webhooks import REVIEW_VERSIONS
from apiserver.webhook_client import WebhookClient, WebhookError

log = logging.getLogger(__name__)


class CallFailed(Exception):
    """A webhook has not answered; the message says why."""


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What both kinds of webhooks need: what their conditions may look at and ask, and how they are reached."""

    cluster: Cluster
    served: Served
    authorizer: Authorizer
    client: WebhookClient

    def configured(self, resource: Resource) -> Hooks:
        """Those of one kind of configuration."""
        return Hooks(self.cluster, self.served, resource)

    async def match(
        self, candidate: Candidate[Hook], attributes: Attributes, permissions: Permissions
    ) -> Resource | None:
        """As which resource a request matches; None if the webhook is not to be asked. Raises ApiError."""
        matched = candidate.match(attributes, self.cluster)
        conditions = candidate.item.conditions
        if matched is None or conditions is None:
            return matched
        obj, old = await self.objects(attributes, matched)
        request = admission_request(attributes, matched)
        bindings: Mapping[str, Any] = {
            **permissions.bindings(),
            **{"object": obj, "oldObject": old, "request": request, "namespaceObject": None},
        }
        try:
            return matched if conditions.match(bindings) else None
        except Unmatchable as error:
            raise refused(attributes, str(error)) from error

    async def objects(self, attributes: Attributes, matched: Resource) -> tuple[Object | None, Object | None]:
        """The new and the old object, in the form that the webhook has asked for."""
        obj, old = _whole(attributes.obj, attributes.managed), _whole(attributes.old, attributes.old_managed)
        if attributes.sent_as is not None:
            return obj, old  # what is sent to a subresource has one version only
        return (
            await self.served.converted(obj, matched) if obj is not None else None,
            await self.served.converted(old, matched) if old is not None else None,
        )

    async def ask(self, hook: Hook, attributes: Attributes, matched: Resource, *, mutates: bool) -> Answer:
        """What a webhook says to a request that it allows. Raises CallFailed, or ApiError if it does not."""
        if attributes.dry_run and not hook.dry_runs:
            raise bad_request(f'admission webhook "{hook.name}" does not support dry run')
        answer = await self._call(hook, attributes, matched, mutates=mutates)
        for key, value in answer.annotations.items():
            attributes.annotate(f"{hook.name}/{key}", value)
        for text in answer.warnings:
            attributes.warn(text)
        if not answer.allowed:
            raise refusal(hook.name, answer.status)
        return answer

    async def _call(self, hook: Hook, attributes: Attributes, matched: Resource, *, mutates: bool) -> Answer:
        version = next((version for version in hook.versions if version in REVIEW_VERSIONS), None)
        if version is None:
            told = "webhook does not accept known AdmissionReview versions (v1, v1beta1)"
            raise CallFailed(f"could not create admission objects: {told}")
        uid = str(uuid.uuid4())
        obj, old = await self.objects(attributes, matched)
        document = review(version, uid, admission_request(attributes, matched), obj, old)
        try:
            answered = await self.client.ask(hook.client, document, seconds=hook.seconds)
        except WebhookError as error:
            raise CallFailed(f"failed to call webhook: {error}") from error
        try:
            return read_answer(answered, version, uid, mutates=mutates)
        except BadAnswer as error:
            raise CallFailed(f"received invalid webhook response: {error}") from error


def _whole(obj: Object | None, managed: Managed) -> Object | None:
    """An object with its managers, as clients see it."""
    if obj is None or not managed or "managedFields" in obj["metadata"]:
        return obj
    return {**obj, "metadata": {**obj["metadata"], "managedFields": encoded(managed)}}


def settle_failure(hook: Hook, error: CallFailed, attributes: Attributes, where: str) -> None:
    """What becomes of a request if a webhook could not be asked: it goes on, or ends here. Raises ApiError 500."""
    told = f'failed calling webhook "{hook.name}": {error}'
    if not hook.ignores_failure:
        raise internal(told) from error
    log.warning(kv("webhook failed and is ignored", webhook=hook.name, error=error))
    attributes.annotate(f"failed-open.{where}", hook.name)
