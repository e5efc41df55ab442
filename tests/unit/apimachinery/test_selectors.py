"""Selectors select what Kubernetes' documentation says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apimachinery.selectors import parse_field_selector, parse_label_selector, selector_from_object


@pytest.mark.parametrize(
    ("text", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b,c!=d", {"a": "b"}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c),!z", {"a": "c"}, True),
        ("a notin (b)", {}, True),
        ("a", {"a": ""}, True),
        ("a=", {"a": ""}, True),
        ("n>3,n<5", {"n": "4"}, True),
        ("n>3", {"n": "5x"}, False),
        ("n>3", {"n": "1_0"}, False),
        ("n<3", {}, False),
        ("example.com/x in (y)", {"example.com/x": "y"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize(
    "bad", ["a=b,", "=x", "a in b", "a in (b", ",", "a b", "-a=b", "a=b c", "n>x", "n<1.5", "n>-1"]
)
def test_what_is_no_selector_is_a_bad_request(bad: str) -> None:
    with pytest.raises(ApiError, match="unable to parse requirement") as caught:
        parse_label_selector(bad)
    assert caught.value.code == 400


WORD = st.from_regex(r"[a-z0-9]([a-z0-9]{0,5})", fullmatch=True)
REQUIREMENT = st.one_of(
    st.builds("{}={}".format, WORD, WORD),
    st.builds("{}!={}".format, WORD, WORD),
    st.builds("!{}".format, WORD),
    st.builds("{} in ({},{})".format, WORD, WORD, WORD),
)


@given(st.lists(REQUIREMENT, max_size=4).map(",".join), st.dictionaries(WORD, WORD, max_size=4))
def test_a_selector_written_out_selects_the_same(text: str, labels: dict[str, str]) -> None:
    selector = parse_label_selector(text)
    assert parse_label_selector(str(selector)).matches(labels) == selector.matches(labels)


LABELS = st.dictionaries(WORD, WORD, max_size=4)
SELECTORS = st.lists(REQUIREMENT, max_size=4).map(",".join)


@given(SELECTORS, SELECTORS, LABELS)
def test_all_requirements_must_hold_in_whatever_order(one: str, other: str, labels: dict[str, str]) -> None:
    holds = parse_label_selector(one).matches(labels) and parse_label_selector(other).matches(labels)
    for both in (f"{one},{other}", f"{other},{one}"):
        assert parse_label_selector(both.strip(",")).matches(labels) is holds


@given(WORD, st.lists(WORD, min_size=1, max_size=3), LABELS)
def test_a_requirement_and_its_opposite_never_agree(key: str, values: list[str], labels: dict[str, str]) -> None:
    listed = ",".join(values)
    pairs = ((f"{key} in ({listed})", f"{key} notin ({listed})"), (key, f"!{key}"), (f"{key}=x", f"{key}!=x"))
    for one, opposite in pairs:
        assert parse_label_selector(one).matches(labels) is not parse_label_selector(opposite).matches(labels)


@given(LABELS, st.lists(st.tuples(WORD, st.sampled_from(("In", "NotIn", "Exists", "DoesNotExist")), WORD)), LABELS)
def test_selectors_of_specs_select_what_their_text_does(
    equal: dict[str, str], said: list[tuple[str, str, str]], labels: dict[str, str]
) -> None:
    expressions = [
        {"key": key, "operator": operator, **({"values": [value]} if "In" in operator else {})}
        for key, operator, value in said
    ]
    selector = selector_from_object({"matchLabels": equal, "matchExpressions": expressions})
    assert parse_label_selector(str(selector)).matches(labels) is selector.matches(labels)
    assert selector_from_object({"matchLabels": labels}).matches(labels)


@given(st.lists(st.tuples(WORD, st.sampled_from(("=", "==", "!=")), WORD), max_size=4), LABELS)
def test_field_selectors_hold_where_each_of_their_terms_does(
    terms: list[tuple[str, str, str]], fields: dict[str, str]
) -> None:
    selector = parse_field_selector(",".join(f"spec.{name}{operator}{value}" for name, operator, value in terms))
    holds = [(fields.get(name, "") == value) is (operator != "!=") for name, operator, value in terms]
    assert selector.matches({"spec": fields}) is all(holds)


def test_selectors_of_specs() -> None:
    selector = selector_from_object(
        {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "NotIn", "values": ["d"]}]}
    )
    assert selector.matches({"a": "b"}) and not selector.matches({"a": "b", "c": "d"})
    assert str(selector) == "a=b,c!=d"


def test_field_selectors_know_missing_fields_and_booleans() -> None:
    selector = parse_field_selector("spec.nodeName=,spec.hostNetwork!=true")
    assert selector.matches({"spec": {}}) and not selector.matches({"spec": {"hostNetwork": True}})
    with pytest.raises(ApiError, match="field label not supported: spec.x"):
        parse_field_selector("spec.x=1", ["metadata.name"])


def test_a_field_that_is_left_out_for_being_zero_is_found_by_that_value():
    schedulable = parse_field_selector("spec.unschedulable=false")
    assert schedulable.matches({"spec": {}})
    assert not schedulable.matches({"spec": {"unschedulable": True}})
