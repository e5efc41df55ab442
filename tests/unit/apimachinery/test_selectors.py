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
        ("example.com/x in (y)", {"example.com/x": "y"}, True),
    ],
)
def test_label_selectors(text: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_label_selector(text).matches(labels) is matches


@pytest.mark.parametrize("bad", ["a=b,", "=x", "a in b", "a in (b", ",", "a b", "-a=b", "a=b c"])
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
