"""How functions are declared: a name with overloads, each with types, a Python function and a cost.

    LIBRARY = Library()

    @LIBRARY.method("charAt", STRING, INT, result=STRING)
    def char_at(text: str, index: int) -> str: ...

The Python function gets values as `values` describes them and raises CelEvaluationError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from apimachinery.cel.errors import no_such_overload
from apimachinery.cel.types import CelType
from apimachinery.cel.values import has_type

# What a call costs, of its result and its arguments, in Kubernetes' units of cost.
Cost = Callable[..., int]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, eq=False)
class Overload:
    """One signature of a function; with `member`, the first parameter is what stands before the dot."""

    function: str
    params: tuple[CelType, ...]
    result: CelType
    member: bool
    call: Callable[..., Any]
    cost: Cost | None


class Library:
    """Overloads that belong together."""

    def __init__(self) -> None:
        self.overloads: list[Overload] = []

    def function(self, name: str, *params: CelType, result: CelType, cost: Cost | None = None) -> Callable[[_F], _F]:
        """Declares `name(params) -> result`."""
        return self._declare(name, params, result, cost, member=False)

    def method(self, name: str, *params: CelType, result: CelType, cost: Cost | None = None) -> Callable[[_F], _F]:
        """Declares `params[0].name(params[1:]) -> result`."""
        return self._declare(name, params, result, cost, member=True)

    def _declare(
        self, name: str, params: tuple[CelType, ...], result: CelType, cost: Cost | None, *, member: bool
    ) -> Callable[[_F], _F]:
        def register(call: _F) -> _F:
            self.overloads.append(Overload(name, params, result, member, call, cost))
            return call

        return register


Functions = Mapping[str, tuple[Overload, ...]]


def function_table(libraries: Iterable[Library]) -> Functions:
    """All overloads by function name, in the order in which they are tried."""
    table: dict[str, tuple[Overload, ...]] = {}
    for library in libraries:
        for overload in library.overloads:
            table[overload.function] = (*table.get(overload.function, ()), overload)
    return table


def dispatcher(name: str, overloads: tuple[Overload, ...]) -> Callable[..., Overload]:
    """Chooses among overloads by the values of a call. Raises CelEvaluationError if none fits.

    What was chosen for values of some Python types is remembered by these types.
    """
    chosen: dict[tuple[type, ...], Overload] = {}

    def choose(*args: Any) -> Overload:
        key = tuple(map(type, args))
        found = chosen.get(key)
        if found is None:
            found = next((o for o in overloads if _fits(o, args)), None)
            if found is None:
                raise no_such_overload(None if _is_operator(name) else name)
            chosen[key] = found
        return found

    return choose


def _is_operator(name: str) -> bool:
    return not (name[0].isalpha() or "." in name)


def _fits(overload: Overload, args: tuple[Any, ...]) -> bool:
    return len(args) == len(overload.params) and all(map(has_type, args, overload.params))
