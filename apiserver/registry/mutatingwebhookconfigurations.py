"""MutatingWebhookConfigurations: who may change what a request brings."""

from __future__ import annotations

from apimachinery.meta import Object
from apimachinery.resources import MUTATINGWEBHOOKCONFIGURATIONS
from apiserver.registry.strategy import Strategy, nothing, replace_all
from apiserver.registry.webhooks import COLUMNS, default_webhooks, validate_webhooks


def default(configuration: Object) -> None:
    """Asked of everything, and what can't be asked is refused."""
    default_webhooks(configuration, reinvocation=True)


STRATEGY = Strategy(
    MUTATINGWEBHOOKCONFIGURATIONS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate_webhooks,
    columns=COLUMNS,
    counts_generations=True,
    unconditional_update=False,
)
