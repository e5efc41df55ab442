"""The columns say at any time what a computation from scratch would say."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from scheduler.columns import SPARE_VALUES_MAX, CodedColumn, Journal
from scheduler.pods import HostPort, usage_of
from scheduler.snapshot import Change, Snapshot
from tests.unit.scheduler.factories import container, make_node, make_pod

RESOURCES = ("cpu", "memory", "pods", "ephemeral-storage", "example.com/gpu")
LABELS = ("zone", "disk")

node_names = st.sampled_from(["a", "b", "c", "d"])
pod_names = st.sampled_from([f"p{number}" for number in range(8)])


@st.composite
def nodes(draw: st.DrawFn) -> Object:
    labels = draw(st.dictionaries(st.sampled_from(LABELS), st.sampled_from("xyz")))
    taints = draw(st.lists(st.sampled_from(["k1", "k2"]), max_size=2))
    node = make_node(
        draw(node_names),
        cpu=draw(st.integers(0, 8)),
        pods=draw(st.integers(0, 5)),
        labels=labels,
        taints=[{"key": key, "effect": "NoSchedule"} for key in taints],
        unschedulable=draw(st.booleans()),
    )
    if draw(st.booleans()):
        node["status"]["allocatable"]["example.com/gpu"] = "2"
    return node


@st.composite
def assigned_pods(draw: st.DrawFn) -> Object:
    requests = draw(st.dictionaries(st.sampled_from(["cpu", "memory", "example.com/gpu"]), st.sampled_from("123")))
    ports = [{"containerPort": 1, "hostPort": port} for port in draw(st.sets(st.integers(1, 3), max_size=2))]
    return make_pod(draw(pod_names), node=draw(node_names), containers=[container(requests=requests, ports=ports)])


steps = st.one_of(
    st.tuples(st.just("node"), nodes()),
    st.tuples(st.just("node gone"), node_names),
    st.tuples(st.just("pod"), assigned_pods()),
    st.tuples(st.just("assumed"), assigned_pods()),
    st.tuples(st.just("pod gone"), pod_names),
    st.tuples(st.just("look"), st.sampled_from(LABELS)),
)


def told(snapshot: Snapshot) -> dict[str, Any]:
    """All that plugins can ask, by node."""
    found: dict[str, Any] = {}
    for node in "abcd":
        row = snapshot.row(node)
        if row is None:
            continue
        found[node] = {
            "present": bool(snapshot.present[row]),
            "unschedulable": bool(snapshot.unschedulable[row]),
            "allocatable": [int(snapshot.allocatable(resource)[row]) for resource in RESOURCES],
            "requested": [int(snapshot.requested(resource)[row]) for resource in RESOURCES],
            "scored": (int(snapshot.scored_cpu[row]), int(snapshot.scored_memory[row])),
            "taints": snapshot.taints.get(row),
            "labels": [snapshot.label(key).get(row) for key in LABELS],
            "ports": {port for port in (1, 2, 3) if _has_port(snapshot, row, port)},
        }
    return found


def _has_port(snapshot: Snapshot, row: int, number: int) -> bool:
    return row in list(snapshot.rows_with_port(HostPort("0.0.0.0", "TCP", number)))


@settings(max_examples=300, deadline=None)
@given(st.lists(steps, max_size=40))
def test_after_any_events_the_columns_equal_a_recomputation(events: list[tuple[str, Any]]) -> None:
    snapshot = Snapshot()
    present: dict[str, Object] = {}
    placed: dict[str, Object] = {}
    for kind, subject in events:
        match kind:
            case "node":
                snapshot.set_node(subject)
                present[name(subject)] = subject
            case "node gone":
                snapshot.remove_node(subject)
                present.pop(subject, None)
            case "pod" | "assumed":
                node = subject["spec"]["nodeName"]
                snapshot.place(name(subject), node, usage_of(subject), assumed=kind == "assumed")
                placed[name(subject)] = subject
            case "pod gone":
                snapshot.remove(subject)
                placed.pop(subject, None)
            case "look":
                snapshot.label(subject)
    fresh = Snapshot()
    for node in present.values():
        fresh.set_node(node)
    for pod in placed.values():
        fresh.place(name(pod), pod["spec"]["nodeName"], usage_of(pod))
    assert told(snapshot) == told(fresh)
    assert snapshot.node_count == len(present) == int(np.count_nonzero(snapshot.present))


@settings(max_examples=100, deadline=None)
@given(st.lists(steps, max_size=30), st.lists(steps, max_size=10))
def test_the_journal_names_every_row_that_changed(
    before: list[tuple[str, Any]], after: list[tuple[str, Any]]
) -> None:
    snapshot = Snapshot()

    def apply(events: list[tuple[str, Any]]) -> None:
        for kind, subject in events:
            match kind:
                case "node":
                    snapshot.set_node(subject)
                case "node gone":
                    snapshot.remove_node(subject)
                case "pod":
                    snapshot.place(name(subject), subject["spec"]["nodeName"], usage_of(subject))
                case "pod gone":
                    snapshot.remove(subject)

    apply(before)
    position, seen = snapshot.journal.position, told(snapshot)
    apply(after)
    now = told(snapshot)
    changed = {node for node in "abcd" if seen.get(node) != now.get(node)}
    named = snapshot.journal.since(position)
    assert named is not None
    rows = {snapshot.row(node) for node in changed if node in now}
    assert rows <= set(named)


def test_pods_of_a_node_that_went_and_came_back_are_still_counted() -> None:
    snapshot = Snapshot()
    snapshot.set_node(make_node("a"))
    snapshot.place("uid", "a", usage_of(make_pod(cpu="1")))
    snapshot.remove_node("a")
    assert snapshot.node_count == 0
    snapshot.set_node(make_node("b"))
    snapshot.set_node(make_node("a"))
    rows = [snapshot.row("a"), snapshot.row("b")]
    assert [int(snapshot.requested("cpu")[row]) for row in rows if row is not None] == [1000, 0]


def test_a_heartbeat_changes_nothing() -> None:
    snapshot = Snapshot()
    node = make_node("a")
    assert snapshot.set_node(node) == Change.NODE_ADDED
    position = snapshot.journal.position
    node["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastHeartbeatTime": "later"}]
    assert not snapshot.set_node({**node, "metadata": {**node["metadata"], "resourceVersion": "999"}})
    assert snapshot.journal.position == position


def test_what_changed_of_a_node_is_named() -> None:
    snapshot = Snapshot()
    snapshot.set_node(make_node("a"))
    assert snapshot.set_node(make_node("a", cpu="5")) == Change.NODE_ALLOCATABLE
    assert snapshot.set_node(make_node("a", cpu="5", labels={"x": "y"})) == Change.NODE_LABELS
    assert snapshot.set_node(make_node("a", cpu="5", unschedulable=True)) == Change.NODE_LABELS | Change.NODE_TAINTS


def test_a_quantity_that_can_not_be_read_counts_as_none() -> None:
    snapshot = Snapshot()
    snapshot.set_node(make_node("a", cpu="many"))
    assert int(snapshot.allocatable("cpu")[0]) == 0
    assert int(snapshot.allocatable("pods")[0]) == 110


def test_many_nodes_have_rows_and_rows_of_the_past_are_used_again() -> None:
    snapshot = Snapshot()
    for number in range(100):
        snapshot.set_node(make_node(f"n{number}", cpu=number))
    assert int(snapshot.allocatable("cpu")[snapshot.row("n99") or 0]) == 99_000
    for number in range(100):
        snapshot.remove_node(f"n{number}")
        snapshot.set_node(make_node(f"m{number}"))
    assert snapshot.height == 100


def test_labels_of_nodes_of_the_past_are_forgotten() -> None:
    snapshot = Snapshot()
    snapshot.label("hostname")
    for number in range(3 * SPARE_VALUES_MAX):
        snapshot.set_node(
            make_node("a", labels={"hostname": f"h{number}"}, taints=[{"key": f"k{number}", "effect": "NoSchedule"}])
        )
    assert len(snapshot.label("hostname")) <= 2 * SPARE_VALUES_MAX
    assert len(snapshot.taints) <= 2 * SPARE_VALUES_MAX
    assert snapshot.label("hostname").get(0) == f"h{3 * SPARE_VALUES_MAX - 1}"


def test_a_coded_column_answers_alike_for_all_rows_and_for_one() -> None:
    column: CodedColumn[str] = CodedColumn(6)
    for row, value in enumerate(["x", "y", None, "x", "z"]):
        column.set(row, value)
    everywhere = column.where(lambda value: value in ("x", "z"), slice(0, 6))
    assert list(everywhere) == [True, False, False, True, True, False]
    assert [bool(column.where(lambda v: v in ("x", "z"), slice(r, r + 1))[0]) for r in range(6)] == list(everywhere)
    assert list(column.count(lambda value: 0 if value is None else ord(value), np.array([2, 4]))) == [0, ord("z")]
    assert list(column.is_in(["y", "unknown"], slice(0, 3))) == [False, True, False]


def test_a_journal_that_has_forgotten_says_so() -> None:
    journal = Journal(length_max=10)
    start = journal.position
    for row in range(8):
        journal.append(row % 2)
    assert journal.since(start) == [0, 1]
    middle = journal.position
    for row in range(4):
        journal.append(row)
    assert journal.since(start) is None
    assert journal.since(middle) == [0, 1, 2, 3]
    assert journal.since(journal.position) == []
