"""What strings of a format look like."""

from __future__ import annotations

import pytest

from apimachinery.structural.formats import FORMATS, is_known, normalized

_CASES = {
    "date": (["2024-02-29", "2024-12-31"], ["2023-02-29", "2024-1-1", "x"]),
    "date-time": (["2024-01-01T00:00:00Z", "2024-01-01T00:00:00.5+01:00"], ["2024-01-01", "2024-13-01T00:00:00Z"]),
    "duration": (["1h", "1.5h", "90s", "3 days"], ["x", "1 year of it"]),
    "email": (["a@example.com", "A <a@example.com>"], ["a", "@example.com"]),
    "hostname": (["example.com", "a"], ["-a", "a..b", ""]),
    "ipv4": (["10.0.0.1"], ["::1", "10.0.0", "10.0.0.256"]),
    "ipv6": (["::1", "fe80::1"], ["10.0.0.1", "g::"]),
    "cidr": (["10.0.0.0/8", "fd00::/8"], ["10.0.0.0", "10.0.0.0/33", f"10.0.0.0/{'9' * 5000}", "10.0.0.0/٣"]),
    "mac": (["00:1b:44:11:3a:b7", "001b.4411.3ab7"], ["00:1b:44:11:3a", "x"]),
    "uri": (["https://example.com/x", "/path"], ["x", "http://[::1"]),
    "uuid": (["123e4567-e89b-12d3-a456-426614174000"], ["123e4567", "x"]),
    "uuid4": (["123e4567-e89b-42d3-a456-426614174000"], ["123e4567-e89b-12d3-a456-426614174000"]),
    "byte": (["YQ==", "YWJj"], ["a", "****"]),
    "hexcolor": (["#fff", "ffffff"], ["#ffff", "x"]),
    "rgbcolor": (["rgb(0, 1, 255)"], ["rgb(0,0,256)", "rgb(0,0)"]),
    "bsonobjectid": (["507f1f77bcf86cd799439011"], ["507f", "g07f1f77bcf86cd799439011"]),
    "isbn": (["0-306-40615-2", "978-0-306-40615-7"], ["0-306-40615-3", "x"]),
    "creditcard": (["4111111111111111"], ["4111", "x"]),
    "ssn": (["111-22-3333"], ["11-22-3333"]),
    "password": (["anything"], []),
    "k8s-short-name": (["a-b"], ["A", "a.b", "a" * 64]),
    "k8s-long-name": (["a.b-c"], ["A", "a..b"]),
}


@pytest.mark.parametrize(
    ("form", "text", "fits"),
    [(form, text, True) for form, (texts, _) in _CASES.items() for text in texts]
    + [(form, text, False) for form, (_, texts) in _CASES.items() for text in texts],
)
def test_strings_of_a_format(form: str, text: str, fits: bool) -> None:
    assert FORMATS[normalized(form)](text) is fits


def test_names_are_compared_without_their_hyphens() -> None:
    assert is_known("date-time") and is_known("datetime")
    assert not is_known("of-my-own")
