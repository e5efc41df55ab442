"""Quantities keep their value and have one canonical form."""

from fractions import Fraction
from math import ceil

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


def test_less_than_one_has_no_binary_suffix() -> None:
    assert canonical("0.5Ki") == "512" and canonical("0.0001Ki") == "102400u"
    assert parse("0.0001Ki").family == "decimal"


def test_values_are_rounded_up() -> None:
    assert value("1500m") == 2 and milli_value("0.0001") == 1 and value("64Mi") == 64 << 20


@pytest.mark.parametrize("bad", ["", "abc", "1.2.3", "1x", "Ki", "1 Gi", "1e99", "--1", "1KI", "١", "1e٣"])
def test_what_is_no_quantity_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        parse(bad)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "M", "Ki", "Mi", "Gi", "n", "u"]))
def test_the_canonical_form_stands_for_the_same_value(number: int, suffix: str) -> None:
    quantity = parse(f"{number}{suffix}")
    assert parse(str(quantity)).nanos == quantity.nanos
    assert canonical(str(quantity)) == str(quantity)


NUMBERS = st.integers(-(10**6), 10**6).map(str) | st.decimals(-1000, 1000, places=3).map(str)
FACTORS = {
    **{"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(10**3), "M": Fraction(10**6), "G": Fraction(10**9)},
    **{"Ki": Fraction(2**10), "Mi": Fraction(2**20), "Ti": Fraction(2**40), "e3": Fraction(1000)},
}
WRITTEN = st.tuples(NUMBERS, st.sampled_from(sorted(FACTORS)))


@given(WRITTEN, WRITTEN)
def test_quantities_are_numbers_whatever_they_are_written_in(one: tuple[str, str], other: tuple[str, str]) -> None:
    a, b = (Fraction(number) * FACTORS[suffix] for number, suffix in (one, other))
    p, q = parse("".join(one)), parse("".join(other))
    assert p.nanos == a * 10**9
    assert (p < q, p <= q) == (a < b, a <= b)
    assert ((p + q).nanos, (p - q).nanos) == ((a + b) * 10**9, (a - b) * 10**9)
    assert (p.value(), p.milli_value()) == (ceil(a), ceil(a * 1000))
    for quantity in (p, p + q, p - q):
        assert parse(str(quantity)).nanos == quantity.nanos


@given(WRITTEN)
def test_the_canonical_form_has_no_fraction_and_the_largest_suffix_that_needs_none(written: tuple[str, str]) -> None:
    shown = canonical("".join(written))
    assert "." not in shown
    whole = shown.lstrip("-").rstrip("numkKMGTPEi")
    suffix = shown.lstrip("-")[len(whole) :]
    if "e" in shown or shown == "0":
        return
    # A multiple of 1024 is written with the next suffix, and less than that with none.
    binary = written[1].endswith("i") and (suffix.endswith("i") or not suffix)
    assert int(whole) % (1024 if binary else 1000) != 0 or suffix in ("E", "Ei")


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_addition_is_exact(a: int, b: int) -> None:
    assert (parse(f"{a}m") + parse(f"{b}m")).nanos == parse(f"{a + b}m").nanos
