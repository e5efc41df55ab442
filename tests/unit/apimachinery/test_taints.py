"""Which taints a toleration covers."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.taints import tolerates

TAINT = {"key": "gpu", "value": "a", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("toleration", "covers"),
    [
        ({"key": "gpu", "operator": "Equal", "value": "a", "effect": "NoExecute"}, True),
        ({"key": "gpu", "value": "a"}, True),
        ({"key": "gpu", "operator": "", "value": "a", "effect": ""}, True),
        ({"key": "gpu", "value": "b"}, False),
        ({"key": "gpu"}, False),
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "cpu", "operator": "Exists"}, False),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, True),
        ({"operator": "Exists", "effect": "NoSchedule"}, False),
        ({"key": "gpu", "operator": "Lt", "value": "b"}, False),
    ],
)
def test_a_toleration_covers_what_it_names(toleration: dict[str, Any], *, covers: bool) -> None:
    assert tolerates(toleration, TAINT) is covers


@pytest.mark.parametrize("value", [{}, {"value": ""}, {"value": None}])
def test_a_taint_without_a_value_is_covered_by_a_toleration_without_one(value: dict[str, Any]) -> None:
    assert tolerates({"key": "lost"}, {"key": "lost", "effect": "NoExecute", **value})
    assert not tolerates({"key": "lost", "value": "x"}, {"key": "lost", "effect": "NoExecute", **value})
