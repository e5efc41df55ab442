"""Which requests a webhook or policy is about: rules, selectors, and other versions of what it names.

Most of that depends only on the shape of a request (operation, resource, subresource, whether it is inside of a
namespace) and is found out once for each shape. So a request looks only at those that can match it, however many
there are; what is left to be asked of it is its name, its labels, and those of its namespace.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#matching-requests-rules
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from apimachinery.errors import not_found
from apimachinery.meta import Object, labels
from apimachinery.resources import NAMESPACES, Resource
from apimachinery.selectors import Selector, selector_from_object
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster
from apiserver.admission.served import Served

ADMISSION_GROUP = "admissionregistration.k8s.io"
# What decides on requests is not decided on by itself: a wrong one could never be taken back.
_EXEMPT = frozenset(
    (
        *("validatingwebhookconfigurations", "mutatingwebhookconfigurations"),
        *("validatingadmissionpolicies", "validatingadmissionpolicybindings"),
        *("mutatingadmissionpolicies", "mutatingadmissionpolicybindings"),
    )
)
EVERYTHING = Selector()

Rule = Mapping[str, Any]


class Unmatchable(Exception):
    """Whether a request matches can't be told; the message says why."""


T = TypeVar("T")


def is_exempt(resource: Resource) -> bool:
    """Whether no webhook or policy is asked about a resource."""
    return resource.group == ADMISSION_GROUP and resource.plural in _EXEMPT


@dataclass(frozen=True, slots=True)
class Shape:
    """What rules ask of a request."""

    operation: str
    resource: Resource
    subresource: str
    inside_namespace: bool


def shape_of(attributes: Attributes) -> Shape:
    """The shape of a request. One for a namespace itself is not inside of it."""
    inside = bool(attributes.namespace) and attributes.resource.key != NAMESPACES.key
    return Shape(attributes.operation, attributes.resource, attributes.subresource, inside)


@dataclass(frozen=True, slots=True)
class Way:
    """How a request matches: as this resource, if it has one of the names (None: any)."""

    resource: Resource
    names: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Criteria:
    """What is asked of requests. Without rules it is about all; `excluded` are rules of what it is not about."""

    rules: Sequence[Rule] = ()
    excluded: Sequence[Rule] = ()
    equivalent: bool = True
    namespace_selector: Selector = EVERYTHING
    object_selector: Selector = EVERYTHING
    # Without any rule it matches everything (a binding), or nothing (a webhook).
    open: bool = False

    def ways(self, shape: Shape, served: Served) -> tuple[tuple[Way, ...], tuple[Way, ...]]:
        """(the ways to match, the ways to be excluded) of requests of a shape."""
        if not self.rules and self.open:
            found: tuple[Way, ...] = (Way(shape.resource),)
        else:
            found = tuple(self._ways(self.rules, shape, served))
        return found, tuple(self._ways(self.excluded, shape, served)) if found else ()

    def _ways(self, rules: Sequence[Rule], shape: Shape, served: Served) -> Iterable[Way]:
        for rule in rules:
            if _fits(rule, shape, shape.resource):
                yield Way(shape.resource, _names(rule))
        if not self.equivalent or not rules:
            return
        others = list(served.equivalents(shape.resource))
        for rule in rules:
            for other in others:
                if _fits(rule, shape, other):
                    yield Way(other, _names(rule))


def criteria_of(match: Mapping[str, Any], rules: str = "resourceRules", *, open: bool = False) -> Criteria:
    """The criteria of a webhook, or of the MatchResources of a policy."""
    return Criteria(
        tuple(match.get(rules) or ()),
        tuple(match.get("excludeResourceRules") or ()),
        match.get("matchPolicy") == "Equivalent",
        selector_from_object(match.get("namespaceSelector") or {}),
        selector_from_object(match.get("objectSelector") or {}),
        open,
    )


def _names(rule: Rule) -> frozenset[str] | None:
    return frozenset(rule["resourceNames"]) if rule.get("resourceNames") else None


def _fits(rule: Rule, shape: Shape, resource: Resource) -> bool:
    scope = rule.get("scope") or "*"
    return (
        (scope == "*" or (scope == "Namespaced") == shape.inside_namespace)
        and _listed(rule.get("operations") or (), shape.operation)
        and _listed(rule.get("apiGroups") or (), resource.group)
        and _listed(rule.get("apiVersions") or (), resource.version)
        and any(_is_resource(text, resource, shape.subresource) for text in rule.get("resources") or ())
    )


def _listed(words: Sequence[str], word: str) -> bool:
    return "*" in words or word in words


def _is_resource(text: str, resource: Resource, subresource: str) -> bool:
    """`pods`, `pods/status`, `pods/*`, `*/scale`, `*` for all without their subresources, `*/*` for everything."""
    plural, _, part = text.partition("/")
    return plural in ("*", resource.plural) and part in ("*", subresource)


@dataclass(frozen=True, slots=True)
class Candidate(Generic[T]):
    """Something that a request of some shape can match."""

    item: T
    criteria: Criteria
    ways: tuple[Way, ...]
    excluded: tuple[Way, ...]

    def match(self, attributes: Attributes, cluster: Cluster) -> Resource | None:
        """As which resource a request matches; None if it does not. Raises ApiError 404 for a missing namespace."""
        criteria = self.criteria
        if self.excluded and _first(self.excluded, attributes.name) is not None:
            return None
        resource = _first(self.ways, attributes.name)
        if resource is None or not _object_matches(criteria.object_selector, attributes):
            return None
        return resource if _namespace_matches(criteria.namespace_selector, attributes, cluster) else None


def _first(ways: Iterable[Way], name: str) -> Resource | None:
    return next((way.resource for way in ways if way.names is None or name in way.names), None)


def _object_matches(selector: Selector, attributes: Attributes) -> bool:
    return selector.empty or any(
        obj is not None and "metadata" in obj and selector.matches(labels(obj))
        for obj in (attributes.obj, attributes.old)
    )


def _namespace_matches(selector: Selector, attributes: Attributes, cluster: Cluster) -> bool:
    if selector.empty:
        return True
    is_namespace = attributes.resource.key == NAMESPACES.key
    if not attributes.namespace and not is_namespace:
        return True  # what is in no namespace can't be left out by one
    if is_namespace and not attributes.subresource and attributes.operation in (CREATE, UPDATE):
        assert attributes.obj is not None
        return selector.matches(labels(attributes.obj))
    return selector.matches(labels(namespace_of(attributes, cluster)))


def namespace_of(attributes: Attributes, cluster: Cluster) -> Object:
    """The namespace that a request is about, or inside of. Raises ApiError 404."""
    name = attributes.namespace or attributes.name
    found = cluster.get(NAMESPACES, "", name)
    if found is None:
        raise not_found(NAMESPACES.plural, name)
    return found


class Matcher(Generic[T]):
    """Some items in their order, and those of them that a request can match."""

    def __init__(self, items: Iterable[tuple[T, Criteria]], served: Served) -> None:
        self._items = tuple(items)
        self._served = served
        self._generation = served.generation
        self._candidates: dict[tuple[str, str, str, str, str, bool], tuple[Candidate[T], ...]] = {}

    def __bool__(self) -> bool:
        return bool(self._items)

    def candidates(self, attributes: Attributes) -> tuple[Candidate[T], ...]:
        """What a request can match, in order."""
        if self._generation != self._served.generation:
            self._candidates.clear()
            self._generation = self._served.generation
        resource = attributes.resource
        names = (resource.group, resource.version, resource.plural, attributes.subresource)
        key = (attributes.operation, *names, bool(attributes.namespace))
        found = self._candidates.get(key)
        if found is None:
            found = self._candidates[key] = tuple(self._find(shape_of(attributes)))
        return found

    def _find(self, shape: Shape) -> Iterable[Candidate[T]]:
        for item, criteria in self._items:
            ways, excluded = criteria.ways(shape, self._served)
            if ways:
                yield Candidate(item, criteria, ways, excluded)
