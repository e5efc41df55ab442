"""Parts of extension servers' schemas, beside ours and among each other."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver import openapi_protobuf
from apiserver.aggregation.openapi_documents import merged, own_version_3, part_of, plain, to_version_3
from tests.support.extension_server import DEFINITION, PATH, PLURAL, openapi_2

ONE = f"{PATH}/namespaces/{{namespace}}/{PLURAL}/{{name}}"
META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["get", "parameters", "responses", "200", "schema", "$ref", "properties", "items", "name"]
            )
            | st.sampled_from(["in", "type", "required", "consumes", "produces", "tags", "x-kubernetes-action"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


def part() -> dict[str, Any]:
    return part_of(openapi_2(), PATH)


def definitions(**schemas: Any) -> dict[str, Any]:
    return {"paths": {}, "definitions": schemas}


def test_only_what_is_about_the_group_is_taken() -> None:
    found = part()
    assert list(found["paths"]) == [ONE]
    assert sorted(found["definitions"]) == [DEFINITION, META]


def test_parameters_that_are_referred_to_are_written_out() -> None:
    (parameter,) = part()["paths"][ONE]["get"]["parameters"]
    assert parameter == {"name": "name", "in": "path", "required": True, "type": "string"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"paths": [1]},
        {"paths": {ONE: {"get": {"tags": [1]}}}},
        {"paths": {ONE: {"get": {"responses": {"200": 1}}}}},
        {"paths": {ONE: 1}},
        {"paths": {ONE: {"get": 1}}},
        {"paths": {ONE: {"get": {"parameters": [{"$ref": "#/parameters/none"}]}}}},
        {"paths": {ONE: {"get": {"responses": {"200": {"schema": {"$ref": "#/definitions/None"}}}}}}},
        {"definitions": {"A": []}},
    ],
)
def test_what_can_not_be_used_is_refused_as_a_whole(wrong: Any) -> None:
    with pytest.raises(ValueError):
        part_of(wrong, PATH)


def test_what_both_have_is_as_we_have_it() -> None:
    found = merged({META: {"type": "object", "properties": {}}}, iter([part()]))
    assert list(found["definitions"]) == [DEFINITION] and list(found["paths"]) == [ONE]


def test_two_servers_may_mean_different_things_by_one_name() -> None:
    first = definitions(Thing={"type": "object"}, Shared={"type": "string"})
    second = definitions(
        Thing={"type": "string"},
        Shared={"type": "string"},
        User={"properties": {"a": {"$ref": "#/definitions/Thing"}}},
    )
    found = merged({}, iter([first, second]))["definitions"]
    assert found["Thing"] == {"type": "object"} and found["Thing_v2"] == {"type": "string"}
    assert found["User"]["properties"]["a"] == {"$ref": "#/definitions/Thing_v2"}
    assert sorted(found) == ["Shared", "Thing", "Thing_v2", "User"]


def test_version_3_says_the_same() -> None:
    document = part()
    body = {"name": "body", "in": "body", "required": True, "schema": {"$ref": f"#/definitions/{DEFINITION}"}}
    post = {"parameters": [body], "consumes": ["application/json"], "responses": {}, "operationId": "create"}
    document["paths"][ONE]["post"] = post
    made = to_version_3(document, {"title": "t", "version": "1"})
    schema = {"$ref": f"#/components/schemas/{DEFINITION}"}
    operations = made["paths"][ONE]
    assert operations["get"]["responses"]["200"]["content"] == {"application/json": {"schema": schema}}
    assert operations["get"]["parameters"] == [
        {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    ]
    assert operations["get"]["x-kubernetes-action"] == "get"
    assert operations["post"]["requestBody"] == {
        "content": {"application/json": {"schema": schema}},
        "required": True,
    }
    properties = made["components"]["schemas"][DEFINITION]["properties"]
    assert properties["metadata"] == {"$ref": f"#/components/schemas/{META}"}


def test_a_document_is_only_looked_for_where_it_may_be() -> None:
    def index(url: Any) -> Any:
        return {"paths": {PATH[1:]: {"serverRelativeURL": url}}}

    good = f"/openapi/v3{PATH}?hash=A"
    assert own_version_3(index(good), PATH) == good
    for wrong in (3, "/openapi/v3/apis/apps/v1?hash=A", "https://192.0.2.1/", f"/openapi/v3{PATH}/../../x"):
        assert own_version_3(index(wrong), PATH) is None
    assert own_version_3({"paths": {}}, PATH) is None


OPERATION = st.fixed_dictionaries(
    {
        "parameters": st.lists(st.fixed_dictionaries({"name": st.just("n"), "in": st.sampled_from(["body", "path"])}))
        | JSON,
        "responses": st.dictionaries(st.just("200"), st.fixed_dictionaries({"schema": JSON, "description": JSON}))
        | JSON,
    },
    optional={"description": JSON, "tags": JSON, "consumes": JSON, "produces": JSON, "x-a": JSON},
)


@given(st.fixed_dictionaries({"get": OPERATION}) | JSON, JSON)
def test_any_document_is_refused_or_can_be_put_into_all_forms(item: Any, schema: Any) -> None:
    with contextlib.suppress(ValueError):
        found = part_of({"paths": {ONE: item}, "definitions": {"A": schema}}, PATH)
        openapi_protobuf.encode_body(plain(merged({}, iter([found, found]))))
        to_version_3(found, {})
