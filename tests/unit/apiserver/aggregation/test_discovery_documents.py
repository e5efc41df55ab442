"""What an extension server says it serves, in both forms; what is of neither is no answer."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.aggregation.discovery_documents import read_aggregated, read_legacy
from apiserver.aggregation.index import Extension, Where
from apiserver.aggregation.priorities import CUSTOM, Priority, default
from apiserver.catalog import Catalog
from apiserver.discovery import Discovery
from tests.unit.apiserver.test_discovery import read

KIND = {"group": "example.com", "version": "v1", "kind": "Thing"}
THING = {
    "resource": "things",
    "responseKind": KIND,
    "scope": "Cluster",
    "singularResource": "thing",
    "verbs": ["get"],
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "items", "metadata", "name", "versions", "version", "resources", "verbs"])
            | st.sampled_from(["resource", "responseKind", "subresources", "group", "shortNames"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def aggregated(*resources: Any, group: str = "example.com") -> dict[str, Any]:
    return {"items": [{"metadata": {"name": group}, "versions": [{"version": "v1", "resources": list(resources)}]}]}


def legacy(*resources: Any) -> dict[str, Any]:
    return {"kind": "APIResourceList", "resources": list(resources)}


def test_the_new_form_is_taken_as_it_is_but_for_what_nobody_knows() -> None:
    status = {"subresource": "status", "responseKind": KIND, "verbs": ["get"]}
    full = {**THING, "shortNames": ["t"], "categories": ["all"], "subresources": [status]}
    assert read_aggregated(aggregated({**full, "surprise": 1}), "example.com", "v1") == [full]


def test_a_version_that_is_not_in_the_list_serves_nothing() -> None:
    assert read_aggregated(aggregated(THING, group="other"), "example.com", "v1") == []
    assert read_aggregated(aggregated(THING), "example.com", "v2") == []


def test_the_old_form_says_the_same() -> None:
    thing = {"name": "things", "singularName": "thing", "namespaced": False, "kind": "Thing", "verbs": ["get"]}
    status = {"name": "things/status", "namespaced": False, "kind": "Thing", "verbs": ["get"]}
    scale = {**status, "name": "things/scale", "group": "autoscaling", "kind": "Scale"}
    (found,) = read_legacy(legacy(status, thing, scale), "example.com", "v1")
    told = {one.pop("subresource"): one for one in found.pop("subresources")}
    assert found == THING
    assert told["status"] == {"responseKind": KIND, "verbs": ["get"]}
    assert told["scale"]["responseKind"] == {"group": "autoscaling", "version": "v1", "kind": "Scale"}


def test_every_resource_has_a_kind_and_verbs_whatever_is_said_of_it() -> None:
    nameless = {"group": "example.com", "version": "v1", "kind": ""}
    (found,) = read_aggregated(
        aggregated({"resource": "things", "subresources": [{"subresource": "x"}]}), "example.com", "v1"
    )
    assert (found["responseKind"], found["verbs"]) == (nameless, [])
    assert found["subresources"] == [{"subresource": "x", "responseKind": nameless, "verbs": []}]
    (alone,) = read_legacy(legacy({"name": "things/x", "kind": "X"}), "example.com", "v1")
    assert (alone["responseKind"], alone["verbs"]) == (nameless, [])


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        None,
        {"items": {}},
        {"items": [1]},
        aggregated(1),
        aggregated({"resource": 3}),
        aggregated({"resource": ""}),
        aggregated({**THING, "verbs": "get"}),
        aggregated({**THING, "verbs": [1]}),
        aggregated({**THING, "responseKind": "Thing"}),
        aggregated({**THING, "subresources": [{}]}),
    ],
)
def test_what_is_of_another_form_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError):
        read_aggregated(wrong, "example.com", "v1")


@given(JSON)
def test_any_answer_is_read_or_refused(document: Any) -> None:
    whole = document if isinstance(document, dict) else {"items": document}
    for made in (document, whole, {**whole, "kind": "APIResourceList"}, aggregated(document)):
        for reader in (read_aggregated, read_legacy):
            with contextlib.suppress(ValueError):
                reader(made, "example.com", "v1")


class Services:
    """One extension server, ranked as it likes."""

    generation = 1

    def __init__(self, extension: Extension, priority: Priority) -> None:
        self._extension = extension
        self._priority = priority

    def priority(self, group: str, version: str) -> Priority:
        of_its_own = (group, version) == (self._extension.group, self._extension.version)
        return self._priority if of_its_own else default(group, version)

    def known(self) -> list[Extension]:
        return [self._extension]


def discovery_with(group: str, version: str, priority: Priority, *, fresh: bool = True) -> Discovery:
    where = Where("wardle", "api", 443, "", False)
    extension = Extension(f"{version}.{group}", where, available=True)
    extension.resources, extension.fresh = [THING], fresh
    return Discovery(Catalog(), Services(extension, priority), server_address="127.0.0.1:6443")


def test_groups_come_in_the_order_of_their_priorities() -> None:
    for priority, place in ((Priority(20000, 1), 1), (CUSTOM, -1)):
        groups = read(discovery_with("example.com", "v1", priority), "/apis")["groups"]
        assert groups[0]["name"] == "apiregistration.k8s.io" and groups[place]["name"] == "example.com"


def test_another_servers_version_stands_among_ours() -> None:
    for priority, preferred in ((20, "apps/v9"), (10, "apps/v1")):
        discovery = discovery_with("apps", "v9", Priority(1, priority))
        group = read(discovery, "/apis/apps")
        assert group["preferredVersion"]["groupVersion"] == preferred
        assert [one["name"] for one in read(discovery, "/apis")["groups"]][1] == "apps"


def test_a_version_that_is_handed_over_is_told_as_its_server_tells_it() -> None:
    found = read(discovery_with("apps", "v1", Priority(17800, 15), fresh=False), "/apis", "v2")
    (apps,) = [item for item in found["items"] if item["metadata"]["name"] == "apps"]
    assert apps["versions"] == [{"version": "v1", "resources": [THING], "freshness": "Stale"}]
