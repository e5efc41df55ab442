"""Match conditions: expressions that must all hold of a request before a webhook or policy is asked about it.

One that is false settles it, whatever is wrong with others. If none is false and some could not be evaluated, the
failure policy counts: the request is refused, or goes on as if there were no match.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-matchconditions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from apimachinery.cel import (
    MATCH_CONDITIONS_COST_BUDGET,
    CelEvaluationError,
    CostBudget,
    Environment,
    Program,
)
from apiserver.admission.matching import Unmatchable
from apiserver.registry.expressions import BOOLEAN, UnusableExpression, compiled

Bindings = Mapping[str, Any]


class MatchConditions:
    """The conditions of one webhook or policy; compiled when they are first needed."""

    def __init__(self, conditions: Sequence[Mapping[str, str]], environment: Environment, *, ignore: bool) -> None:
        """`ignore`: what can't be told is no match."""
        self._expressions = [condition.get("expression") or "" for condition in conditions]
        self._environment = environment
        self._ignore = ignore

    @cached_property
    def _programs(self) -> list[Program | str]:
        """For each condition its program, or what is wrong with it."""
        return [_program(expression, self._environment) for expression in self._expressions]

    def match(self, bindings: Bindings) -> bool:
        """Whether a request matches. Raises Unmatchable."""
        budget = CostBudget(MATCH_CONDITIONS_COST_BUDGET)
        problems: list[str] = []
        for expression, program in zip(self._expressions, self._programs, strict=True):
            try:
                if isinstance(program, str):
                    problems.append(f"compilation error: {program}")
                elif program.evaluate(bindings, budget=budget) is False:
                    return False
            except CelEvaluationError as error:
                if budget.remaining < 0:
                    problems = [str(error)]
                    break
                problems.append(f"expression '{expression}' resulted in error: {error}")
        if problems and not self._ignore:
            raise Unmatchable(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
        return not problems


def _program(expression: str, environment: Environment) -> Program | str:
    try:
        return compiled(expression, environment, BOOLEAN)
    except UnusableExpression as error:
        return str(error)
