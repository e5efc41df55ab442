"""Columns that are kept up to date choose as columns that are made anew, also for scores unlike any real plugin's.

The plugins here are toys whose small numbers make ties, rising scores and full nodes that held an extreme common.
"""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object
from scheduler.columns import IntColumn, Rows
from scheduler.evaluation import WAVE_ROWS_MAX, Evaluation, Turn
from scheduler.framework import Plugin, PodClass, Profile
from scheduler.nominations import Applicant
from scheduler.plugins import node_resources_fit
from scheduler.pods import PODS
from scheduler.snapshot import Snapshot
from tests.unit.scheduler.factories import make_node, make_pod


def number(snapshot: Snapshot, label: str, rows: Rows) -> IntColumn:
    return snapshot.label(label).count(lambda value: int(value or 0), rows)


def slope(demand: int, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """Rises, stays or falls with each pod, as the node's labels say."""
    pods = snapshot.requested(PODS)[rows]
    return number(snapshot, "base", rows) + number(snapshot, "slope", rows) * pods


def rank(demand: int, snapshot: Snapshot, rows: Rows) -> IntColumn:
    return number(snapshot, "rank", rows)


def crowding(demand: int, snapshot: Snapshot, rows: Rows) -> IntColumn:
    return snapshot.requested(PODS)[rows].copy()


def share_of_the_highest(rates: IntColumn, lowest: int, highest: int) -> IntColumn:
    return 4 * rates // max(highest, 1)


def share_of_the_range(rates: IntColumn, lowest: int, highest: int) -> IntColumn:
    return 4 * (highest - rates) // max(highest - lowest, 1)


TOYS: dict[str, Plugin] = {
    "slope": Plugin("Slope", lambda pod: 1, score=slope),
    "rank": Plugin("Rank", lambda pod: 1, score=rank, normalize=share_of_the_range),
    "rank up": Plugin("RankUp", lambda pod: 1, score=rank, normalize=share_of_the_highest),
    "crowding": Plugin("Crowding", lambda pod: 1, score=crowding, normalize=share_of_the_range),
}

nodes = st.fixed_dictionaries(
    {
        "pods": st.integers(0, 4),
        "base": st.integers(0, 5),
        "slope": st.sampled_from([-1, -1, 0, 1]),
        "rank": st.integers(0, 2),
    }
)


def toy_node(name: str, values: dict[str, int]) -> Object:
    labels = {key: str(values[key]) for key in ("base", "slope", "rank")}
    return make_node(name, pods=values["pods"], labels=labels)


class Placer:
    """Places equal pods on a snapshot of its own."""

    def __init__(self, profile: Profile, *, anew: bool, seed: int = 0) -> None:
        self.snapshot = Snapshot()
        self.turn = Turn(random.Random(seed))
        self.profile = profile
        self.anew = anew
        self.evaluations: dict[PodClass, Evaluation] = {}
        self.placed: list[str] = []

    def place(self, cpu: str | None) -> int | None:
        pod_class = self.profile.describe(make_pod(cpu=cpu), self.snapshot)
        if self.anew or pod_class not in self.evaluations:
            self.evaluations[pod_class] = Evaluation(self.profile, pod_class)
        row = self.evaluations[pod_class].best(self.snapshot, self.turn, Applicant(0, ""))
        if row is not None:
            self.turn.take(row)
            self.placed.append(f"uid-{len(self.placed)}")
            self.snapshot.place(self.placed[-1], self.snapshot.node_name(row), pod_class.usage, assumed=True)
        return row

    def do(self, kind: str, subject: Any) -> Any:
        if kind == "pods":
            cpu, count = subject
            return [self.place(cpu) for _ in range(count)]
        if kind == "gone" and self.placed:
            self.snapshot.remove(self.placed[subject % len(self.placed)])
        if kind == "node":
            index, values = subject
            self.snapshot.set_node(toy_node(f"n{index}", values))
        return None


actions = st.one_of(
    st.tuples(st.just("pods"), st.tuples(st.sampled_from([None, "10m"]), st.integers(1, 2 * WAVE_ROWS_MAX))),
    st.tuples(st.just("pods"), st.tuples(st.sampled_from([None, "10m"]), st.integers(1, 3))),
    st.tuples(st.just("gone"), st.integers(0, 100)),
    st.tuples(st.just("node"), st.tuples(st.integers(0, 50), nodes)),
)


# Few kinds of nodes, or hardly any would have the same score.
clusters = st.lists(nodes, min_size=1, max_size=4).flatmap(
    lambda kinds: st.lists(st.sampled_from(kinds), min_size=9, max_size=50)
)


@settings(max_examples=500, deadline=None)
@given(
    clusters,
    st.lists(actions, max_size=8),
    st.sets(st.sampled_from(sorted(TOYS)), min_size=1),
)
def test_kept_columns_choose_as_new_ones_do(
    start: list[dict[str, int]], todo: list[tuple[str, Any]], scoring: set[str]
) -> None:
    profile = Profile(((node_resources_fit.PLUGIN, 0), *((TOYS[name], 1) for name in sorted(scoring))))
    kept, anew = Placer(profile, anew=False), Placer(profile, anew=True)
    for index, values in enumerate(start):
        for placer in (kept, anew):
            placer.do("node", (index, values))
    for kind, subject in todo:
        assert kept.do(kind, subject) == anew.do(kind, subject)


def test_equal_pods_turn_elsewhere_when_the_last_node_fills_that_the_others_were_measured_against() -> None:
    # All three kinds score 5 at first. When the ones are full, the twos are the highest and score 7.
    ones = {"pods": 1, "base": 1, "slope": 0, "rank": 2}
    twos = {"pods": 100, "base": 3, "slope": 0, "rank": 1}
    threes = {"pods": 100, "base": 5, "slope": 0, "rank": 0}
    profile = Profile(((node_resources_fit.PLUGIN, 0), (TOYS["slope"], 1), (TOYS["rank up"], 1)))
    for seed in range(20):
        placer = Placer(profile, anew=False, seed=seed)
        for index, values in enumerate(4 * [ones] + 5 * [twos] + 5 * [threes]):
            placer.do("node", (index, values))
        rows = placer.do("pods", (None, 40))
        last_one = max(rows.index(row) for row in range(4))
        assert set(rows[last_one + 1 :]) <= set(range(4, 9))


def test_nodes_with_the_same_score_take_turns() -> None:
    profile = Profile(((node_resources_fit.PLUGIN, 0),))
    placer = Placer(profile, anew=False)
    for index in range(20):
        placer.snapshot.set_node(make_node(f"n{index}"))
    rows = [placer.place(None) for _ in range(60)]
    assert sorted(rows[:20]) == list(range(20))  # type: ignore[type-var]
    assert rows[:20] == rows[20:40] == rows[40:]
