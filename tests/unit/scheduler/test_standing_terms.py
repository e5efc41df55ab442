"""Which pods the terms of others mean: told without asking every pod about every other."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from apimachinery.selectors import Selector, selector_from_object
from scheduler.affinity_terms import Newcomer, Term, Terms
from scheduler.standing_terms import StandingTerms

SCOPES = ("red", "blue")


def selector(**labels: str) -> Selector:
    return selector_from_object({"matchLabels": labels})


WEB = selector(app="web")
SELECTORS = st.sampled_from([None, WEB, selector(app="db"), selector()])
TERMS = st.builds(
    Term,
    st.sampled_from(["zone", "host"]),
    SELECTORS,
    st.frozensets(st.sampled_from(SCOPES)),
    st.sampled_from([None, selector(), selector(team="a")]),
)
ALL_TERMS = st.builds(
    Terms,
    st.lists(TERMS, max_size=2).map(tuple),
    st.lists(TERMS, max_size=2).map(tuple),
    st.lists(st.tuples(st.integers(-100, 100), TERMS), max_size=2).map(tuple),
)
NEWCOMERS = st.builds(
    Newcomer,
    st.sampled_from(SCOPES),
    st.sampled_from([(), (("app", "web"),), (("app", "db"),)]),
    st.sampled_from([(), (("team", "a"),)]),
)


@given(st.lists(st.one_of(st.tuples(st.booleans(), ALL_TERMS), NEWCOMERS), max_size=20))
def test_whoever_is_meant_by_a_term_of_those_that_are_there_is_told_so_and_nobody_else(steps: list[object]) -> None:
    standing, there = StandingTerms(), Counter[Terms]()
    for step in steps:
        if isinstance(step, Newcomer):
            everything = [term for terms in there for term in (*terms.affinity, *terms.anti_affinity)]
            everything += [term for terms in there for _, term in terms.preferred]
            assert standing.mean(step) == any(step.is_meant_by(term) for term in everything)
            continue
        assert isinstance(step, tuple)
        comes, terms = step
        if comes or there[terms]:
            standing.count(terms, 1 if comes else -1)
            there[terms] += 1 if comes else -1
            there += Counter()  # without those of which there are none left
        assert bool(standing) == any(any(terms) for terms in there)


def test_pods_need_not_be_described_anew_for_one_more_of_a_kind_that_is_there() -> None:
    standing, terms = StandingTerms(), Terms(anti_affinity=(Term("zone", WEB, frozenset({"red"}), None),))
    standing.count(terms, 1)
    version = standing.version
    standing.count(terms, 1)
    standing.count(terms, -1)
    assert standing.version == version
    standing.count(terms, -1)
    assert standing.version > version
