"""What a validating policy says to one request, with one set of parameters: pure, given what it may look at.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/,
k8s.io/apiserver/pkg/admission/plugin/policy/validating/validator.go
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from apimachinery.cel import CelEvaluationError, CostBudget
from apimachinery.cel.admission import Variables
from apimachinery.meta import Object
from apiserver.admission.matching import Unmatchable
from apiserver.admission.policies.compiled import CompiledPolicy, Expression
from apiserver.registry.expressions import BOOLEAN, TEXT, TEXT_OR_NULL, UnusableExpression

MESSAGE_BYTES_MAX = 5 * 1024
INVALID = "Invalid"

Bindings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Validation:
    """One rule of a policy."""

    number: int
    expression: Expression
    message: str
    message_expression: Expression | None
    reason: str


@dataclass(frozen=True, slots=True)
class Denial:
    """A rule that does not hold, or could not be evaluated; `number` is its place among the rules."""

    number: int
    message: str
    reason: str = INVALID


@dataclass(frozen=True, slots=True)
class Annotation:
    """What is to be told of a request; `error`: why that is not known."""

    key: str
    value: str = ""
    error: str = ""


class ValidatingPolicy(CompiledPolicy):
    """A ValidatingAdmissionPolicy."""

    @cached_property
    def validations(self) -> list[Validation]:
        """Its rules."""
        return [self._validation(*numbered) for numbered in enumerate(self.spec.get("validations") or ())]

    def _validation(self, number: int, listed: Mapping[str, str]) -> Validation:
        text = listed.get("messageExpression")
        return Validation(
            number,
            Expression(self, listed.get("expression") or "", BOOLEAN),
            (listed.get("message") or "").strip(),
            Expression(self, text, TEXT, has_authorizer=False) if text else None,
            listed.get("reason") or INVALID,
        )

    @cached_property
    def annotations(self) -> list[tuple[str, Expression]]:
        """What it tells of requests: (key, expression)."""
        listed = self.spec.get("auditAnnotations") or ()
        return [
            (one.get("key") or "", Expression(self, one.get("valueExpression") or "", TEXT_OR_NULL)) for one in listed
        ]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy says."""

    denials: tuple[Denial, ...] = ()
    annotations: tuple[Annotation, ...] = ()


def judge(policy: ValidatingPolicy, bindings: Bindings, namespace: Object | None) -> Judgement:
    """What a policy says to a request.

    `bindings` are the variables of its expressions but for `namespaceObject`, which match conditions don't see.
    """
    if policy.conditions is not None:
        try:
            if not policy.conditions.match({**bindings, "namespaceObject": None}):
                return Judgement()
        except Unmatchable as error:
            return Judgement((Denial(0, str(error)),))
    seen = {**bindings, "namespaceObject": namespace}
    try:
        denials = tuple(_denials(policy, seen))
    except _OutOfBudget as error:
        return Judgement(() if policy.ignores_failure else (Denial(0, str(error)),))
    return Judgement(denials, tuple(_annotations(policy, seen)))


class _OutOfBudget(Exception):
    pass


def _evaluate(expression: Expression, bindings: Bindings, budget: CostBudget) -> Any:
    """The value. Raises CelEvaluationError in Kubernetes' words, or _OutOfBudget."""
    try:
        return expression.program.evaluate(bindings, budget=budget)
    except UnusableExpression as error:
        raise CelEvaluationError(f"compilation error: {error}") from error
    except CelEvaluationError as error:
        if budget.remaining < 0:
            raise _OutOfBudget(str(error)) from error
        raise CelEvaluationError(f"expression '{expression.text}' resulted in error: {error}") from error


def _denials(policy: ValidatingPolicy, bindings: Bindings) -> Iterator[Denial]:
    budget = CostBudget()
    with_variables = Variables(policy.variables, bindings, budget).bindings
    broken: list[Validation] = []
    for validation in policy.validations:
        try:
            if _evaluate(validation.expression, with_variables, budget) is not True:
                broken.append(validation)
        except CelEvaluationError as error:
            if not policy.ignores_failure:
                yield Denial(validation.number, str(error), "")
    # Messages get what rules have left of the budget.
    for validation in broken:
        try:
            yield Denial(validation.number, _message(validation, with_variables, budget), validation.reason)
        except _OutOfBudget as error:
            if not policy.ignores_failure:
                yield Denial(validation.number, f"failed messageExpression: {error}", "")


def _message(validation: Validation, bindings: Bindings, budget: CostBudget) -> str:
    message = ""
    if validation.message_expression is not None:
        try:
            message = _usable(_evaluate(validation.message_expression, bindings, budget))
        except CelEvaluationError:
            message = ""  # then the message counts that is always the same
    return message or validation.message or f"failed expression: {validation.expression.text.strip()}"


def _usable(value: Any) -> str:
    """A message of one line that is not too long; anything else is none."""
    text = value.strip() if isinstance(value, str) else ""
    return "" if "\n" in text or len(text.encode()) > MESSAGE_BYTES_MAX else text


def _annotations(policy: ValidatingPolicy, bindings: Bindings) -> Iterator[Annotation]:
    budget = CostBudget()
    with_variables = Variables(policy.variables, bindings, budget).bindings
    for key, expression in policy.annotations:
        try:
            value = _evaluate(expression, with_variables, budget)
        except (CelEvaluationError, _OutOfBudget) as error:
            if not policy.ignores_failure:
                yield Annotation(key, error=str(error))
            continue
        if isinstance(value, str) and value.strip():
            yield Annotation(key, value.strip())
