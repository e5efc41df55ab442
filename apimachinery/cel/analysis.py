"""From the text of an expression to what can be evaluated: parse, check, validate, compile."""

from __future__ import annotations

from typing import NamedTuple

from apimachinery.cel.checker import Checker
from apimachinery.cel.closures import Part
from apimachinery.cel.compiler import compile_node
from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import Issue, compile_error
from apimachinery.cel.parser import parse
from apimachinery.cel.types import CelType
from apimachinery.cel.validators import check_patterns, literal_issues


class Analysis(NamedTuple):
    """The type of an expression, its closure, the size of its frame, and the slots of its variables."""

    result_type: CelType
    part: Part
    frame_size: int
    variables: dict[str, int]


def analyze(expression: str, environment: Environment) -> Analysis:
    """Raises CelCompileError."""
    try:
        return _analyze(expression, environment)
    except RecursionError:
        raise compile_error(expression, [Issue(-1, "max recursion depth exceeded")])


def _analyze(expression: str, environment: Environment) -> Analysis:
    tree = parse(expression)
    checker = Checker(environment)
    result_type = checker.check(tree)
    checker.finish(tree)
    if issues := checker.issues or list(literal_issues(tree)):
        raise compile_error(expression, issues)
    check_patterns(tree)
    return Analysis(result_type, compile_node(tree), checker.slots, checker.variables)
