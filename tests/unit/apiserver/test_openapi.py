"""The API describes itself, whole and without loose ends, in OpenAPI 3 and 2."""

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from apimachinery.resources import BUILTIN
from apiserver.catalog import Catalog
from apiserver.openapi import OpenAPI

PATHS = list(dict.fromkeys(f"apis/{r.api_version}" if r.group else f"api/{r.version}" for r in BUILTIN))
EXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"


@pytest.fixture(scope="module")
def openapi() -> OpenAPI:
    return OpenAPI(Catalog(BUILTIN))


def version_3(openapi: OpenAPI, path: str) -> Any:
    return orjson.loads(gzip.decompress(asyncio.run(openapi.version_3(path))))


def version_2(openapi: OpenAPI) -> Any:
    return orjson.loads(gzip.decompress(asyncio.run(openapi.version_2())))


def values_of(node: Any, key: str) -> Iterator[Any]:
    if isinstance(node, dict):
        if key in node and isinstance(node[key], str):
            yield node[key]
        for value in node.values():
            yield from values_of(value, key)
    elif isinstance(node, list):
        for value in node:
            yield from values_of(value, key)


def test_the_index_leads_to_every_group(openapi: OpenAPI) -> None:
    paths = orjson.loads(openapi.index())["paths"]
    assert set(PATHS) <= set(paths)
    assert (
        paths["apis/apps/v1"]["serverRelativeURL"] == f"/openapi/v3/apis/apps/v1?hash={openapi.hash('apis/apps/v1')}"
    )
    assert openapi.hash("apis/none/v1") is None


@pytest.mark.parametrize("path", PATHS)
def test_every_reference_of_version_3_is_there(openapi: OpenAPI, path: str) -> None:
    document = version_3(openapi, path)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(values_of(document, "$ref")) <= known


def test_every_reference_of_version_2_is_there(openapi: OpenAPI) -> None:
    document = version_2(openapi)
    known = {f"#/definitions/{name}" for name in document["definitions"]}
    assert set(values_of(document, "$ref")) <= known


def test_version_2_says_nothing_that_it_has_no_words_for(openapi: OpenAPI) -> None:
    document = version_2(openapi)
    # The schema of schemas has properties of these names.
    own = document["definitions"][f"{EXTENSIONS}.JSONSchemaProps"].pop("properties")
    assert {"oneOf", "anyOf", "allOf", "not", "$schema"} <= own.keys()
    text = orjson.dumps([document, list(own.values())])
    for word in (b'"oneOf"', b'"anyOf"', b'"allOf"', b'"null"', b"#/components/"):
        assert word not in text


def test_kubectl_finds_that_the_server_checks_fields(openapi: OpenAPI) -> None:
    patch = version_3(openapi, "apis/apps/v1")["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"][
        "patch"
    ]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_lists_keep_the_keys_by_which_they_are_merged(openapi: OpenAPI) -> None:
    for schemas in (
        version_3(openapi, "api/v1")["components"]["schemas"],
        version_2(openapi)["definitions"],
    ):
        containers = schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
        assert containers["x-kubernetes-patch-merge-key"] == "name"
        assert containers["description"]


def test_kinds_carry_their_names(openapi: OpenAPI) -> None:
    schemas = version_3(openapi, "apis/apps/v1")["components"]["schemas"]
    assert schemas["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"] == [
        {"group": "apps", "version": "v1", "kind": "Deployment"}
    ]


def test_every_operation_has_an_id_of_its_own(openapi: OpenAPI) -> None:
    ids = list(values_of(version_2(openapi)["paths"], "operationId"))
    assert len(ids) == len(set(ids))
    assert "readCoreV1NamespacedPod" in ids and "listAppsV1NamespacedDeployment" in ids
