"""The webhooks that there are, read from their configurations whenever these have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apimachinery.meta import Object, name
from apimachinery.resources import Resource
from apiserver.admission.matching import Candidate, Criteria, Matcher, criteria_of, is_exempt
from apiserver.admission.plugin import Attributes, Cluster
from apiserver.admission.served import Served
from apiserver.registry.webhooks import SECONDS

if TYPE_CHECKING:
    from apiserver.admission.match_conditions import MatchConditions


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook. `key` tells it from all others; `client` is its clientConfig."""

    key: str
    name: str
    configuration: str
    client: Mapping[str, Any]
    conditions: MatchConditions | None
    versions: tuple[str, ...]
    seconds: float
    ignores_failure: bool
    dry_runs: bool
    reinvoked: bool


def hooks_of(configuration: Object) -> Iterator[tuple[Hook, Criteria]]:
    """The webhooks of a configuration, in its order, and what each is about."""
    of, seen = name(configuration), Counter[str]()
    for hook in configuration.get("webhooks") or ():
        called = hook.get("name") or ""
        ignores = hook.get("failurePolicy") == "Ignore"
        made = Hook(
            key=f"{of}/{called}/{seen[called]}",
            name=called,
            configuration=of,
            client=hook.get("clientConfig") or {},
            conditions=_conditions(hook, ignore=ignores),
            versions=tuple(hook.get("admissionReviewVersions") or ()),
            seconds=float(hook.get("timeoutSeconds") or SECONDS),
            ignores_failure=ignores,
            dry_runs=hook.get("sideEffects") in ("None", "NoneOnDryRun"),
            reinvoked=hook.get("reinvocationPolicy") == "IfNeeded",
        )
        seen[called] += 1
        yield made, criteria_of(hook, "rules")


def _conditions(hook: Mapping[str, Any], *, ignore: bool) -> MatchConditions | None:
    listed = hook.get("matchConditions")
    if not listed:
        return None
    # Imported by the first webhook that has any: compiling expressions takes much that few need.
    from apimachinery.cel.admission import admission_environment
    from apiserver.admission.match_conditions import MatchConditions

    return MatchConditions(listed, admission_environment(has_authorizer=True), ignore=ignore)


class Hooks:
    """All webhooks of one kind of configuration, in the order of the configurations' names."""

    def __init__(self, cluster: Cluster, served: Served, resource: Resource) -> None:
        self._cluster = cluster
        self._served = served
        self._resource = resource
        self._matcher: Matcher[Hook] | None = None
        cluster.listen(resource, self._changed)

    def _changed(self) -> None:
        self._matcher = None

    def candidates(self, attributes: Attributes) -> tuple[Candidate[Hook], ...]:
        """Those that a request can match."""
        matcher = self._matcher
        if matcher is None:
            configurations = sorted(self._cluster.list(self._resource, ""), key=name)
            found = [hook for configuration in configurations for hook in hooks_of(configuration)]
            matcher = self._matcher = Matcher(found, self._served)
        if not matcher or is_exempt(attributes.resource):
            return ()
        return matcher.candidates(attributes)
