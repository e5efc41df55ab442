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
STEPS_TO_ARRIVE_MAX = 60
EVENTS = st.sampled_from(["step", "step", "ready", "ready", "unready", "fail", "release", "taint", "clear", "drain"])
HISTORIES = st.lists(st.tuples(EVENTS, st.integers(0, NODES - 1)), max_size=60)
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
        elif event == "release":
            self.release += 1
        elif event in ("taint", "drain", "clear"):
            self.taints[where] = TAINTS.get(event, [])
        else:
            self.pods = [self._changed(one, event) if on(one) == f"n{where}" else one for one in self.pods]

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
            self._check_limits(step, places)
        gone = {uid(one) for one in step.delete}
        self.pods = [one for one in self.pods if uid(one) not in gone]
        for where in step.create:
            made = pod(f"p{next(self._numbers)}", node=where, labels={"app": "web", HASH_LABEL: self.digest})
            self.pods.append(made)
        assert all(len(here) <= (2 if self.surges else 1) for here in by_target(self.pods).values())
        return step

    def _check_limits(self, step: Step, places: Places) -> None:
        wanted = {where for where, (should_run, _) in places.items() if should_run}
        gone = {uid(one) for one in step.delete}
        left = {on(one) for one in self.pods if self._useful(one) and uid(one) not in gone} & wanted
        if self.surges:
            before = {on(one) for one in self.pods if self._useful(one)} & wanted
            assert left == before
        elif any(self._useful(one) and on(one) in wanted for one in step.delete):
            limit = self.owner["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"]
            most = limit if isinstance(limit, int) else -(-len(wanted) * int(limit[:-1]) // 100)
            assert len(left) >= len(wanted) - most

    def _useful(self, one: Object) -> bool:
        return is_available(self.owner, one, EPOCH)


def on(one: Object) -> str:
    where: str = one["spec"]["nodeName"]
    return where


@settings(max_examples=150, deadline=None)
@given(LIMITS, HISTORIES)
def test_an_update_keeps_to_its_limits_and_arrives(
    limits: tuple[int | str, int | str], history: list[tuple[str, int]]
) -> None:
    world = World(*limits)
    for event, where in history:
        world.happen(event, where)
    for _ in range(STEPS_TO_ARRIVE_MAX):
        world.step()
        for where in range(NODES):
            world.happen("ready", where)
    assert world.step() == Step()
    status = plan_status(world.owner, world.places, by_target(world.pods), world.digest, EPOCH)
    desired = sum(should_run for should_run, _ in world.places.values())
    counts = ("currentNumberScheduled", "numberReady", "updatedNumberScheduled", "numberAvailable")
    assert [status[key] for key in counts] == [desired] * 4
