"""JSONPath finds what kubectl's finds."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.jsonpath import JsonPath, JsonPathError

DOCUMENT = {
    "kind": "List",
    "spec": {"replicas": 3, "a.b": "dotted", "hosts": ["x", "y", "z"]},
    "items": [
        {"name": "n1", "age": 3, "on": True, "status": {"type": "Ready", "value": "1"}},
        {"name": "n2", "age": 7, "on": False, "status": {"type": "Bad", "value": "2"}},
    ],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.replicas", [3]),
        ("{.spec.replicas}", [3]),
        ("$.spec.replicas", [3]),
        (".spec.nothing.below", []),
        (r".spec.a\.b", ["dotted"]),
        (".spec['a.b']", ["dotted"]),
        (".spec.hosts[0]", ["x"]),
        (".spec.hosts[-1]", ["z"]),
        (".spec.hosts[7]", []),
        (".spec.hosts[0:2]", ["x", "y"]),
        (".spec.hosts[::2]", ["x", "z"]),
        (".spec.hosts[0,2]", ["x", "z"]),
        (".spec.hosts[*]", ["x", "y", "z"]),
        (".items[*].name", ["n1", "n2"]),
        (".items[*]['name','age']", ["n1", "n2", 3, 7]),
        (".items.*.name", ["n1", "n2"]),
        ("..value", ["1", "2"]),
        ('.items[?(@.status.type=="Ready")].name', ["n1"]),
        (".items[?(@.status.type!='Ready')].name", ["n2"]),
        (".items[?(@.age > 3)].name", ["n2"]),
        (".items[?(@.age<=3)].name", ["n1"]),
        (".items[?(@.on==true)].name", ["n1"]),
        (".items[?(@.age > 'x')].name", []),
        (".items[?(@.status.nothing)].name", []),
        (".items[?(@.status)].name", ["n1", "n2"]),
        (".", [DOCUMENT]),
    ],
)
def test_a_path_finds_its_values(path: str, found: list[Any]) -> None:
    assert JsonPath(path).find(DOCUMENT) == found


@pytest.mark.parametrize("path", [".spec[", ".spec[x]", "spec", ".items[?(@.x == @y)]", ".[]"])
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(JsonPathError):
        JsonPath(path)
