"""CEL in what admission goes by: match conditions of webhooks, and policies. Whether an expression compiles is said
when it is written, in Kubernetes' words.

Source: kubernetes/pkg/apis/admissionregistration/validation/validation.go, k8s.io/apiserver/pkg/admission/plugin/cel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.cel import (
    BOOL,
    DYN,
    NULL,
    STRING,
    CelCompileError,
    CelType,
    Environment,
    Program,
    compile,
    list_of,
    object_type,
)
from apimachinery.cel.admission import admission_environment
from apimachinery.field import FieldError, invalid_value

BOOLEAN, TEXT, TEXT_OR_NULL = (BOOL,), (STRING,), (STRING, NULL)

# What the expressions of mutations give, by the type of the patch.
MUTATION_TYPES: Mapping[str, Sequence[CelType]] = {
    "JSONPatch": (list_of(object_type("JSONPatch")),),
    "ApplyConfiguration": (object_type("Object"),),
}


class UnusableExpression(Exception):
    """An expression that can't be used; the message says why."""


def compiled(expression: str, environment: Environment, types: Sequence[CelType] | None = None) -> Program:
    """The program of an expression that gives one of these types (None: any). Raises UnusableExpression."""
    try:
        program = compile(expression, environment)
    except CelCompileError as error:
        raise UnusableExpression(str(error)) from error
    if types is not None and program.result_type not in types:
        wanted = f"{types[0]}" if len(types) == 1 else f"one of [{' '.join(map(str, types))}]"
        raise UnusableExpression(f"must evaluate to {wanted} but got {program.result_type}")
    return program


def problems(
    expression: str, environment: Environment, types: Sequence[CelType] | None, path: str
) -> list[FieldError]:
    """What is wrong with an expression of an object."""
    try:
        compiled(expression, environment, types)
    except UnusableExpression as error:
        return [invalid_value(path, expression, str(error))]
    return []


def type_of(
    expression: str, spec: Mapping[str, Any], variables: Mapping[str, CelType], path: str, errors: list[FieldError]
) -> CelType:
    """The type of a policy's variable, which may refer to those before it; any if the expression is wrong."""
    try:
        return compiled(expression, environment_of(spec, variables)).result_type
    except UnusableExpression as error:
        errors.append(invalid_value(path, expression, str(error)))
        return DYN


def environment_of(
    spec: Mapping[str, Any],
    variables: Mapping[str, CelType] | None = None,
    *,
    has_authorizer: bool = True,
    mutates: bool = False,
) -> Environment:
    """What the expressions of a policy may refer to; match conditions can't use its variables (None)."""
    return admission_environment(
        params_type=DYN if spec.get("paramKind") is not None else None,
        has_authorizer=has_authorizer,
        variables=variables,
        mutates=mutates,
    )
