"""The stages of a placement as plain functions: describe, filter, score, pick, and say why not.

A plugin is up to four functions over columns (see `Plugin`). Pods whose demands on every plugin are equal form one
class: what holds for one of them holds for all, so filters and scores are worked out once a class and from then on
only for the nodes that change (`scheduler.evaluation`).

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/scheduling-framework/
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import orjson

from apimachinery.meta import Object, namespace
from scheduler.columns import BoolColumn, IntColumn, Rows
from scheduler.gangs import GangKey
from scheduler.nominations import Applicant
from scheduler.pods import Usage, usage_fields, usage_of
from scheduler.residents import Resident
from scheduler.snapshot import NOTHING, Change, PlacedPod, Snapshot
from scheduler.storage import BIND_TIMEOUT_SECONDS, wanted_claims

DEFAULT_SCHEDULER_NAME = "default-scheduler"
SCORE_MAX = 100
VOLUME_BINDING = "VolumeBinding"
CLASSES_REMEMBERED = 4096


class Rejection(NamedTuple):
    """Nodes (a true for each of the rows asked about) that a plugin turns down, and why.

    `for_good` are those of them (or all) where that would be so without any of the pods that are there, too.
    """

    nodes: BoolColumn
    reason: str
    for_good: BoolColumn | bool = False


class Choice(NamedTuple):
    """The only nodes that a pod can run on, by name; a pod that names none that could be has `conflict` as reason."""

    nodes: frozenset[str]
    conflict: str


Demand: TypeAlias = Any
DemandAmong: TypeAlias = Callable[[Object, Snapshot], Demand | None]


@dataclass(frozen=True, slots=True)
class Plugin:
    """One consideration in placing pods.

    `demand` is what a pod asks of it: hashable, and None where the pod asks nothing, so that the plugin is skipped.
    `filter` turns nodes down. `score` rates nodes, and `normalize` brings a column of such rates to 0 … 100, given
    the lowest and the highest among the feasible nodes. `choose` names nodes, where a demand does, so that no others
    need be looked at. `objection` tells why a pod can't be placed at all, "" if it can. All of them look at nothing
    but their arguments.

    What a pod asks may depend on what else there is: then `demand_among` stands in place of `demand`, and is asked
    again whenever the snapshot's `circumstances` have changed.

    Pods with the same demand on a plugin that `gathers` are placed together. `room` says how many pods each node
    takes as far as this plugin is concerned.

    `helped_by` says which changes of a node can turn its "no" into a "yes". What a `fleeting` plugin says of a node
    may change though nothing about the node does: it is asked anew for every pod.

    A plugin that goes by the pods on all nodes has `heeds`: whether a pod that comes or goes, wherever that is, can
    turn its "no" into a "yes". Its `filter` is asked about all nodes for every pod, and so is `compare`, its score of
    0 … 100 given which nodes are feasible.

    `post_filter` is asked what can be done for a pod that no node takes.
    """

    name: str
    demand: Callable[[Object], Demand | None] | None = None
    demand_among: DemandAmong | None = None
    filter: Callable[[Demand, Snapshot, Rows], Sequence[Rejection]] | None = None
    score: Callable[[Demand, Snapshot, Rows], IntColumn] | None = None
    normalize: Callable[[IntColumn, int, int], IntColumn] | None = None
    choose: Callable[[Demand], Choice | None] | None = None
    compare: Callable[[Demand, Snapshot, Rows, BoolColumn], IntColumn] | None = None
    heeds: Callable[[Demand, Resident], bool] | None = None
    objection: Callable[[Demand, Snapshot], str] | None = None
    fleeting: bool = False
    gathers: bool = False
    room: Callable[[Demand, Snapshot, Rows], IntColumn] | None = None
    helped_by: Change = NOTHING
    post_filter: Callable[[Attempt], Remedy] | None = None


def normalize_up(rates: IntColumn, lowest: int, highest: int) -> IntColumn:
    """The highest rate becomes 100."""
    return rates if highest == 0 else SCORE_MAX * rates // highest


def normalize_down(rates: IntColumn, lowest: int, highest: int) -> IntColumn:
    """A rate of 0 becomes 100, the highest becomes 0."""
    return SCORE_MAX - normalize_up(rates, lowest, highest)


@dataclass(frozen=True, slots=True, eq=False)
class PodClass:
    """Pods that demand the same: one object a class, compared by identity.

    Demands stand in the order of the profile of `scheduler_name`. `choice` is the only nodes that come into question,
    if a plugin named some, and that plugin's name. The verdicts on a `fleeting` class hold for one pod only. `gang`
    is what the pods of the class are placed together by, with others that have the same.
    """

    demands: tuple[Demand | None, ...]
    usage: Usage
    choice: tuple[str, Choice] | None = None
    fleeting: bool = False
    scheduler_name: str = DEFAULT_SCHEDULER_NAME
    gang: GangKey | None = None

    def equals(self, other: PodClass) -> bool:
        """Whether the pods of both demand the same, though the classes were not made in the same generation."""
        return self is other or self._identity() == other._identity()

    def _identity(self) -> Hashable:
        return self.scheduler_name, self.demands, self.usage


@dataclass(slots=True)
class Profile:
    """The plugins that the pods of one `schedulerName` are placed with, each with the weight of its score."""

    plugins: tuple[tuple[Plugin, int], ...]
    scheduler_name: str = DEFAULT_SCHEDULER_NAME
    bind_timeout_seconds: float = BIND_TIMEOUT_SECONDS
    _among: list[tuple[int, DemandAmong]] = field(init=False)
    _classes: dict[Hashable, PodClass] = field(default_factory=dict)
    _known: OrderedDict[Hashable, PodClass] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        asked = ((index, plugin.demand_among) for index, (plugin, _) in enumerate(self.plugins))
        self._among = [(index, demand_among) for index, demand_among in asked if demand_among is not None]

    def describe(self, pod: Object, snapshot: Snapshot) -> PodClass:
        """The class of a pod. Raises ValueError, KeyError or TypeError for one that can't be understood."""
        among = [(index, demand_among(pod, snapshot)) for index, demand_among in self._among]
        asked = [each for each in among if each[1] is not None]
        signature: Hashable = (_signature(pod), *asked) if asked else _signature(pod)
        known = self._known.get(signature)
        if known is not None:
            return known
        all_demands = [p.demand(pod) if p.demand is not None else None for p, _ in self.plugins]
        for index, demand in asked:
            all_demands[index] = demand
        demands = tuple(all_demands)
        usage = usage_of(pod)
        if len(self._known) >= CLASSES_REMEMBERED:
            # Pods that wait keep their own class; forgetting all only makes equal pods of later a new one.
            self._known.clear()
            self._classes.clear()
        found = self._classes.get((demands, usage))
        if found is None:
            choice, fleeting = self._choice(demands), self._fleeting(demands)
            found = self._classes[demands, usage] = PodClass(
                demands, usage, choice, fleeting, self.scheduler_name, self._gang(demands)
            )
        self._known[signature] = found
        return found

    @property
    def relations(self) -> frozenset[str]:
        """The names of the plugins that go by the pods on all nodes."""
        return frozenset(plugin.name for plugin, _ in self.plugins if plugin.heeds is not None)

    @property
    def binds_volumes(self) -> bool:
        """Whether claims that are not bound get their volumes with the node."""
        return any(plugin.name == VOLUME_BINDING and plugin.filter is not None for plugin, _ in self.plugins)

    def _choice(self, demands: tuple[Demand | None, ...]) -> tuple[str, Choice] | None:
        for (plugin, _), demand in zip(self.plugins, demands, strict=True):
            if plugin.choose is not None and demand is not None:
                chosen = plugin.choose(demand)
                if chosen is not None:
                    return plugin.name, chosen
        return None

    def _gang(self, demands: tuple[Demand | None, ...]) -> GangKey | None:
        asked = zip(self.plugins, demands, strict=True)
        return next((demand for (plugin, _), demand in asked if plugin.gathers and demand is not None), None)

    def _fleeting(self, demands: tuple[Demand | None, ...]) -> bool:
        asked = zip(self.plugins, demands, strict=True)
        return any(plugin.fleeting and demand is not None for (plugin, _), demand in asked)


def _signature(pod: Object) -> bytes:
    """Everything of a pod that any plugin looks at; pods that are equal in it need not be parsed twice."""
    spec = pod["spec"]
    fields = [spec.get("nodeSelector"), spec.get("affinity"), spec.get("tolerations"), spec.get("nodeName")]
    if "volumes" in spec:
        fields.append([list(wanted) for wanted in wanted_claims(pod)])
    if "workloadRef" in spec:
        fields.append([namespace(pod), spec["workloadRef"]])
    return orjson.dumps([*fields, *usage_fields(pod)])


def feasible(
    profile: Profile, pod_class: PodClass, snapshot: Snapshot, rows: Rows, *, relations: bool = True
) -> BoolColumn:
    """Which of these rows are nodes that every filter lets pass; without `relations`, each by what is on it alone."""
    passed = snapshot.present[rows].copy()
    if pod_class.fleeting and objection_to(profile, pod_class, snapshot) is not None:
        return np.zeros_like(passed)
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.filter is not None and demand is not None and (relations or plugin.heeds is None):
            for rejection in plugin.filter(demand, snapshot, rows):
                passed &= ~rejection.nodes
    return passed


def objection_to(profile: Profile, pod_class: PodClass, snapshot: Snapshot) -> tuple[str, str] | None:
    """Why a class can't be placed at all, and the plugin that says so."""
    for (plugin, _), demand in zip(profile.plugins, pod_class.demands, strict=True):
        if plugin.objection is not None and demand is not None and (why := plugin.objection(demand, snapshot)):
            return plugin.name, why
    return None


def rows_of(snapshot: Snapshot, names: Iterable[str]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """The rows of those of these nodes that exist."""
    rows = (snapshot.row(name) for name in names)
    return np.array(sorted(row for row in rows if row is not None), dtype=np.intp)


@dataclass(frozen=True, slots=True, eq=False)
class Attempt:
    """A pod that no node takes as things are; `helpable` nodes (a true for each row) only because of other pods.

    `memory` is for what a post filter has worked out, and is given to it again with the next pod.
    """

    profile: Profile
    pod_class: PodClass
    pod: Object
    applicant: Applicant
    snapshot: Snapshot
    helpable: BoolColumn
    memory: OrderedDict[Hashable, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Remedy:
    """What is to be done for such a pod: `victims` are sent away from `node`, where it is to come; or why nothing is.

    An empty `node` says that it is not to come anywhere any more, None that this is as before. `displaced` are less
    important pods that were to come there, and now are not.
    """

    node: str | None
    victims: tuple[PlacedPod, ...] = ()
    message: str = ""
    displaced: tuple[Object, ...] = ()
