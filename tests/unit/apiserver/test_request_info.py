"""What a request asks for, as authorization sees it."""

import pytest

from apiserver.request_info import RequestInfo, parse


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/v1/nodes", ("list", "", "nodes", "", "", "")),
        ("GET", "/api/v1/namespaces/a/pods/web", ("get", "", "pods", "", "a", "web")),
        ("POST", "/apis/apps/v1/namespaces/a/deployments", ("create", "apps", "deployments", "", "a", "")),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/w/scale",
            ("patch", "apps", "deployments", "scale", "a", "w"),
        ),
        ("DELETE", "/api/v1/namespaces/a/pods", ("deletecollection", "", "pods", "", "a", "")),
        ("GET", "/api/v1/namespaces/a", ("get", "", "namespaces", "", "a", "a")),
        ("PUT", "/api/v1/namespaces/a/finalize", ("update", "", "namespaces", "finalize", "a", "a")),
        ("HEAD", "/api/v1/namespaces/a/pods/web", ("get", "", "pods", "", "a", "web")),
        ("GET", "/api/v1/namespaces/a/configmaps/b%2Fc", ("get", "", "configmaps", "", "a", "b/c")),
    ],
)
def test_a_path_is_read(method: str, path: str, expected: tuple[str, ...]) -> None:
    info = parse(method, path, {})
    assert (info.verb, info.group, info.resource, info.subresource, info.namespace, info.name) == expected


def test_a_watch_is_a_verb_of_its_own() -> None:
    assert parse("GET", "/api/v1/pods", {"watch": "1"}).verb == "watch"
    assert parse("GET", "/api/v1/pods", {"watch": ""}).verb == "watch"
    assert parse("GET", "/api/v1/pods", {"watch": "0"}).verb == "list"
    assert parse("GET", "/api/v1/pods", {"watch": "False"}).verb == "list"
    assert parse("HEAD", "/api/v1/pods", {"watch": "1"}).verb == "list"
    assert parse("GET", "/api/v1/namespaces/a/pods/web", {"watch": "1"}).verb == "get"


def test_the_old_paths_of_watches_are_known() -> None:
    some = parse("GET", "/api/v1/watch/namespaces/a/pods", {})
    assert (some.verb, some.resource, some.namespace, some.name) == ("watch", "pods", "a", "")
    one = parse("GET", "/apis/apps/v1/watch/namespaces/a/deployments/web", {})
    assert (one.verb, one.resource, one.namespace, one.name) == ("watch", "deployments", "a", "web")
    assert parse("GET", "/api/v1/watch/nodes", {}).verb == "watch"
    assert parse("POST", "/api/v1/watch/nodes", {}).verb == "create"


@pytest.mark.parametrize("path", ["/", "/healthz", "/api", "/api/v1", "/apis/apps", "/apis/apps/v1", "*"])
def test_what_is_no_resource_is_its_path(path: str) -> None:
    assert parse("GET", path, {}) == RequestInfo("get", path)


def test_what_follows_a_subresource_is_kept() -> None:
    info = parse("GET", "/api/v1/nodes/n/proxy/metrics/cadvisor", {})
    assert (info.resource, info.name, info.subresource, info.rest) == ("nodes", "n", "proxy", "metrics/cadvisor")


def test_the_fields_that_a_list_is_limited_to_are_known() -> None:
    query = {"fieldSelector": "spec.nodeName=n,status.phase!=Failed,metadata.name==web"}
    info = parse("GET", "/api/v1/pods", query)
    assert info.field("spec.nodeName") == "n"
    assert info.selected_name == "web"
    assert info.field("status.phase") == ""
    assert parse("GET", "/api/v1/namespaces/a/pods/x", query).selected_name == "x"


def test_the_labels_that_a_list_is_limited_to_are_known() -> None:
    assert parse("GET", "/api/v1/pods", {"labelSelector": "a=b,c!=d"}).label("a") == "b"
    assert parse("GET", "/api/v1/pods", {"labelSelector": "a=b,c!=d"}).label("c") == ""
    assert parse("GET", "/api/v1/pods", {"labelSelector": "x notin (y,a=b)"}).label("a") == ""
