"""Random histories of a DaemonSet: whatever happens to nodes and pods, an update keeps to its limits and arrives."""

from __future__ import annotations

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, labels, name, uid
from controllers.daemon_set_nodes import HASH_LABEL, Placement, Places, by_target
from controllers.daemon_set_plan import Step, is_available, plan_nodes, plan_rollout, plan_status
from controllers.pods import is_finished
from tests.support.workloads import EPOCH, metadata, node, pod, template

NODES = 5
STEPS_TO_ARRIVE_MAX = 40
EVENTS = st.sampled_from(["step", "ready", "unready", "fail", "release", "taint", "clear", "drain", "arrive"])
HISTORIES = st.lists(st.tuples(EVENTS, st.integers(0, NODES - 1)), max_size=30)
LIMITS = st.sampled_from([(0, 1), (0, 2), (0, "50%"), (1, 0), (2, 0), ("50%", 0)])
TAINTS = {"taint": [{"key": "gpu", "effect": "NoSchedule"}], "drain": [{"key": "gpu", "effect": "NoExecute"}]}


class World:
    """Nodes and pods as they are, and the controller's next step carried out on them."""

    def __init__(self, surge: int | str, unavailable: int | str) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
        spec = {"selector": {}, "template": template(), "updateStrategy": strategy}
        self.owner: Object = {"metadata": metadata("agent"), "spec": spec}
        self.surges = surge != 0
        self.taints: list[list[Object]] = [[] for _ in range(NODES)]
        self.pods: list[Object] = []
        self.release = 1
        self._numbers = count()

    @property
    def places(self) -> Places:
        nodes = [node(f"n{number}", taints=taints) for number, taints in enumerate(self.taints)]
        return Placement(self.owner).of_all(nodes)

    @property
    def digest(self) -> str:
        return str(self.release)

    def happen(self, event: str, where: int) -> None:
        """Something happens to a node or to the pods on it."""
        if event == "step":
            self.step()
        elif event == "arrive":
            self.arrive()
        elif event == "release":
            self.release += 1
        elif event in ("taint", "drain", "clear"):
            self.taints[where] = TAINTS.get(event, [])
        else:
            self.pods = [self._changed(one, event) if on(one) == f"n{where}" else one for one in self.pods]

    def arrive(self) -> None:
        """For a while nothing happens but that pods become ready."""
        for _ in range(STEPS_TO_ARRIVE_MAX):
            for where in range(NODES):
                self.happen("ready", where)
            if self.step() == Step():
                return
            self.step()  # one more before the new pods are ready
        raise AssertionError(f"no end after {STEPS_TO_ARRIVE_MAX} steps")

    def _changed(self, one: Object, event: str) -> Object:
        if is_finished(one):
            return one
        phase = "Failed" if event == "fail" else "Running"
        since = EPOCH if event == "ready" else None
        changed = pod(name(one), node=on(one), phase=phase, ready_since=since, labels=labels(one))
        return {**changed, "metadata": one["metadata"]}

    def step(self) -> Step:
        """The controller's next step, carried out at once; what it must never do is asserted here."""
        by_node, places = by_target(self.pods), self.places
        step = plan_nodes(self.owner, places, by_node, self.digest, EPOCH)
        step.delete += step.finished
        if not (step.create or step.delete):
            step = plan_rollout(self.owner, places, by_node, self.digest, EPOCH)
            self._check_unavailable(step, places)
            self._check_extra(step, places)
        self._check_surge(step, places)
        gone = {uid(one) for one in step.delete}
        self.pods = [one for one in self.pods if uid(one) not in gone]
        for where in step.create:
            made = pod(f"p{next(self._numbers)}", node=where, labels={"app": "web", HASH_LABEL: self.digest})
            self.pods.append(made)
        assert all(len(here) <= (2 if self.surges else 1) for here in by_target(self.pods).values())
        return step

    def _check_unavailable(self, step: Step, places: Places) -> None:
        """A part of an update that takes useful pods away leaves enough of them."""
        wanted = wanted_among(places)
        if not self.surges and any(self._useful(one) and on(one) in wanted for one in step.delete):
            assert len(self._served(step) & wanted) >= len(wanted) - self._limit("maxUnavailable", len(wanted))

    def _check_surge(self, step: Step, places: Places) -> None:
        """With a surge no node that should have a pod loses its only useful one."""
        if self.surges:
            wanted = wanted_among(places)
            assert self._served(step) & wanted == self._served(Step()) & wanted

    def _check_extra(self, step: Step, places: Places) -> None:
        """New pods beside useful old ones are no more than the surge allows."""
        served = self._served(Step())
        beside = served & set(step.create)
        if beside:
            coming = {
                on(one) for one in self.pods if labels(one)[HASH_LABEL] == self.digest and not self._useful(one)
            }
            assert len(beside | (coming & served)) <= self._limit("maxSurge", len(wanted_among(places)))

    def _limit(self, field: str, wanted: int) -> int:
        value = self.owner["spec"]["updateStrategy"]["rollingUpdate"][field]
        return value if isinstance(value, int) else -(-wanted * int(value[:-1]) // 100)

    def _served(self, step: Step) -> set[str]:
        """The nodes that have a useful pod after a step."""
        gone = {uid(one) for one in step.delete}
        return {on(one) for one in self.pods if self._useful(one) and uid(one) not in gone}

    def _useful(self, one: Object) -> bool:
        return is_available(self.owner, one, EPOCH)


def wanted_among(places: Places) -> set[str]:
    return {where for where, (should_run, _) in places.items() if should_run}


def on(one: Object) -> str:
    where: str = one["spec"]["nodeName"]
    return where


@settings(max_examples=80, deadline=None)
@given(LIMITS, HISTORIES)
def test_an_update_keeps_to_its_limits_and_arrives(
    limits: tuple[int | str, int | str], history: list[tuple[str, int]]
) -> None:
    world = World(*limits)
    world.arrive()
    for event, where in history:
        world.happen(event, where)
    world.arrive()
    world.happen("release", 0)
    world.arrive()
    assert world.step() == Step()
    status = plan_status(world.owner, world.places, by_target(world.pods), world.digest, EPOCH)
    desired = sum(should_run for should_run, _ in world.places.values())
    counts = ("currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
    assert [status[key] for key in counts] == [desired] * 4
