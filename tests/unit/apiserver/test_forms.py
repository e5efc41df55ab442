"""A document in the form that a client wants it in."""

from __future__ import annotations

import orjson
import pytest
import yaml
from aiohttp.test_utils import make_mocked_request

from apiserver import forms


def wanted(path: str = "/", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return forms.wanted(make_mocked_request("GET", path, headers=named))


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", forms.PLAIN),
        ("application/json", forms.PLAIN),
        ("application/json;pretty=1", forms.INDENTED),
        ("application/yaml", forms.AS_YAML),
        ("application/yaml;q=0.5, application/json", forms.PLAIN),
        ("application/vnd.kubernetes.protobuf, application/yaml", forms.AS_YAML),
        ("text/html", forms.PLAIN),
    ],
)
def test_the_first_media_type_that_can_be_made_tells_the_form(accept: str, form: str) -> None:
    assert wanted(Accept=accept) == form


def test_people_get_lines_that_they_can_read() -> None:
    assert wanted(User_Agent="curl/8.1") == wanted("/?pretty=true") == forms.INDENTED
    assert wanted("/?pretty=false", User_Agent="curl/8.1") == forms.PLAIN
    assert wanted(User_Agent="kubectl/v1.35.2") == forms.PLAIN


def test_a_document_says_the_same_in_every_form() -> None:
    document = {"a": ["1", 1, None, True, "yes", "2020-01-01", "1e3"], "b": {"c": "x\ny", "d": {}, "e": "ü"}}
    body = orjson.dumps(document)
    assert forms.render(body, forms.PLAIN) == (body, "application/json")
    indented, kind = forms.render(body, forms.INDENTED)
    assert (orjson.loads(indented), kind, indented.count(b"\n") > 10) == (document, "application/json", True)
    as_yaml, kind = forms.render(body, forms.AS_YAML)
    assert (yaml.safe_load(as_yaml), kind, b"{" in as_yaml.replace(b"{}", b"")) == (
        document,
        "application/yaml",
        False,
    )


def test_a_large_document_is_yaml_too() -> None:
    document = {"items": [{"name": f"n{number}", "note": "x: y"} for number in range(10_000)]}
    as_yaml, kind = forms.render(orjson.dumps(document), forms.AS_YAML)
    assert (orjson.loads(as_yaml), kind) == (document, "application/yaml")
