"""What is counted pod by pod is what counting anew gives, whenever somebody asks first."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.selectors import parse_label_selector
from scheduler.affinity_terms import NO_TERMS, Term, Terms
from scheduler.pods import usage_of
from scheduler.residents import TALLIES_KEPT, Living, Resident, resident_labels
from scheduler.snapshot import Snapshot
from tests.unit.scheduler.factories import make_node, make_pod

ASKED = [Living(scope, parse_label_selector(text)) for scope in ("red", "blue") for text in ("app=web", "app!=web")]
AWAY = Terms(anti_affinity=(Term("zone", parse_label_selector("app=web"), frozenset({"red"}), None),))
USAGE = usage_of(make_pod(cpu="1"))
NODES = [f"n{number}" for number in range(20)]

residents = st.builds(
    Resident,
    st.sampled_from(["red", "blue"]),
    st.sampled_from(["web", "db"]).map(lambda app: resident_labels({"app": app})),
    st.booleans(),
    st.sampled_from([NO_TERMS, NO_TERMS, AWAY]),
)
steps = st.one_of(
    st.tuples(st.just("pod"), st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(NODES[-4:]), residents)),
    st.tuples(st.just("pod"), st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(NODES[-4:]), residents)),
    st.tuples(st.just("pod gone"), st.sampled_from("abcdefgh")),
    st.tuples(st.just("node"), st.sampled_from(NODES)),
    st.tuples(st.just("node gone"), st.sampled_from(NODES[-4:])),
    st.tuples(st.just("ask"), st.sampled_from(ASKED)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, max_size=50))
def test_tallies_are_what_counting_anew_gives(todo: list[tuple[str, Any]]) -> None:
    snapshot = Snapshot()
    nodes: set[str] = set()
    pods: dict[str, tuple[str, Resident]] = {}
    for kind, subject in todo:
        match kind:
            case "pod":
                pod, *where = subject
                snapshot.place(pod, where[0], USAGE, where[1])
                pods[pod] = where[0], where[1]
            case "pod gone":
                snapshot.remove(subject)
                pods.pop(subject, None)
            case "node":
                snapshot.set_node(make_node(subject))
                nodes.add(subject)
            case "node gone":
                snapshot.remove_node(subject)
                nodes.discard(subject)
            case "ask":
                snapshot.residents.tally(subject)
    there = [(node, resident) for node, resident in pods.values() if node in nodes]
    for question in ASKED:
        tally = snapshot.residents.tally(question)
        assert int(tally.sum()) == sum(question.weigh(resident) for _, resident in there)
        for node in nodes:
            row = snapshot.row(node)
            assert row is not None
            assert int(tally[row]) == sum(question.weigh(resident) for at, resident in there if at == node)
    asking = any(resident.terms == AWAY for _, resident in there)
    assert bool(snapshot.residents.terms) == asking
    assert set(snapshot.residents.anti_affinity_keys) == ({"zone"} if asking else set())


def test_a_tally_that_was_given_up_is_made_again_when_it_is_asked_for() -> None:
    snapshot = Snapshot()
    snapshot.set_node(make_node("n"))
    resident = Resident("red", resident_labels({"app": "web"}))
    snapshot.place("a", "n", USAGE, resident)
    assert int(snapshot.residents.tally(ASKED[0])[0]) == 1
    for number in range(TALLIES_KEPT + 1):
        snapshot.residents.tally(Living("red", parse_label_selector(f"app={number}")))
    snapshot.place("b", "n", USAGE, resident)
    assert int(snapshot.residents.tally(ASKED[0])[0]) == 2
