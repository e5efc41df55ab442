"""One request on its way through the pipeline: who asks for what, and what the handlers need to know of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from aiohttp import web

from apimachinery.errors import ApiError, bad_request
from apimachinery.errors import invalid as invalid_error
from apimachinery.field import FieldError, not_supported
from apimachinery.resources import Resource
from apiserver.registry.strategy import Strategy
from apiserver.request_info import RequestInfo, User, is_true
from apiserver.rest.versions import Versions
from apiserver.storage.entry import Entry

_NUMBER = re.compile(r"[+-]?[0-9]{1,20}")
INT64_LIMIT = 1 << 63


@dataclass(slots=True)
class Call:
    """A request for a resource. `namespace` is empty for what belongs to the whole cluster."""

    http: web.BaseRequest
    info: RequestInfo
    user: User
    query: Mapping[str, str]
    resource: Resource
    strategy: Strategy
    namespace: str
    name: str
    warnings: list[str] = field(default_factory=list)
    # How stored objects are shown in the version that is asked for; None: as they are stored.
    versions: Versions | None = None
    # What everybody is told who uses the version that is asked for.
    deprecation: str = ""
    # The resource is on its end, and nothing new comes into it.
    terminating: bool = False

    @property
    def key(self) -> str:
        """What the resource is stored under."""
        return storage_key(self.resource)

    def shown(self, entry: Entry) -> Entry:
        """A stored version in the version that is asked for; as it is if that takes a while."""
        return entry if self.versions is None else self.versions.shown(entry) or entry

    def at(self, entry: Entry) -> Call:
        """The same request for one object of its collection."""
        return replace(self, namespace=entry.namespace, name=entry.name)

    def alone(self) -> Call:
        """The same request, with warnings of its own: for one of several that were sent together."""
        return replace(self, warnings=[])

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be written. Raises ApiError 422 for anything but `All`."""
        value = self.query.get("dryRun", "")
        if value in ("", "All"):
            return bool(value)
        raise options_error(self.info.verb, [not_supported("dryRun", value, ["All"])])

    def flag(self, name: str) -> bool | None:
        """A boolean of the query; None if it is not there."""
        value = self.query.get(name)
        return None if value is None else is_true(value)

    def number(self, name: str) -> int | None:
        """A whole number of the query; None if it is not there. Raises ApiError 400."""
        value = self.query.get(name)
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax ({name})')
        number = int(value)
        if not -INT64_LIMIT <= number < INT64_LIMIT:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": value out of range ({name})')
        return number


def storage_key(resource: Resource) -> str:
    """What a resource is stored under: `core/pods`, `apps/deployments`; second names of it under the first one."""
    group = resource.stored_as[0] if resource.stored_as is not None else resource.group
    return f"{group or 'core'}/{resource.plural}"


_OPTIONS = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}
_OPTIONS |= {"delete": "DeleteOptions", "deletecollection": "DeleteOptions"}


def options_error(verb: str, causes: list[FieldError]) -> ApiError:
    """422: the options of a request are wrong."""
    return invalid_error("meta.k8s.io", _OPTIONS.get(verb, "ListOptions"), "", causes)
