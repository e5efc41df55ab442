"""What an expression may refer to: variables with their types, functions, and types by name.

The functions are those that Kubernetes 1.35 gives to every expression (`library`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache

from apimachinery.cel.functions import Functions, Library, function_table
from apimachinery.cel.types import CelType, ObjectType

FindType = Callable[[str], ObjectType | None]


def _no_type(_name: str) -> ObjectType | None:
    return None


@dataclass(frozen=True, slots=True)
class Environment:
    """Declared variables, and optionally more functions and object types that `Name{…}` may construct."""

    variables: Mapping[str, CelType]
    libraries: tuple[Library, ...] = ()
    find_object_type: FindType = _no_type
    functions: Functions = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "functions", _functions(self.libraries))

    def extend(self, variables: Mapping[str, CelType]) -> Environment:
        """The environment with more variables."""
        return replace(self, variables={**self.variables, **variables})

    def find_type(self, name: str) -> CelType | None:
        """The type that a name in an expression stands for, such as `string` or `kubernetes.Quantity`."""
        from apimachinery.cel.library.table import TYPES

        return TYPES.get(name) or self.find_object_type(name)


@cache
def _functions(more: tuple[Library, ...]) -> Functions:
    # Imported when first needed: few processes that import this package compile anything at their start.
    from apimachinery.cel.library.table import LIBRARIES

    return function_table((*LIBRARIES, *more))
