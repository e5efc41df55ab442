"""What policy rules allow, found by what a request is about instead of looking through the rules.

Rules are in the shape of the API (`verbs`, `apiGroups`, `resources`, `resourceNames`, `nonResourceURLs`); `*` stands
for anything, `*/scale` for that subresource of any resource, `/healthz/*` for every path that begins so.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from apiserver.decision import ALLOWED, Decision, quoted
from apiserver.request_info import RequestInfo

Rule = Mapping[str, Any]
ANY = "*"
# The fields in the order in which Kubernetes shows them.
_FIELDS = ("apiGroups", "resources", "nonResourceURLs", "resourceNames", "verbs")
_BY_COUNT = ("apiGroups", "resources", "resourceNames", "nonResourceURLs", "verbs")


class Grant(NamedTuple):
    """One rule, as it stands under one of its resources, and what it decides. No `names` means all."""

    verbs: frozenset[str]
    groups: frozenset[str]
    names: frozenset[str]
    decision: Decision


class _UrlGrant(NamedTuple):
    verbs: frozenset[str]
    url: str
    decision: Decision


class RuleIndex:
    """A set of rules."""

    def __init__(self, rules: Iterable[Rule] = (), decision: Decision = ALLOWED) -> None:
        self._resources: dict[str, list[Grant]] = {}
        self._urls: list[_UrlGrant] = []
        for rule in rules:
            self.add(rule, decision)

    def add(self, rule: Rule, decision: Decision) -> None:
        """Add a rule; what it allows is decided so, which tells whose rule it was."""
        verbs = frozenset(rule.get("verbs") or ())
        groups, names = frozenset(rule.get("apiGroups") or ()), frozenset(rule.get("resourceNames") or ())
        for resource in rule.get("resources") or ():
            self._resources.setdefault(resource, []).append(Grant(verbs, groups, names, decision))
        for url in rule.get("nonResourceURLs") or ():
            self._urls.append(_UrlGrant(verbs, url, decision))

    def find(self, info: RequestInfo) -> Decision | None:
        """The decision of a rule that allows a request."""
        if not info.resource:
            return self._find_url(info.verb, info.path)
        name = info.name or (info.selected_name if info.fields else "")
        if info.subresource:
            return self._find(info.verb, info.group, f"{info.resource}/{info.subresource}", info.subresource, name)
        return self._find(info.verb, info.group, info.resource, "", name)

    def _find(self, verb: str, group: str, resource: str, subresource: str, name: str) -> Decision | None:
        for word in (resource, ANY, f"*/{subresource}") if subresource else (resource, ANY):
            for verbs, groups, names, decision in self._resources.get(word, ()):
                if (
                    (verb in verbs or ANY in verbs)
                    and (group in groups or ANY in groups)
                    and (not names or name in names)
                ):
                    return decision
        return None

    def _find_url(self, verb: str, path: str) -> Decision | None:
        for verbs, url, decision in self._urls:
            if (verb in verbs or ANY in verbs) and (
                path == url or (url.endswith(ANY) and path.startswith(url.rstrip(ANY)))
            ):
                return decision
        return None

    def covers(self, atom: Rule) -> bool:
        """Whether all that a rule of `atoms` allows is allowed by these, be it by a wider word."""
        (verb,) = atom["verbs"]
        if urls := atom.get("nonResourceURLs"):
            return self._find_url(verb, urls[0]) is not None
        (group,), (resource,), names = atom["apiGroups"], atom["resources"], atom.get("resourceNames") or [""]
        return self._find(verb, group, resource, resource.partition("/")[2], names[0]) is not None


def atoms(rules: Iterable[Rule]) -> Iterator[Rule]:
    """The same rules taken apart: each allows one verb on one resource (of one name), or on one path."""
    for rule in rules:
        verbs, names = rule.get("verbs") or (), rule.get("resourceNames") or ()
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for verb in verbs:
                    one = {"verbs": [verb], "apiGroups": [group], "resources": [resource]}
                    yield from ({**one, "resourceNames": [name]} for name in names) if names else (one,)
        for url in rule.get("nonResourceURLs") or ():
            yield from ({"verbs": [verb], "nonResourceURLs": [url]} for verb in verbs)


def count(rules: Iterable[Rule]) -> int:
    """How many atoms there are of some rules: a short rule may have millions."""
    found = 0
    for rule in rules:
        groups, resources, names, urls, verbs = (len(rule.get(field) or ()) for field in _BY_COUNT)
        found += verbs * (groups * resources * (names or 1) + urls)
    return found


def missing(held: Iterable[RuleIndex], wanted: Iterable[Rule]) -> list[Rule]:
    """What some rules allow beyond those that are held, as few rules as atoms with many verbs can be."""
    indexes = tuple(held)
    together: dict[tuple[Any, ...], dict[str, Any]] = {}
    for atom in atoms(wanted):
        if any(index.covers(atom) for index in indexes):
            continue
        key = tuple(tuple(atom.get(field) or ()) for field in _FIELDS[:-1])
        found = together.setdefault(key, {**atom, "verbs": []})
        if atom["verbs"][0] not in found["verbs"]:
            found["verbs"].append(atom["verbs"][0])
    return list(together.values())


def shown(rule: Rule) -> str:
    """`{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`."""
    parts = (f"{field[0].upper()}{field[1:]}:{quoted_all(rule[field])}" for field in _FIELDS if rule.get(field))
    return "{" + ", ".join(parts).replace("ApiGroups", "APIGroups") + "}"


def quoted_all(texts: Sequence[str]) -> str:
    """A list of texts as Go's %q shows it: `["a" "b"]`."""
    return f"[{' '.join(map(quoted, texts))}]"
