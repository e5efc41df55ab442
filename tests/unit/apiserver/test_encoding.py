"""Answers are spliced from the bytes of versions and are the JSON that they would be if encoded as a whole."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError
from apimachinery.managedfields.entries import alone
from apimachinery.resources import CONFIGMAPS
from apiserver import encoding, tables
from apiserver.registry.strategy import AGE, NAME, Strategy
from apiserver.rest.negotiation import Representation, negotiate
from apiserver.storage.entry import Entry


def entry(name: str = "a", revision: int = 7, **fields: Any) -> Entry:
    obj = {"metadata": {"name": name, "creationTimestamp": "2023-11-14T22:13:20Z"}, **fields}
    return Entry("ns", name, revision, encoding.encode(CONFIGMAPS, obj, revision))


def joined(pieces: list[bytes | memoryview]) -> Any:
    return orjson.loads(b"".join(pieces))


def test_a_version_begins_with_its_kind_and_carries_its_revision() -> None:
    raw = encoding.encode(CONFIGMAPS, {"data": {"x": "1"}, "kind": "ConfigMap", "metadata": {"name": "a"}}, 9)
    assert raw.startswith(b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{')
    assert orjson.loads(raw) == {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": "a", "resourceVersion": "9"},
        "data": {"x": "1"},
    }


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_list_is_spliced_from_versions(count: int) -> None:
    entries = [entry(f"a{number}", data={"n": str(number)}) for number in range(count)]
    found = joined(encoding.object_list(CONFIGMAPS, entries, encoding.list_metadata(12, "more", 4)))
    assert found["metadata"] == {"resourceVersion": "12", "continue": "more", "remainingItemCount": 4}
    assert (found["kind"], found["apiVersion"], len(found["items"])) == ("ConfigMapList", "v1", count)
    for item, version in zip(found["items"], entries, strict=True):
        assert item == {key: value for key, value in version.obj.items() if key not in ("kind", "apiVersion")}


def test_a_list_tells_of_each_object_who_manages_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "SHOWN_ONCE_MAX", 1)
    managed = [alone("Update", "", manager, "v1", "", b'{"f:data":{}}') for manager in ("one", "two", "one", "two")]
    entries = [entry(f"a{number}") for number in range(5)]
    for version, managers in zip(entries, managed, strict=False):
        version.managed = managers
    found = joined(encoding.object_list(CONFIGMAPS, entries, {}))["items"]
    assert [[one["manager"] for one in item["metadata"].get("managedFields", ())] for item in found] == [
        ["one"],
        ["two"],
        ["one"],
        ["two"],
        [],
    ]
    plain = joined(encoding.object_list(CONFIGMAPS, entries, {}, managers=False))["items"]
    assert all("managedFields" not in item["metadata"] for item in plain)


def test_metadata_alone_is_made_once() -> None:
    version = entry(data={"x": "1"})
    first = encoding.partial(version, "meta.k8s.io/v1")
    assert encoding.partial(version, "meta.k8s.io/v1") is first
    assert orjson.loads(first) == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": version.obj["metadata"],
    }


def test_an_age_is_of_the_moment_that_the_table_is_sent() -> None:
    strategy, version, made = Strategy(CONFIGMAPS, columns=(NAME, AGE)), entry(), 1_700_000_000.0
    rows = [tables.row(strategy, version, "meta.k8s.io/v1", "None", made + seconds) for seconds in (5, 65)]
    assert [row["cells"] for row in rows] == [["a", "5s"], ["a", "65s"]]
    table = orjson.loads(tables.table(strategy, rows, {"resourceVersion": "7"}, "meta.k8s.io/v1"))
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Age"]
    assert len(table["rows"]) == 2


TABLE = "as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", Representation()),
        ("*/*", Representation()),
        ("application/json", Representation()),
        ("application/vnd.kubernetes.protobuf,application/json", Representation()),
        (f"application/json;{TABLE},application/json", Representation("Table")),
        (f"application/vnd.kubernetes.protobuf;{TABLE},application/json;{TABLE}", Representation("Table")),
        ("application/json;as=Table;v=v1beta1;g=meta.k8s.io", Representation("Table", "v1beta1")),
        (f"application/json;q=0.9,application/json;{TABLE};q=1", Representation("Table")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Representation()),
        ("application/json;stream=watch", Representation()),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", Representation("PartialObjectMetadata")),
    ],
)
def test_the_representation_is_the_first_that_can_be_made(accept: str, wanted: Representation) -> None:
    assert negotiate(accept) == wanted


@pytest.mark.parametrize(
    "accept", ["text/html", "application/vnd.kubernetes.protobuf", "application/json;as=Pie;v=v1"]
)
def test_what_cannot_be_made_is_refused(accept: str) -> None:
    with pytest.raises(ApiError) as refused:
        negotiate(accept)
    assert refused.value.code == 406
