"""What clients read first: groups, versions and resources, in the old form and in the aggregated one."""

from typing import Any

import orjson
import pytest

from apimachinery.resources import BUILTIN, Resource
from apiserver.catalog import Catalog
from apiserver.discovery import Discovery, subresource, wanted_form

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


@pytest.fixture(scope="module")
def discovery() -> Discovery:
    return Discovery(Catalog(BUILTIN), server_address="127.0.0.1:6443")


def read(discovery: Discovery, path: str, form: str | None = None) -> Any:
    document = discovery.find(path, aggregated=form)
    assert document is not None
    return orjson.loads(document.body)


def test_the_old_form_leads_from_groups_to_resources(discovery: Discovery) -> None:
    assert read(discovery, "/api")["versions"] == ["v1"]
    groups = {
        group["name"]: group["preferredVersion"]["groupVersion"] for group in read(discovery, "/apis")["groups"]
    }
    assert groups["apps"] == "apps/v1"
    assert read(discovery, "/apis/apps")["versions"] == [{"groupVersion": "apps/v1", "version": "v1"}]
    entries = {entry["name"]: entry for entry in read(discovery, "/apis/apps/v1")["resources"]}
    assert entries["deployments"]["shortNames"] == ["deploy"]
    assert entries["deployments/scale"]["kind"] == "Scale" and entries["deployments/scale"]["group"] == "autoscaling"
    assert entries["deployments/status"]["kind"] == "Deployment" and "group" not in entries["deployments/status"]


def test_every_resource_is_listed_in_both_forms(discovery: Discovery) -> None:
    aggregated = [
        (group["metadata"].get("name", ""), version["version"], entry["resource"])
        for path in ("/api", "/apis")
        for group in read(discovery, path, "v2")["items"]
        for version in group["versions"]
        for entry in version["resources"]
    ]
    assert sorted(aggregated) == sorted((r.group, r.version, r.plural) for r in BUILTIN)
    for resource in BUILTIN:
        path = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        listed = {entry["name"]: entry for entry in read(discovery, path)["resources"]}
        assert listed[resource.plural]["namespaced"] == resource.namespaced


def test_resources_are_listed_by_their_names(discovery: Discovery) -> None:
    for path in ("/api/v1", "/apis/apps/v1", "/apis/batch/v1"):
        names = [entry["name"] for entry in read(discovery, path)["resources"]]
        assert names == sorted(names)
    for group in read(discovery, "/apis", "v2")["items"]:
        names = [entry["resource"] for entry in group["versions"][0]["resources"]]
        assert names == sorted(names)


def test_every_subresource_has_a_kind_and_verbs() -> None:
    for resource in BUILTIN:
        for name in resource.subresources:
            found = subresource(resource, name)
            assert found.kind and found.verbs, (resource.plural, name)


@pytest.mark.parametrize("path", ["/apis/none", "/apis/apps/v2", "/api/v2", "/apis/", "/api/v1/x", "/apis//v1"])
def test_nothing_is_found_where_nothing_is(discovery: Discovery, path: str) -> None:
    document = discovery.find(path)
    assert document is None or path == "/apis/"


def test_the_etag_changes_with_what_is_served(discovery: Discovery) -> None:
    more = Discovery(
        Catalog([*BUILTIN, Resource("x.example.com", "v1", "Thing", "things", "thing")]), server_address="a:1"
    )
    before, after = discovery.find("/apis", aggregated="v2"), more.find("/apis", aggregated="v2")
    assert before is not None and after is not None and before.etag != after.etag
    assert discovery.find("/apis", aggregated="v2") is before


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (f"{AGGREGATED},{BETA},application/json", "v2"),
        (f"{BETA},application/json", "v2beta1"),
        ("application/json", None),
        (f"application/json,{AGGREGATED}", None),
        ("application/vnd.kubernetes.protobuf, */*", None),
        ("", None),
        (f"application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,{BETA}", "v2beta1"),
    ],
)
def test_a_client_gets_the_form_that_it_asks_for_first(accept: str, form: str | None) -> None:
    assert wanted_form(accept) == form
