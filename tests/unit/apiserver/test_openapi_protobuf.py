"""OpenAPI 2 for older clients: the same document in protobuf, read back here by the rules of the wire format."""

import asyncio
import gzip
from collections import defaultdict
from typing import Any

import orjson
import pytest

from apimachinery.resources import BUILTIN
from apiserver.catalog import Catalog
from apiserver.openapi import OpenAPI

Message = dict[int, list[Any]]


def varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            return value, at


def fields(data: bytes) -> Message:
    """The fields of a message by number: bytes of those with a length, integers of the others."""
    found: Message = defaultdict(list)
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            found[key >> 3].append(data[at : at + value])
            at += value
        else:
            assert key & 7 == 0
            found[key >> 3].append(value)
    assert at == len(data)
    return found


def by_name(entries: list[bytes]) -> dict[str, Message]:
    """A map: each entry is a message of name and value."""
    return {fields(entry)[1][0].decode(): fields(fields(entry)[2][0]) for entry in entries}


def extensions(entries: list[bytes]) -> dict[str, Any]:
    return {name: orjson.loads(value[2][0]) for name, value in by_name(entries).items()}


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    return OpenAPI(Catalog(BUILTIN))


@pytest.fixture(scope="module")
def document(openapi: OpenAPI) -> Message:
    return fields(gzip.decompress(asyncio.run(openapi.version_2(protobuf=True))))


@pytest.fixture(scope="module")
def json_document(openapi: OpenAPI) -> Any:
    return orjson.loads(gzip.decompress(asyncio.run(openapi.version_2())))


def test_it_says_what_it_is(document: Message) -> None:
    assert document[1] == [b"2.0"]
    assert fields(document[2][0])[1] == [b"Kubernetes"]


def test_every_definition_and_path_is_there(document: Message, json_document: Any) -> None:
    assert set(by_name(fields(document[9][0])[1])) == set(json_document["definitions"])
    assert set(by_name(fields(document[8][0])[2])) == set(json_document["paths"])


def test_a_definition_is_told_in_full(document: Message) -> None:
    spec = by_name(fields(document[9][0])[1])["io.k8s.api.core.v1.PodSpec"]
    assert spec[19] == [b"containers"]
    properties = by_name(fields(spec[25][0])[1])
    containers = properties["containers"]
    assert fields(containers[22][0])[1] == [b"array"]
    items = fields(fields(containers[23][0])[1][0])
    assert items[1] == [b"#/definitions/io.k8s.api.core.v1.Container"]
    assert extensions(containers[31])["x-kubernetes-patch-merge-key"] == "name"
    selector = fields(fields(properties["nodeSelector"][21][0])[1][0])
    assert fields(selector[22][0])[1] == [b"string"]


def test_a_kind_is_found_by_its_name(document: Message) -> None:
    deployment = by_name(fields(document[9][0])[1])["io.k8s.api.apps.v1.Deployment"]
    assert extensions(deployment[31])["x-kubernetes-group-version-kind"] == [
        {"group": "apps", "version": "v1", "kind": "Deployment"}
    ]


def test_a_client_finds_that_nothing_need_be_written(document: Message) -> None:
    """As kubectl does before `--dry-run=server`: the parameter `dryRun` of the PATCH of a kind."""
    path = by_name(fields(document[8][0])[2])["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    patch = fields(path[8][0])
    assert extensions(patch[13])["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    parameters = [fields(fields(item)[1][0]) for item in patch[8]]
    queries = [fields(fields(parameter[2][0])[3][0]) for parameter in parameters if parameter[2]]
    assert b"dryRun" in [query[4][0] for query in queries]
    [body] = [fields(parameter[1][0]) for parameter in parameters if parameter[1]]
    assert body[3] == [b"body"] and body[4] == [1]
