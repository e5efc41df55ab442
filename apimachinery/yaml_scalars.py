"""What plain words stand for in YAML as Kubernetes reads it: YAML 1.1 as its Go library has it.

Unlike in Python's library, `22:22` is a text and no number to base 60, `1e3` and `0o17` are numbers, `y` is true, and
times and `=` are texts.

Source: sigs.k8s.io/yaml/goyaml.v2 (resolve.go)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

_TAG = "tag:yaml.org,2002:"
_BOOLS = {
    **dict.fromkeys(("y", "yes", "true", "on"), True),
    **dict.fromkeys(("n", "no", "false", "off"), False),
}
_INTEGER = r"[-+]?(?:0[bB][01_]+|0[oO]?[0-7_]+|0[xX][0-9a-fA-F_]+|[1-9][0-9_]*|0)"
_FLOAT = r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
# (tag, pattern, what such words begin with), the first that fits counts.
_WORDS = (
    ("null", "~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", "|".join(form for word in _BOOLS for form in {word, word.title(), word.upper()}), list("yYnNtTfFoO")),
    ("int", _INTEGER, list("-+0123456789")),
    ("float", _FLOAT, list("-+0123456789.")),
    ("merge", "<<", ["<"]),
)


def install(loader: Any) -> None:
    """Have a loader class of PyYAML read plain words like this."""
    resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for kind, pattern, firsts in _WORDS:
        compiled = re.compile(f"(?:{pattern})$")
        for first in firsts:
            resolvers.setdefault(first, []).append((_TAG + kind, compiled))
    loader.yaml_implicit_resolvers = resolvers
    loader.add_constructor(f"{_TAG}bool", _bool)
    loader.add_constructor(f"{_TAG}int", _int)
    loader.add_constructor(f"{_TAG}float", _float)
    loader.add_constructor(f"{_TAG}timestamp", lambda loader, node: loader.construct_scalar(node))


def _bool(loader: Any, node: Any) -> bool:
    found = _BOOLS.get(loader.construct_scalar(node).lower())
    if found is None:
        raise _unreadable(node, "bool")
    return found


def _int(loader: Any, node: Any) -> int:
    text = loader.construct_scalar(node).replace("_", "").lower()
    sign, digits = (-1, text[1:]) if text[:1] == "-" else (1, text.removeprefix("+"))
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        digits = f"0o{digits[1:]}"
    try:
        return sign * int(digits, 0)
    except ValueError:
        raise _unreadable(node, "int") from None


def _float(loader: Any, node: Any) -> float:
    text = loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan")
    try:
        value = float(text)
    except ValueError:
        raise _unreadable(node, "float") from None
    # A whole number is sent without a point, whatever it was written as.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _unreadable(node: Any, kind: str) -> Exception:
    """A word whose tag says that it is what it is not, or a number that is too long."""
    from yaml.constructor import ConstructorError

    make: Callable[..., Exception] = ConstructorError
    return make(None, None, f"cannot decode !!str `{node.value[:40]}` as a !!{kind}", node.start_mark)
