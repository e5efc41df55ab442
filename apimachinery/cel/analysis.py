"""From the text of an expression to what can be evaluated: parse, check, validate, compile."""

from __future__ import annotations

from typing import NamedTuple

from apimachinery.cel.checker import Checker
from apimachinery.cel.closures import Part
from apimachinery.cel.compiler import compile_node
from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import compile_error, too_deep
from apimachinery.cel.parser import parse
from apimachinery.cel.syntax import Node
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
        raise too_deep(expression)


def _analyze(expression: str, environment: Environment) -> Analysis:
    tree, checker = _checked(expression, environment)
    return Analysis(tree.type, compile_node(tree), checker.slots, checker.variables)


def checked_tree(expression: str, environment: Environment) -> Node:
    """The tree of an expression with its types. Raises CelCompileError."""
    return _checked(expression, environment)[0]


def _checked(expression: str, environment: Environment) -> tuple[Node, Checker]:
    tree = parse(expression)
    checker = Checker(environment)
    checker.check(tree)
    if issues := checker.issues or list(literal_issues(tree)):
        raise compile_error(expression, issues)
    check_patterns(tree)
    return tree, checker
