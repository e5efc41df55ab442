"""What is served: built-in resources, and those that come and go."""

from __future__ import annotations

from apimachinery.resources import DEPLOYMENTS, HORIZONTALPODAUTOSCALERS, Resource
from apiserver.catalog import Catalog, Endpoint
from apiserver.registry.strategy import Strategy


def endpoint(version: str, kind: str = "Cat", plural: str = "cats") -> Endpoint:
    resource = Resource("example.com", version, kind, plural, kind.lower())
    return Endpoint(resource, Strategy(resource))


def test_built_in_resources_are_always_there() -> None:
    catalog = Catalog()
    found = catalog.find("apps", "v1", "deployments")
    assert found is not None and found.resource is DEPLOYMENTS and found.versions is None
    assert catalog.by_kind("apps/v1", "Deployment") is DEPLOYMENTS
    assert catalog.find("apps", "v2", "deployments") is None


def test_second_names_of_built_in_resources_are_shown_from_the_first() -> None:
    found = Catalog().find("autoscaling", "v1", "horizontalpodautoscalers")
    assert found is not None and found.versions is not None
    assert found.resource.stored_as == ("autoscaling", "v2", HORIZONTALPODAUTOSCALERS.kind)


def test_definitions_add_and_take_away() -> None:
    catalog = Catalog()
    count, before = len(list(catalog.resources())), catalog.generation
    catalog.define("cats.example.com", [endpoint("v1beta1"), endpoint("v1")])
    assert catalog.generation > before
    assert [one.resource.version for one in catalog.custom()] == ["v1", "v1beta1"]
    assert [one.version for one in catalog.stored() if one.group == "example.com"] == ["v1"]
    assert len(list(catalog.resources())) == count + 2
    found = catalog.by_kind("example.com/v1", "Cat")
    assert found is not None and found.plural == "cats"
    catalog.define("cats.example.com", [endpoint("v2")])
    assert catalog.find("example.com", "v1", "cats") is None
    assert catalog.by_kind("example.com/v1", "Cat") is None
    assert catalog.resource("example.com", "v2", "cats") is not None
    catalog.define("cats.example.com", ())
    assert len(list(catalog.resources())) == count
