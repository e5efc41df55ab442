"""What stored APIServices say: who answers which request."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.aggregation import forwarding
from apiserver.aggregation.asking import Asking
from apiserver.aggregation.forwarding import Forwarding
from apiserver.aggregation.index import ApiServices, Extension, Schemas
from apiserver.request_info import User, parse
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, MODIFIED

NAME = "v1.example.com"


class Stored:
    """A store of APIServices."""

    def __init__(self) -> None:
        self._listener: Callable[[Any], None] | None = None

    def objects(self, key: str) -> list[Any]:
        assert key == "apiregistration.k8s.io/apiservices"
        return []

    def listen(self, _: str, listener: Callable[[Any], None]) -> None:
        self._listener = listener

    def write(self, api_service: Object, kind: str = MODIFIED) -> None:
        assert self._listener is not None
        name = api_service["metadata"]["name"]
        self._listener(SimpleNamespace(type=kind, entry=SimpleNamespace(name=name, obj=api_service)))


def api_service(*, service: bool = True, available: str = "True", name: str = NAME) -> Object:
    spec: Object = {"groupPriorityMinimum": 2000, "versionPriority": 10}
    if service:
        spec["service"] = {"namespace": "wardle", "name": "api", "port": 443}
    conditions = [{"type": "Available", "status": available}]
    return {"metadata": {"name": name}, "spec": spec, "status": {"conditions": conditions}}


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def services(stored: Stored) -> ApiServices:
    return ApiServices(cast(Store, stored))


def find(services: ApiServices, path: str) -> Extension | None:
    return services.find(parse("GET", path, {}))


def test_all_below_a_version_of_a_group_is_handed_over(stored: Stored, services: ApiServices) -> None:
    assert find(services, "/apis/example.com/v1") is None
    stored.write(api_service())
    for below in ("", "/", "/things", "/namespaces/a/things/b/status"):
        found = find(services, f"/apis/example.com/v1{below}")
        assert found is not None and found.name == NAME and found.path == "/apis/example.com/v1"
    for other in (
        "/apis/example.com",
        "/apis/example.com/v2",
        "/apis",
        "/api/v1/pods",
        "/apis/example.com/v2/things",
    ):
        assert find(services, other) is None


def test_the_core_group_may_be_handed_over_too(stored: Stored, services: ApiServices) -> None:
    stored.write(api_service(name="v1."))
    for path in ("/api/v1", "/api/v1/pods"):
        found = find(services, path)
        assert found is not None and found.path == "/api/v1"


def test_schemas_are_asked_for_where_the_server_has_them(stored: Stored, services: ApiServices) -> None:
    stored.write(api_service())
    extension = services.extensions["example.com", "v1"]
    assert find(services, "/openapi/v3/apis/example.com/v1") is None
    extension.schemas = Schemas("/openapi/v3/apis/example.com/v1?hash=A")
    assert find(services, "/openapi/v3/apis/example.com/v1") is extension


def test_what_is_known_of_a_server_outlives_changes_of_its_apiservice(stored: Stored, services: ApiServices) -> None:
    stored.write(api_service())
    extension = services.extensions["example.com", "v1"]
    extension.resources = [{"resource": "things"}]
    before = services.generation
    stored.write(api_service(available="False"))
    assert services.extensions["example.com", "v1"] is extension and not extension.available
    assert services.generation == before  # nobody is told another list of APIs for that


@pytest.mark.parametrize(("next_one", "kind"), [(api_service(service=False), MODIFIED), (api_service(), DELETED)])
def test_what_is_handed_back_is_served_here(
    stored: Stored, services: ApiServices, next_one: Object, kind: str
) -> None:
    stored.write(api_service())
    before = services.generation
    stored.write(next_one, kind)
    assert find(services, "/apis/example.com/v1/things") is None
    assert services.generation > before


def test_the_group_of_apiservices_itself_stays_here(stored: Stored, services: ApiServices) -> None:
    stored.write(api_service(name="v1.apiregistration.k8s.io"))
    assert find(services, "/apis/apiregistration.k8s.io/v1/apiservices") is None


def test_what_was_served_here_is_not_available_elsewhere_for_that(stored: Stored, services: ApiServices) -> None:
    made = api_service()
    made["status"]["conditions"][0]["reason"] = "Local"
    stored.write(made)
    assert not services.extensions["example.com", "v1"].available


def test_priorities_are_those_that_are_stored(stored: Stored, services: ApiServices) -> None:
    assert services.priority("example.com", "v1") == (1000, 100)
    stored.write(api_service(service=False))
    assert services.priority("example.com", "v1") == (2000, 10)
    stored.write(api_service(service=False), DELETED)
    assert services.priority("example.com", "v1") == (1000, 100)


async def test_only_so_many_wait_for_one_server(stored: Stored, services: ApiServices) -> None:
    stored.write(api_service())
    extension = services.extensions["example.com", "v1"]
    extension.running = forwarding.RUNNING_MAX
    made = Forwarding(cast(Asking, None), lambda _: None)
    info = parse("GET", "/apis/example.com/v1/things", {})
    with pytest.raises(ApiError) as refused:
        await made.serve(cast(Any, None), info, User("jane"), extension)
    assert refused.value.code == 429 and extension.running == forwarding.RUNNING_MAX
    extension.available = False
    with pytest.raises(ApiError) as refused:
        await made.serve(cast(Any, None), info, User("jane"), extension)
    assert refused.value.code == 503
