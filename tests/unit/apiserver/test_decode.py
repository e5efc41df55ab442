"""Bodies become documents, and what is lost on the way is told of."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apiserver.rest import decode, yaml_body


def _documents(text: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=15,
    )


_JSON = _documents(st.text(max_size=5))


@given(_JSON, st.sampled_from([None, 2]))
def test_no_document_of_json_seems_to_repeat_a_key(document: Any, indent: int | None) -> None:
    assert decode.parse_json(json.dumps(document, indent=indent).encode()) == (document, [])


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        (b'{"a":1,"a":1}', ["a"]),
        (b'{ "a" : 1, "b": [{"c": 1, "c": 2, "c": 3}] }', ["b[0].c"]),
        (b'{"a":{"b":{},"b":{"x":1,"x":2}}}', ["a.b", "a.b.x"]),
        (b'[{"a":1},{"a":2}]', []),
    ],
)
def test_repeated_keys_are_named_by_their_paths(body: bytes, paths: list[str]) -> None:
    document, found = decode.parse_json(body)
    assert found == paths
    assert document == json.loads(body)


@given(_documents(st.text("abcXYZ019 .:-_/#{}[]\"'", max_size=6)))
def test_json_read_as_yaml_is_the_same(document: Any) -> None:
    assert yaml_body.parse(orjson.dumps(document)) == (document, [])


def test_many_keys_that_stand_twice_are_found_in_one_go() -> None:
    twice = b",".join(b'"%d":0,"%d":1' % (number, number) for number in range(60_000))
    assert decode.parse_json(b"{" + twice + b"}")[1] == [str(number) for number in range(60_000)]


def test_yaml_keeps_to_what_json_can_say() -> None:
    body = b"a: 2020-01-01\nb: [1, ~, yes]\nc: &x {d: 1}\ne: *x\na: 3\n1: z\n"
    assert yaml_body.parse(body) == (
        {"a": 3, "b": [1, None, True], "c": {"d": 1}, "e": {"d": 1}, "1": "z"},
        ["a"],
    )


def test_what_yaml_shares_becomes_separate() -> None:
    document, _ = yaml_body.parse(b"a: &x {k: 1}\nb: *x")
    document["a"]["k"] = 2
    assert document["b"] == {"k": 1}


def _bomb() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (_bomb(), "more than 1000000 values"),
        (b"a: &a [*a]", "recursive"),
        (b"a: b: c", "mapping values are not allowed"),
        (b"a: !!python/object/apply:os.system [x]", "could not determine a constructor"),
        (b"a: !!binary aGk=", "not JSON serializable"),
        (b"a\n---\nb", "expected a single document"),
        (b"\xff", "unacceptable character"),
        *[(level * 1_000_000, "exceeded max depth") for level in (b"[", b"- ", b"? ", b"{a: ")],
        (b"a: !!bool perhaps", "as a !!bool"),
        (b"a: !!int ''", "as a !!int"),
        (b"a: !!float x", "as a !!float"),
        (b"a: " + b"1" * 5000, "as a !!int"),
    ],
)
def test_yaml_that_is_no_document_is_refused(body: bytes, told: str) -> None:
    with pytest.raises(ApiError) as refused:
        yaml_body.parse(body)
    assert refused.value.code == 400
    assert told in refused.value.message


@pytest.mark.parametrize("body", [b"{", b"", b"[" * 300 + b"]" * 300, b"[" * 99999, b'"\xff"', b"nul"])
def test_json_that_is_no_document_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        decode.parse_json(body)
    assert refused.value.code == 400
