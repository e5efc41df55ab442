"""Random clusters: nobody goes in vain, or for somebody as important; equal pods fare as if looked at alone."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from scheduler.cluster import Cluster, Placement
from scheduler.framework import feasible
from scheduler.nominations import Applicant
from scheduler.pods import priority
from scheduler.preemption import Share, Trials
from scheduler.queue import QueuedPod
from scheduler.verdicts import AllVerdicts, Verdicts
from tests.unit.scheduler.factories import add_node, add_pod, bind, delete_pod, make_cluster, make_node, make_pod

NODES = "abcde"
MUST = "requiredDuringSchedulingIgnoredDuringExecution"


def away_from(app: str) -> Object:
    term = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": app}}}
    return {"podAntiAffinity": {MUST: [term]}}


# All of these only mind that others are there, none that they are not.
TEMPLATES: list[dict[str, Any]] = [
    {"cpu": "1"},
    {"cpu": "2", "labels": {"app": "web"}},
    {"cpu": "3", "labels": {"app": "db"}},
    {"cpu": "500m", "ports": [80]},
    {"cpu": "1", "ports": [80], "labels": {"app": "db"}},
    {"cpu": "1", "labels": {"app": "web"}, "affinity": away_from("db")},
    {"cpu": "1", "labels": {"app": "db"}, "affinity": away_from("db")},
    {"cpu": "4", "preemptionPolicy": "Never"},
]
STARTED = ["", "2026-01-01T10:00:00Z", "2026-01-01T11:00:00Z"]

node_shapes = st.tuples(st.integers(2, 6), st.sampled_from("xy"), st.integers(1, 6))
pods = st.tuples(st.sampled_from(range(len(TEMPLATES))), st.integers(-1, 3), st.sampled_from(STARTED))
actions = st.one_of(
    st.tuples(st.just("pod"), pods),
    st.tuples(st.just("pod"), pods),
    st.tuples(st.just("equals"), pods),
    st.tuples(st.just("victim gone"), st.integers(0, 20)),
    st.tuples(st.just("victim gone"), st.integers(0, 20)),
    st.tuples(st.just("pod gone"), st.integers(0, 20)),
    st.tuples(st.just("node gone"), st.sampled_from(NODES)),
    st.tuples(st.just("node"), st.tuples(st.sampled_from(NODES), node_shapes)),
    st.tuples(st.just("budget"), st.tuples(st.sampled_from(["web", "db"]), st.integers(0, 2))),
    st.tuples(st.just("time"), st.just(None)),
)
histories = st.tuples(st.lists(node_shapes, min_size=1, max_size=5), st.lists(actions, min_size=5, max_size=40))


class World:
    """A cluster and the pods in it; every pod that is placed is bound, and its status says when it was started."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.now = 0.0
        self.made = 0
        self.bound: dict[str, Object] = {}
        self.waiting: dict[str, Object] = {}
        self.victims: list[str] = []
        self.log: list[str] = []

    def node(self, node: str, shape: tuple[int, str, int]) -> None:
        cpu, zone, count = shape
        add_node(self.cluster, make_node(node, cpu=cpu, pods=count, labels={"zone": zone}))

    def do(self, kind: str, subject: Any) -> None:
        self.now += 0.5
        match kind:
            case "pod":
                self.add(subject)
            case "equals":
                for _ in range(3):
                    self.add(subject)
            case "victim gone" if self.victims:
                self.gone(self.victims[subject % len(self.victims)])
            case "pod gone" if self.bound:
                self.gone(sorted(self.bound)[subject % len(self.bound)])
            case "node gone" if self.cluster.snapshot.row(subject) is not None:
                self.cluster.node_changed("DELETED", make_node(subject), None)
            case "node":
                self.node(*subject)
            case "budget":
                app, allowed = subject
                spec = {"selector": {"matchLabels": {"app": app}}}
                metadata = {"name": app, "namespace": "default"}
                status = {"disruptionsAllowed": allowed}
                self.cluster.budget_changed(None, {"metadata": metadata, "spec": spec, "status": status})
            case "time":
                self.now += 400
        self.place_all()

    def add(self, subject: tuple[int, int, str]) -> None:
        template, importance, started = subject
        self.made += 1
        pod = make_pod(f"p{self.made}", priority=importance, **TEMPLATES[template])
        if started:
            pod["status"]["startTime"] = started
        self.waiting[name(pod)] = pod
        add_pod(self.cluster, pod, now=self.now)

    def gone(self, pod: str) -> None:
        delete_pod(self.cluster, self.bound.pop(pod), now=self.now)
        if pod in self.victims:
            self.victims.remove(pod)

    def place_all(self) -> None:
        while (queued := self.cluster.next_pod(self.now)) is not None:
            self.before(queued)
            found = self.cluster.place(queued, self.now)
            if isinstance(found, Placement):
                self.log.append(f"{queued.key} → {found.node}")
                del self.waiting[name(queued.pod)]
                self.bound[name(queued.pod)] = bind(self.cluster, found)
                continue
            remedy = found.remedy
            assert remedy is not None or found.helpable is None
            victims = [name(victim.pod) for victim in remedy.victims] if remedy is not None else []
            node = remedy.node if remedy is not None else None
            self.log.append(f"{queued.key} ⇒ {node} {victims}: {found.message}")
            if remedy is not None and node:
                self.after(queued, node, victims)
            self.victims += victims

    def before(self, queued: QueuedPod) -> None:
        pass

    def after(self, queued: QueuedPod, node: str, victims: list[str]) -> None:
        pass


class Watched(World):
    """A world in which every decision is checked."""

    def before(self, queued: QueuedPod) -> None:
        nominations = self.cluster.snapshot.nominations
        self.leaving = set(nominations.victims)

    def after(self, queued: QueuedPod, node: str, victims: list[str]) -> None:
        """Nobody as important has to go; then the pod fits; and it would not if any of them stayed."""
        snapshot = self.cluster.snapshot
        row = snapshot.row(node)
        assert row is not None
        leaving = {pod for pod in self.bound if f"uid-default-{pod}" in self.leaving}
        assert not leaving & set(victims), "nobody is sent away twice"
        assert queued.pod["spec"].get("preemptionPolicy") != "Never"
        for victim in victims:
            assert self.bound[victim]["spec"]["nodeName"] == node
            assert priority(self.bound[victim]) < priority(queued.pod)
        on_node = {pod for pod, obj in self.bound.items() if obj["spec"]["nodeName"] == node}
        staying = on_node - set(victims) - leaving
        nominees = [uid for uid, other in snapshot.nominees(row).items() if other.priority >= priority(queued.pod)]
        assert self.fits(queued, row, staying)
        if len(nominees) == 1 and not leaving:
            for victim in victims:
                assert not self.fits(queued, row, staying | {victim})

    def fits(self, queued: QueuedPod, row: int, others: set[str]) -> bool:
        """Whether a pod fits on a node of a cluster like this one where only these are on that node."""
        copy = make_cluster()
        snapshot = self.cluster.snapshot
        node = snapshot.node_name(row)
        for index in range(snapshot.height):
            if (obj := snapshot.node(index)) is not None:
                add_node(copy, obj)
        for pod, obj in self.bound.items():
            if obj["spec"]["nodeName"] != node or pod in others:
                add_pod(copy, obj)
        profile = copy.profile_of(queued.pod_class)
        here = copy.snapshot.row(node)
        assert here is not None
        pod_class = profile.describe(queued.pod, copy.snapshot)
        return bool(feasible(profile, pod_class, copy.snapshot, slice(here, here + 1))[0])


@settings(max_examples=60, deadline=None)
@given(histories)
def test_only_less_important_pods_go_and_none_of_them_in_vain(
    history: tuple[list[tuple[int, str, int]], list[tuple[str, Any]]],
) -> None:
    run(Watched(make_cluster()), history)


def run(world: World, history: tuple[list[tuple[int, str, int]], list[tuple[str, Any]]]) -> list[str]:
    shapes, todo = history
    for node, shape in zip(NODES, shapes, strict=False):
        world.node(node, shape)
    for kind, subject in todo:
        world.do(kind, subject)
    return world.log


class Forgetful(OrderedDict[Any, Any]):
    """Remembers nothing."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


class NoVerdicts(AllVerdicts):
    """All nodes are looked at for each pod."""

    def of(self, *_: Any) -> Verdicts | None:
        return None


class OneByOne(World):
    """A world in which every pod is looked at as if it were the first."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        cluster._memory = Forgetful()
        cluster._verdicts = NoVerdicts()

    def before(self, queued: QueuedPod) -> None:
        self.cluster._diagnoses.clear()
        self.cluster._evaluations._kept.clear()


@settings(max_examples=80, deadline=None)
@given(histories, st.integers(0, 3))
def test_equal_pods_make_room_as_if_each_had_been_looked_at_alone(
    history: tuple[list[tuple[int, str, int]], list[tuple[str, Any]]], seed: int
) -> None:
    assert run(World(make_cluster(seed=seed)), history) == run(OneByOne(make_cluster(seed=seed)), history)


@settings(max_examples=40, deadline=None)
@given(histories)
def test_the_node_is_one_of_those_that_cost_the_least(
    history: tuple[list[tuple[int, str, int]], list[tuple[str, Any]]],
) -> None:
    cluster = make_cluster()
    run(World(cluster), history)
    snapshot = cluster.snapshot
    add_pod(cluster, make_pod("last", cpu="2", priority=4), now=1e6)
    while (queued := cluster.next_pod(1e6)) is not None and name(queued.pod) != "last":
        cluster.place(queued, 1e6)
    if queued is None:
        return
    profile = cluster.profile_of(queued.pod_class)
    helpable = cluster.diagnosis(queued).helpable
    if helpable is None or feasible(profile, queued.pod_class, snapshot, slice(0, snapshot.height)).any():
        return
    costs = {}
    for row in range(snapshot.height):
        alone = helpable.copy()
        alone[:] = False
        alone[row] = helpable[row]
        trials = Trials(profile, queued.pod_class, 4, together=False)
        trials.catch_up(snapshot)
        if trials.best(snapshot, alone, Applicant(4, queued.uid), Share()) is not None:
            costs[row] = trials.victims[row].costs()
    trials = Trials(profile, queued.pod_class, 4, together=False)
    trials.catch_up(snapshot)
    best = trials.best(snapshot, helpable, Applicant(4, queued.uid), Share())
    assert (best is None) == (not costs)
    assert best is None or costs[best] == min(costs.values())
