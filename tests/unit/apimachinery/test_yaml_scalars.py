"""Plain words in YAML as Kubernetes reads them."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from apimachinery.yaml_scalars import install


class Loader(yaml.SafeLoader):
    """A loader of Python's library that reads as Kubernetes does."""


install(Loader)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, True) for word in ("y", "Y", "yes", "YES", "true", "True", "on", "ON")],
        *[(word, False) for word in ("n", "no", "No", "false", "FALSE", "off")],
        *[(word, None) for word in ("~", "null", "Null", "")],
        ("22:22", "22:22"),
        ("190:20:30.15", "190:20:30.15"),
        ("=", "="),
        ("2024-01-01", "2024-01-01"),
        ("!!timestamp x", "x"),
        ("0", 0),
        ("0644", 420),
        ("0o17", 15),
        ("0x1F", 31),
        ("0b11", 3),
        ("-0b11", -3),
        ("1_000", 1000),
        ("-5", -5),
        ("+5", 5),
        ("08", 8),
        (".5", 0.5),
        ("1.5", 1.5),
        ("1e3", 1000),
        ("12e03", 12000),
        ("1.", 1),
        ("1.0", 1),
        ("1.2.3", "1.2.3"),
        ("'5'", "5"),
        ("yess", "yess"),
    ],
)
def test_a_plain_word(text: str, value: Any) -> None:
    found = yaml.load(f"a: {text}", Loader)["a"]
    assert (type(found), found) == (type(value), value)


def test_the_numbers_of_infinity_are_numbers() -> None:
    assert yaml.load("[.inf, -.inf]", Loader) == [float("inf"), float("-inf")]
