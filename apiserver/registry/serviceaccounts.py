"""ServiceAccounts."""

from __future__ import annotations

from apimachinery.meta import Object
from apimachinery.resources import SERVICEACCOUNTS
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all


def _secrets(account: Object) -> Cell:
    return len(account.get("secrets") or ())


STRATEGY = Strategy(
    SERVICEACCOUNTS,
    prepare_create=nothing,
    prepare_update=replace_all,
    columns=(NAME, Column("Secrets", _secrets, description="The number of secrets that belong to it."), AGE),
)
