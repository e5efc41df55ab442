"""Budgets of disruption: how many of the pods that a PodDisruptionBudget means may be sent away at the moment.

Room is made at the cost of a budget only where there is no other way. Pure: events go in, answers come out.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from apimachinery.meta import Object, get_path, name, namespace, namespaced_key
from apimachinery.selectors import Selector, selector_from_object
from scheduler.residents import Resident


@dataclass(frozen=True, slots=True)
class Budget:
    """The pods of a namespace that it means, how many of them may go, and the names of those going already."""

    namespace: str
    selector: Selector
    allowed: int
    going: frozenset[str]

    @classmethod
    def of(cls, obj: Object) -> Budget:
        """What a PodDisruptionBudget says."""
        status = obj.get("status") or {}
        selector = selector_from_object(get_path(obj, "spec", "selector"))
        allowed = status.get("disruptionsAllowed") or 0
        return cls(namespace(obj), selector, allowed, frozenset(status.get("disruptedPods") or ()))

    def means(self, resident: Resident) -> bool:
        """Whether a pod is one of those that it is for; for an empty selector none are."""
        if self.namespace != resident.namespace or self.selector.empty or not resident.labels:
            return False
        return self.selector.matches(dict(resident.labels))


class Budgets:
    """All budgets, by key. `version` grows with every change."""

    def __init__(self) -> None:
        self.version = 0
        self._budgets: dict[str, Budget] = {}

    def changed(self, old: Object | None, new: Object | None) -> None:
        """A budget is new, has changed or is gone."""
        obj = new or old
        assert obj is not None, "something has changed"
        known = self._budgets.get(namespaced_key(obj))
        if new is None:
            self._budgets.pop(namespaced_key(obj), None)
        else:
            self._budgets[namespaced_key(new)] = Budget.of(new)
        self.version += known != self._budgets.get(namespaced_key(obj))

    def violated(self, pods: Sequence[tuple[Object, Resident]]) -> list[bool]:
        """Which of these pods could not go, if they went in this order, without more going than a budget allows."""
        left = {key: budget.allowed for key, budget in self._budgets.items()}
        found = []
        for pod, resident in pods:
            violates = False
            for key, budget in self._budgets.items():
                if budget.means(resident) and name(pod) not in budget.going:
                    left[key] -= 1
                    violates = violates or left[key] < 0
            found.append(violates)
        return found
