"""The steps of a path to a field, as strings: a field, the key or the value of a list's item, an index.

    f:spec                            .spec
    k:{"name":"web","port":80}        [name="web",port=80]
    v:"x"                             [="x"]
    i:0                               [0]

Keys are written with their names in order, so that equal steps are equal strings.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import orjson

Path = tuple[str, ...]


@lru_cache(maxsize=4096, typed=True)
def key_element(names: tuple[str, ...], *values: str | int | float | bool | None) -> str:
    """The step to the item of a list with these values in its key fields, whose names are in order."""
    return "k:" + orjson.dumps(dict(zip(names, values, strict=True))).decode()


@lru_cache(maxsize=4096, typed=True)
def value_element(value: str | int | float | bool | None) -> str:
    """The step to an item of a list that is a set."""
    return "v:" + orjson.dumps(value).decode()


@lru_cache(maxsize=4096)
def canonical(element: str) -> str | None:
    """A step in the one form that it is written in here; None for a kind of step that nobody knows.

    Raises ValueError for what is none.
    """
    kind, content = element[:2], element[2:]
    if len(kind) < 2 or kind[1] != ":":
        raise ValueError(f"missing colon: {element}")
    match kind:
        case "f:":
            return element
        case "v:":
            return "v:" + _dumped(orjson.loads(content))
        case "k:":
            key = orjson.loads(content)
            if not isinstance(key, dict):
                raise ValueError(f"the key of an item must be an object: {element}")
            return "k:" + _dumped(key)
        case "i:":
            return f"i:{int(content)}"
    return None


def _dumped(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def text(path: Iterable[str]) -> str:
    """A path as people read it: `.spec.containers[name="web"].image`."""
    return "".join(map(element_text, path))


def element_text(element: str) -> str:
    """One step as people read it."""
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return f".{content}"
    if kind == "k:":
        return "[" + ",".join(f"{name}={_dumped(value)}" for name, value in orjson.loads(content).items()) + "]"
    return f"[={content}]" if kind == "v:" else f"[{content}]"
