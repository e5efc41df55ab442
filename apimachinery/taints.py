"""Which taints a pod tolerates: pure.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

EXISTS, EQUAL = "Exists", "Equal"


class Taint(NamedTuple):
    """A taint of a node."""

    key: str
    value: str
    effect: str

    @classmethod
    def of(cls, taint: Mapping[str, Any]) -> Taint:
        """A taint as it stands in a Node's spec."""
        return cls(taint["key"], taint.get("value") or "", taint["effect"])


class Toleration(NamedTuple):
    """A toleration; an empty key (with Exists) means every taint, an empty effect every effect."""

    key: str
    operator: str
    value: str
    effect: str

    @classmethod
    def of(cls, toleration: Mapping[str, Any]) -> Toleration:
        """A toleration as it stands in a Pod's spec."""
        key, operator = toleration.get("key") or "", toleration.get("operator") or EQUAL
        return cls(key, operator, toleration.get("value") or "", toleration.get("effect") or "")

    def tolerates(self, taint: Taint) -> bool:
        """Whether this taint is meant."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        return self.operator == EXISTS or (self.operator == EQUAL and self.value == taint.value)


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """Whether one toleration of a pod covers one taint of a node."""
    return Toleration.of(toleration).tolerates(Taint.of(taint))
