"""Compiling an expression, and evaluating it as often as needed."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from apimachinery.cel.closures import COST, LIMIT
from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import Cancelled, CelCostError, CelEvaluationError
from apimachinery.cel.types import CelType
from apimachinery.cel.wire import conversion

# Kubernetes' limits, in its units of cost: one expression; all of one object's rules, or of one policy's binding;
# the match conditions of one webhook or policy.
PER_CALL_LIMIT = 1_000_000
RUNTIME_COST_BUDGET = 10_000_000
MATCH_CONDITIONS_COST_BUDGET = 2_500_000
_BUDGET_SPENT = "validation failed due to running out of cost budget, no further validation rules will be run"


class CostBudget:
    """What is left for several evaluations together."""

    def __init__(self, units: int = RUNTIME_COST_BUDGET) -> None:
        self.remaining = units

    def charge(self, cost: int) -> None:
        """Takes the cost of one evaluation. Raises CelCostError when more was spent than there was."""
        self.remaining -= cost
        if self.remaining < 0:
            raise CelCostError(_BUDGET_SPENT)


class Program:
    """A compiled expression; `references` are the declared variables that it uses."""

    def __init__(self, expression: str, environment: Environment) -> None:
        # Imported when first needed: few processes that import this package compile anything at their start.
        from apimachinery.cel.analysis import analyze

        analysis = analyze(expression, environment)
        self.expression = expression
        self.result_type: CelType = analysis.result_type
        self._part = analysis.part
        self._frame_size = analysis.frame_size
        self._variables = [
            (name, slot, conversion(environment.variables[name])) for name, slot in analysis.variables.items()
        ]

    @cached_property
    def references(self) -> frozenset[str]:
        """The names of the variables that the expression uses."""
        return frozenset(name for name, _, _ in self._variables)

    def evaluate(self, bindings: Mapping[str, Any], *, budget: CostBudget | None = None) -> Any:
        """The value for these variables.

        Raises CelEvaluationError, and CelCostError if the expression costs more than Kubernetes lets one cost or
        than is left of the budget.
        """
        value, cost = self.evaluate_with_cost(bindings)
        if budget is not None:
            budget.charge(cost)
        return value

    def evaluate_with_cost(self, bindings: Mapping[str, Any], *, limit: int = PER_CALL_LIMIT) -> tuple[Any, int]:
        """The value and what it cost. Raises as `evaluate`."""
        frame: list[Any] = [None] * self._frame_size
        frame[COST], frame[LIMIT] = self._part.cost, limit
        for name, slot, convert in self._variables:
            if name not in bindings:
                raise CelEvaluationError(f"no such attribute(s): {name}")
            frame[slot] = bindings[name] if convert is None else convert(bindings[name])
        try:
            value = self._part.evaluate(frame)
        except Cancelled as error:
            raise CelCostError(str(error)) from error
        except RecursionError as error:
            raise CelEvaluationError("the expression or a value is nested too deeply") from error
        if frame[COST] > limit:
            raise CelCostError("operation cancelled: actual cost limit exceeded")
        return value, frame[COST]


def compile(expression: str, environment: Environment) -> Program:
    """The program of an expression. Raises CelCompileError."""
    return Program(expression, environment)
