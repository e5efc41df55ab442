"""The expressions of a policy, compiled when they are first needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from apimachinery.cel import CelType, Program
from apimachinery.meta import Object, get_path, name
from apiserver.admission.match_conditions import MatchConditions
from apiserver.registry.expressions import UnusableExpression, compiled, environment_of


class Expression:
    """One expression of a policy; what is wrong with it is found when it is first needed."""

    def __init__(
        self, policy: CompiledPolicy, text: str, types: Sequence[CelType] | None, **environment: bool
    ) -> None:
        self.text = text
        self._policy = policy
        self._types = types
        self._environment = environment

    @cached_property
    def program(self) -> Program:
        """Raises UnusableExpression."""
        policy = self._policy
        environment = environment_of(policy.spec, policy.variable_types, **self._environment)
        return compiled(self.text, environment, self._types)


class CompiledPolicy:
    """What validating and mutating policies have in common."""

    def __init__(self, policy: Object) -> None:
        self.name = name(policy)
        self.spec: Mapping[str, Any] = policy.get("spec") or {}
        self.ignores_failure = self.spec.get("failurePolicy") == "Ignore"
        self.param_kind: Mapping[str, str] | None = get_path(policy, "spec", "paramKind")

    @cached_property
    def conditions(self) -> MatchConditions | None:
        """Its match conditions, None if it has none."""
        listed = self.spec.get("matchConditions")
        if not listed:
            return None
        return MatchConditions(listed, environment_of(self.spec), ignore=self.ignores_failure)

    @property
    def variable_types(self) -> Mapping[str, CelType]:
        """The types of its variables."""
        return {called: program.result_type for called, program in self.variables.items()}

    @cached_property
    def variables(self) -> Mapping[str, Program]:
        """Its variables, each of which may refer to those before it."""
        programs: dict[str, Program] = {}
        for variable in self.spec.get("variables") or ():
            types = {called: program.result_type for called, program in programs.items()}
            try:
                program = compiled(variable.get("expression") or "", environment_of(self.spec, types))
            except UnusableExpression:
                continue  # whoever refers to it finds that there is none
            programs[variable.get("name") or ""] = program
        return programs
