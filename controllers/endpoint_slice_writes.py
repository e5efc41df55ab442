"""How a plan for EndpointSlices is carried out, and remembered until the cache shows it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, labels, name, namespace, uid
from apimachinery.resources import ENDPOINTSLICES
from controllers.endpoint_slice_plan import MANAGED_BY, SERVICE_NAME, SlicePlan
from controllers.expectations import Expectations
from controllers.requests import namespace_terminating, settle

BY_SERVICE = "service and manager"


def by_service(one: Object) -> Iterable[str]:
    """Index: who manages a slice, and for which service."""
    found = labels(one)
    if found.get(SERVICE_NAME):
        yield managed(found.get(MANAGED_BY, ""), f"{namespace(one)}/{found[SERVICE_NAME]}")


def managed(manager: str, service: str) -> str:
    """The value of index `by_service` for the slices that a manager has of a service."""
    return f"{manager} {service}"


def tell_services(manager: str, old: Object | None, new: Object | None, changed: Callable[[str], None]) -> None:
    """Call `changed` with the service whose slices this manager should look at, since one was changed."""
    for one in (old, new):
        found = labels(one) if one is not None else {}
        if one is not None and found.get(MANAGED_BY) == manager and found.get(SERVICE_NAME):
            changed(f"{namespace(one)}/{found[SERVICE_NAME]}")


async def carry_out(client: Client, expectations: Expectations, key: str, plan: SlicePlan) -> None:
    """Write what the plan for a service says. Raises ApiError; what was written until then is remembered.

    In a namespace that is going nothing can be created, and nothing needs to be.
    """
    if not await _write(expectations, key, (client.create(ENDPOINTSLICES, one) for one in plan.create)):
        return
    await _write(expectations, key, (client.update(ENDPOINTSLICES, one) for one in plan.update))
    deletions = (client.delete(ENDPOINTSLICES, name(one), namespace(one), uid=uid(one)) for one in plan.delete)
    failures = []
    for one, result in zip(plan.delete, await settle(deletions), strict=True):
        if not isinstance(result, ApiError):
            expectations.deleted(key, [one])
        elif not is_not_found(result):
            failures.append(result)
    if failures:
        raise failures[0]


async def _write(expectations: Expectations, key: str, calls: Iterable[Coroutine[Any, Any, Object]]) -> bool:
    failures = []
    for result in await settle(calls):
        if isinstance(result, ApiError):
            failures.append(result)
        else:
            expectations.written(key, result)
    if failures and not all(map(namespace_terminating, failures)):
        raise next(one for one in failures if not namespace_terminating(one))
    return not failures
