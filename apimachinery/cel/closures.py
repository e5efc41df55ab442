"""What compiled nodes have in common.

Every node becomes a function of the frame that returns its value. A frame is a list: what the evaluation has cost,
what it may cost, then the variables by their slots. Costs that are known before are added once for each stretch that
runs as a whole (the expression, an operand that may be skipped, a turn of a loop), so that most nodes do nothing for
them. An error is an exception, and `&&`, `||`, `all` and `exists` absorb those of their operands.

Source of costs: github.com/google/cel-go/interpreter/runtimecost.go, with Kubernetes' own for its functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from apimachinery.cel.errors import too_costly

if TYPE_CHECKING:
    from apimachinery.cel.syntax import Node

Frame = list[Any]
Evaluate = Callable[[Frame], Any]
COST, LIMIT, FIRST_SLOT = 0, 1, 2


class Part(NamedTuple):
    """A compiled node: how to evaluate it, what of its cost is known before, and whether it is always the same."""

    evaluate: Evaluate
    cost: int
    is_constant: bool = False


def constant(value: Any) -> Part:
    """What is known before costs nothing."""
    return Part(lambda frame: value, 0, is_constant=True)


CompileNode = Callable[["Node"], Part]


def charge(frame: Frame, cost: int) -> None:
    """Adds to the cost of the evaluation. Raises Cancelled beyond the limit."""
    frame[COST] += cost
    if frame[COST] > frame[LIMIT]:
        raise too_costly()
