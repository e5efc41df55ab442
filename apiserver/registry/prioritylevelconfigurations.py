"""PriorityLevelConfigurations: how much of the server requests of a level may have.

Source: kubernetes/pkg/apis/flowcontrol/v1/defaults.go, validation/validation.go and the printers.
"""

from __future__ import annotations

import math

from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import PRIORITYLEVELCONFIGURATIONS
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.flowschemas import EXEMPT, validate_condition_types
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, CellOf, Column, Strategy, keep_spec

SHARES = 30
QUEUES_MAX = 10_000_000
# Of the 64 bits of a hash so many serve to deal a flow its hand of queues.
HASH_BITS_MAX = 60
_QUEUING = {"queues": 64, "handSize": 8, "queueLengthLimit": 50}


def default(level: Object) -> None:
    """A share of moderate size, and a hand of eight out of 64 queues."""
    spec = level.setdefault("spec", {})
    for kind, shares in (("exempt", 0), ("limited", SHARES)):
        share = spec.get(kind)
        if share is not None:
            for field, value in (("nominalConcurrencyShares", shares), ("lendablePercent", 0)):
                if share.get(field) is None:
                    share[field] = value
    queuing = get_path(spec, "limited", "limitResponse", "queuing")
    if queuing is not None:
        for field, value in _QUEUING.items():
            if not queuing.get(field):
                queuing[field] = value


def validate(level: Object) -> Errors:
    """What is wrong with a level in itself."""
    errors: Errors = []
    spec, name = level.get("spec") or {}, level["metadata"].get("name")
    kind, exempt, limited = spec.get("type") or "", spec.get("exempt"), spec.get("limited")
    if (name == EXEMPT) != (kind == "Exempt"):
        why = "must be 'Exempt' if and only if `name` is 'exempt'"
        errors.append(invalid_value("spec.type", kind, why))
    if kind == "Exempt":
        if limited is not None:
            errors.append(forbidden_field("spec.limited", "must be nil if the type is not Limited"))
        if exempt is not None:
            _validate_share(exempt, "spec.exempt", errors)
    elif kind == "Limited":
        if exempt is not None:
            errors.append(forbidden_field("spec.exempt", "must be nil if the type is Limited"))
        if limited is None:
            errors.append(required("spec.limited", "must not be empty when type is Limited"))
        else:
            _validate_share(limited, "spec.limited", errors)
            _validate_response(limited.get("limitResponse") or {}, "spec.limited.limitResponse", errors)
            borrowed = limited.get("borrowingLimitPercent")
            if borrowed is not None and borrowed < 0:
                why = "if specified, must be a non-negative integer"
                errors.append(invalid_value("spec.limited.borrowingLimitPercent", borrowed, why))
    else:
        errors.append(not_supported("spec.type", kind, ("Exempt", "Limited")))
    return errors


def _validate_share(share: Fields, path: str, errors: Errors) -> None:
    shares, percent = share.get("nominalConcurrencyShares"), share.get("lendablePercent")
    if shares is not None and shares < 0:
        errors.append(invalid_value(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if percent is not None and not 0 <= percent <= 100:
        errors.append(invalid_value(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive"))


def _validate_response(response: Fields, path: str, errors: Errors) -> None:
    kind, queuing = response.get("type") or "", response.get("queuing")
    if kind == "Reject":
        if queuing is not None:
            why = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(forbidden_field(f"{path}.queuing", why))
    elif kind != "Queue":
        errors.append(not_supported(f"{path}.type", kind, ("Queue", "Reject")))
    elif queuing is None:
        why = "must not be empty if limited.limitResponse.type is Limited"
        errors.append(required(f"{path}.queuing", why))
    else:
        _validate_queuing(queuing, f"{path}.queuing", errors)


def _validate_queuing(queuing: Fields, path: str, errors: Errors) -> None:
    queues, hand = queuing.get("queues") or 0, queuing.get("handSize") or 0
    for field in ("queueLengthLimit", "queues", "handSize"):
        value = queuing.get(field) or 0
        if value <= 0:
            errors.append(invalid_value(f"{path}.{field}", value, "must be positive"))
    if queues > QUEUES_MAX:
        errors.append(invalid_value(f"{path}.queues", queues, f"must not be greater than {QUEUES_MAX}"))
    if hand > queues:
        errors.append(invalid_value(f"{path}.handSize", hand, f"should not be greater than queues ({queues})"))
    elif hand > 0 and math.ceil(math.log2(queues) * hand) > HASH_BITS_MAX:
        why = (
            f"required entropy bits of deckSize {queues} and handSize {hand} should not be greater than "
            f"{HASH_BITS_MAX}"
        )
        errors.append(invalid_value(f"{path}.handSize", hand, why))


def validate_status(level: Object, old: Object) -> Errors:
    """Conditions of different types."""
    errors: Errors = []
    validate_condition_types(get_path(level, "status", "conditions", default=()), errors)
    return errors


def _kind(level: Object) -> Cell:
    found: str = get_path(level, "spec", "type", default="")
    return found


def _number(*path: str) -> CellOf:
    def cell(level: Object) -> Cell:
        found: int | str = get_path(level, "spec", "limited", *path, default=NONE)
        return found

    return cell


_IN_QUEUING = ("limitResponse", "queuing")
STRATEGY = Strategy(
    PRIORITYLEVELCONFIGURATIONS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Type", _kind, description="Whether its requests are limited."),
        Column(
            "NominalConcurrencyShares",
            _number("nominalConcurrencyShares"),
            description="Its share of the requests that run at a time.",
        ),
        Column("Queues", _number(*_IN_QUEUING, "queues"), description="How many queues there are."),
        Column("HandSize", _number(*_IN_QUEUING, "handSize"), description="How many a flow may use."),
        Column("QueueLengthLimit", _number(*_IN_QUEUING, "queueLengthLimit"), description="How long each may get."),
        AGE,
    ),
    counts_generations=True,
    status_resets=("spec", "metadata"),
)
