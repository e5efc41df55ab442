"""Terms of affinity and anti-affinity between pods: which pods one of them means, wherever these are.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from apimachinery.meta import Object, get_path, labels, namespace
from apimachinery.selectors import Requirement, Selector, selector_from_object

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class Term:
    """Pods that `selector` matches (None: no pods) in one of the namespaces, or in one whose labels are matched.

    `key` is the label whose values are the domains: it is those of these pods that are meant.
    """

    key: str
    selector: Selector | None
    namespaces: frozenset[str]
    namespace_selector: Selector | None

    def matches(self, scope: str, own: Mapping[str, str], scope_labels: Mapping[str, str]) -> bool:
        """Whether a pod of a namespace, with these labels (and those of the namespace), is meant."""
        if self.selector is None or not self.selector.matches(own):
            return False
        if scope in self.namespaces:
            return True
        return self.namespace_selector is not None and self.namespace_selector.matches(scope_labels)

    def with_namespaces(self, known: Mapping[str, Mapping[str, str]]) -> Term:
        """The same with the names of the namespaces that are matched now; an empty selector stays: it means all."""
        if self.namespace_selector is None or self.namespace_selector.empty:
            return self
        matched = {name for name, found in known.items() if self.namespace_selector.matches(found)}
        return replace(self, namespaces=self.namespaces | matched, namespace_selector=None)


class Newcomer(NamedTuple):
    """What the terms of pods that are there look at in one that comes."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    namespace_labels: tuple[tuple[str, str], ...]

    def is_meant_by(self, term: Term) -> bool:
        """Whether a term of a pod that is there means this one."""
        return term.matches(self.namespace, dict(self.labels), dict(self.namespace_labels))


class Terms(NamedTuple):
    """All terms of a pod. Weights are positive for affinity, negative for anti-affinity."""

    affinity: tuple[Term, ...] = ()
    anti_affinity: tuple[Term, ...] = ()
    preferred: tuple[tuple[int, Term], ...] = ()

    def weighted(self, required_weight: int) -> Iterable[tuple[int, Term]]:
        """What these terms are worth to pods that they mean, once their own pod is there."""
        yield from ((required_weight, term) for term in self.affinity)
        yield from self.preferred


NO_TERMS = Terms()


def terms_of(pod: Object) -> Terms:
    """The terms of a pod."""
    affinity = pod["spec"].get("affinity")
    if affinity is None or not (affinity.get("podAffinity") or affinity.get("podAntiAffinity")):
        return NO_TERMS
    near, away = affinity.get("podAffinity") or {}, affinity.get("podAntiAffinity") or {}
    found = Terms(
        tuple(_term(entry, pod) for entry in near.get(REQUIRED) or ()),
        tuple(_term(entry, pod) for entry in away.get(REQUIRED) or ()),
        tuple(
            (sign * entry["weight"], _term(entry["podAffinityTerm"], pod))
            for sign, told in ((1, near), (-1, away))
            for entry in told.get(PREFERRED) or ()
        ),
    )
    return found if any(found) else NO_TERMS


def _term(entry: Object, pod: Object) -> Term:
    selector = entry.get("labelSelector")
    own = labels(pod)
    keyed = tuple(
        Requirement(key, operator, (own[key],))
        for field, operator in (("matchLabelKeys", "in"), ("mismatchLabelKeys", "notin"))
        for key in entry.get(field) or ()
        if key in own
    )
    named: list[str] = entry.get("namespaces") or []
    scopes = get_path(entry, "namespaceSelector")
    if not named and scopes is None:
        named = [namespace(pod)]
    return Term(
        entry["topologyKey"],
        Selector((*selector_from_object(selector).requirements, *keyed)) if selector is not None else None,
        frozenset(named),
        selector_from_object(scopes) if scopes is not None else None,
    )
