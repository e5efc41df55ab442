"""Who manages which field of what is written: keeps `metadata.managedFields`, and does server-side apply.

A write names its manager in `fieldManager`, or is known by its program: the User-Agent up to the first slash. What
manages what is told of an object as it was sent, its defaults included: before admission and the rules of the
resource change it, which nobody manages.

Source: k8s.io/apiserver/pkg/endpoints/handlers (create.go, update.go, patch.go)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import orjson

from apimachinery.errors import ApiError, bad_request, conflict, invalid
from apimachinery.field import FieldError, forbidden_field, invalid_value, required, too_long
from apimachinery.managedfields import sets
from apimachinery.managedfields.applying import Applied, apply
from apimachinery.managedfields.check import problems
from apimachinery.managedfields.entries import Managed, decode, is_reset
from apimachinery.managedfields.kinds import Kind, Scope, Unconverted, Writer
from apimachinery.managedfields.scale import ReplicasPaths, from_scale, to_scale
from apimachinery.managedfields.updating import created, updated
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.time import rfc3339
from apiserver import registry
from apiserver.logs import kv
from apiserver.registry.strategy import Scale, Strategy
from apiserver.rest import versions, writing
from apiserver.rest.call import Call, options_error
from apiserver.rest.decode import JSON_BYTES_IN_LOOP_MAX
from apiserver.rest.subresources import PART_RULES, SCALE, STATUS_RULES, Subresource
from apiserver.rest.writing import Change
from apiserver.storage.entry import Entry

logger = logging.getLogger(__name__)

NAME_BYTES_MAX, SUBRESOURCE_BYTES_MAX = 128, 256
SERVER = "kube-apiserver"
# Every round converts what the one before has found missing.
CONVERSIONS_MAX = 64
INVALID_AFTER_ADMISSION = (
    ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating "
    "admission controller; please fix your requests: %s"
)

T = TypeVar("T")


def check_options(call: Call, *, applies: bool = False) -> None:
    """Refuse what a request says of its manager. Raises ApiError 422."""
    errors: list[FieldError] = []
    name = call.query.get("fieldManager", "")
    if applies and not name:
        errors.append(required("fieldManager", "is required for apply patch"))
    if not applies and "force" in call.query and call.info.verb == "patch":
        errors.append(forbidden_field("force", "may not be specified for non-apply patch"))
    errors += _wrong_name(name, "fieldManager")
    if errors:
        raise options_error(call.info.verb, errors)


def _wrong_name(name: str, path: str) -> Iterator[FieldError]:
    """What is wrong with the name of a manager."""
    if len(name.encode()) > NAME_BYTES_MAX:
        yield too_long(path, NAME_BYTES_MAX)
    at = 0
    for character in name:
        if not character.isprintable():
            yield invalid_value(path, name, f"invalid character U+{ord(character):04X} (at position {at})")
        at += len(character.encode())


@lru_cache(maxsize=256)
def of_user_agent(agent: str) -> str:
    """What a program is called: `kubectl` of `kubectl/v1.35.0 (linux/amd64) …`."""
    name = "".join(filter(str.isprintable, agent.partition("/")[0]))
    return name.encode()[:NAME_BYTES_MAX].decode(errors="ignore") or "unknown"


_timestamp = lru_cache(maxsize=8)(rfc3339)


def _writer(call: Call, part: Subresource, now: float) -> Writer:
    manager = call.query.get("fieldManager") or of_user_agent(call.http.headers.get("User-Agent", ""))
    version = (part.kind or call.resource).api_version
    return Writer(manager, version, call.info.subresource, _timestamp(int(now)))


def _scope(call: Call, part: Subresource) -> Scope:
    """What the request can write at all."""
    if part.rules == PART_RULES:
        own = call.strategy.parts[call.info.subresource]
        return _made_scope(own.resets, own.writes)
    return _scope_of(call.strategy, call.resource, status=part.rules == STATUS_RULES)


def _scope_of(strategy: Strategy, resource: Resource, *, status: bool) -> Scope:
    """What a write of an object or of its status can write."""
    if status:
        return _made_scope(strategy.status_resets, ())
    return _made_scope((*strategy.resets, "status") if "status" in resource.subresources else strategy.resets, ())


@lru_cache(maxsize=256)
def _made_scope(resets: tuple[str, ...], writes: tuple[str, ...]) -> Scope:
    reset, only = ([_path(path) for path in paths] for paths in (resets, writes))
    return Scope(sets.of_paths(reset), tuple(only))


def _path(path: str) -> tuple[str, ...]:
    return tuple(step if step == "*" else f"f:{step}" for step in path.split("."))


async def track(call: Call, change: Change, part: Subresource, now: float) -> None:
    """Set the managers of what is to be stored, which is as it was sent. Raises ApiError."""
    documents = change.obj["metadata"].pop("managedFields", None)
    stored = change.stored.managed if change.stored is not None else ()
    if part.kind is not None:
        change.managed = _scaled(call, change, part, now) if part.kind is SCALE else stored
    if change.managed is not None:
        return  # it has been applied
    managed = stored if call.info.subresource else _said(call, documents, stored)
    if change.old is not None and not managed:
        # Who manages an object is told from its creation or its first apply on, or not at all.
        change.managed = ()
        return
    by, scope, new = _writer(call, part, now), _scope(call, part), change.obj
    old = change.old.obj if change.old is not None else {}

    def work(kind: Kind) -> Managed:
        return updated(kind, managed, old, new, by, scope) if old or managed else created(kind, new, by, scope)

    try:
        change.managed = await _with_conversions(call, work)
    except ApiError as error:
        # A webhook that does not convert keeps nobody from writing in the version that is stored.
        where = {"resource": call.resource.group_resource, "namespace": call.namespace, "name": call.name}
        logger.warning(kv("managers stay as they were, though the object changes", **where, error=error.message))
        change.managed = stored


def of_server(resource: Resource, obj: Object, old: Entry | None, *, status: bool = False, now: float) -> Managed:
    """The managers of what the server itself writes, as it is before the rules of the resource change it."""
    by = Writer(SERVER, resource.api_version, "status" if status else "", _timestamp(int(now)))
    kind, scope = versions.built_in_kind(resource), _scope_of(registry.strategy(resource), resource, status=status)
    if old is None:
        return created(kind, obj, by, scope)
    return updated(kind, old.managed, old.obj, obj, by, scope) if old.managed else ()


def _said(call: Call, documents: Any, stored: Managed) -> Managed:
    """The managers that a client sends along, if it does and they can be understood; else those that are stored.

    Raises ApiError 422 for names that no manager may have.
    """
    if documents is None:
        return stored
    if is_reset(documents):
        return ()
    try:
        said = decode(documents, known=stored) or stored
    except ValueError:
        return stored
    errors: list[FieldError] = []
    for number, entry in enumerate(said if said is not stored else ()):
        path = f"metadata.managedFields[{number}]"
        errors += _wrong_name(entry.manager, f"{path}.manager")
        if len(entry.subresource.encode()) > SUBRESOURCE_BYTES_MAX:
            errors.append(too_long(f"{path}.subresource", SUBRESOURCE_BYTES_MAX))
    if errors:
        raise invalid(call.resource.group, call.resource.kind, call.name, errors)
    return said


def check_after_admission(call: Call, change: Change) -> None:
    """Take over what admission makes of the managers, unless nobody can understand it."""
    documents = change.obj["metadata"].pop("managedFields", None)
    if documents is None:
        return
    try:
        change.managed = decode(documents, known=change.managed or ())
    except ValueError as error:
        call.warnings.append(INVALID_AFTER_ADMISSION % error)


async def _with_conversions(call: Call, work: Callable[[Kind], T]) -> T:
    """Do something with a kind; what only a webhook can convert is converted as soon as it turns out to be needed."""
    kind = versions.kind(call)
    try:
        return await _apart(call, partial(work, kind))
    except Unconverted as error:
        missing = error
    except RecursionError:
        raise bad_request("the object provided is nested too deeply") from None
    made: dict[tuple[bytes, str], Object] = {}

    def convert(obj: Object, api_version: str) -> Object:
        if obj.get("apiVersion") == api_version:
            return obj
        found = made.get((orjson.dumps(obj), api_version))
        if found is None:
            raise Unconverted(obj, api_version)
        return found

    kind = replace(kind, convert=convert)
    for _ in range(CONVERSIONS_MAX):
        converted = await versions.convert(call, missing.obj, missing.api_version)
        made[orjson.dumps(missing.obj), missing.api_version] = converted
        try:
            return await _apart(call, partial(work, kind))
        except Unconverted as error:
            missing = error
    raise ApiError(500, "InternalError", "the fields of the object are managed in too many versions")


async def _apart(call: Call, work: Callable[[], T]) -> T:
    """Do it, in a thread if what was sent is so much that others would notice."""
    if (call.http.content_length or 0) <= JSON_BYTES_IN_LOOP_MAX:
        return work()
    return await asyncio.to_thread(work)


async def check_config(call: Call, part: Subresource, config: Any) -> Object:
    """A configuration that can be applied to what the URL names. Raises ApiError 400."""
    kind = part.kind or call.resource
    if not isinstance(config, dict):
        raise bad_request(f"the object provided is unrecognized: it must be a {kind.kind}, as an object")
    said, name = str(config.get("apiVersion") or ""), str(config.get("kind") or "")
    shown = said if "/" in said else f"/{said}"
    if (said, name) != (kind.api_version, kind.kind):
        raise bad_request(f"invalid object type: {shown}, Kind={name}")
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    try:
        told = await _apart(call, partial(problems, _kind(call, part).types[kind.api_version], config))
    except RecursionError:
        raise bad_request("the object provided is nested too deeply") from None
    if told:
        where = f"{call.namespace}/{call.name}; {shown}, Kind={name}"
        raise bad_request(f"failed to create typed patch object ({where}): {told}")
    if part.kind is None:
        # Equal values are equal texts then: 1000m of CPU is no other value than 1.
        writing.canonicalize(call.strategy, config)
    return config


def _kind(call: Call, part: Subresource) -> Kind:
    return versions.kind(call) if part.kind is None else versions.built_in_kind(part.kind)


async def applied(
    call: Call, part: Subresource, live: Entry | None, stored: Entry | None, config: Object, now: float
) -> Applied:
    """The object with a configuration in it, private, and its managers. Raises ApiError.

    `live` is what the rules are said of, in which form `stored` is shown to them; both are None if there is nothing.
    """
    metadata = config.get("metadata") or {}
    if live is None and metadata.get("uid"):
        why = f"uid mismatch: the provided object specified uid {metadata['uid']}, and no existing object was found"
        raise conflict(call.resource.group_resource, call.name, why)
    by, scope, force = _writer(call, part, now), _scope(call, part), call.flag("force") is True
    managed = stored.managed if stored is not None else ()
    if part.kind is not None:
        assert live is not None and part.shows is not None, "a part is only there with the object"
        shown, managed = part.shows(call, live), to_scale(managed, _replicas(call))
        made = _apply(_kind(call, part), shown, managed, config, by, Scope(), force=force)
    else:
        obj = live.obj if live is not None else {}
        made = await _with_conversions(call, lambda kind: _apply(kind, obj, managed, config, by, scope, force=force))
    return Applied(orjson.loads(orjson.dumps(made.obj)), made.managed)


def _apply(
    kind: Kind, live: Object, managed: Managed, config: Object, by: Writer, scope: Scope, *, force: bool
) -> Applied:
    try:
        return apply(kind, live, managed, config, by, scope=scope, force=force)
    except ValueError as error:
        raise bad_request(f"failed to create typed live object: {error}") from error


def _scaled(call: Call, change: Change, part: Subresource, now: float) -> Managed:
    """The managers of an object whose Scale is written."""
    assert change.old is not None and change.stored is not None and part.shows is not None
    stored, replicas = change.stored.managed, _replicas(call)
    before = to_scale(stored, replicas)
    after = change.managed
    if after is None:
        by = _writer(call, part, now)
        old = part.shows(call, change.old)
        after = updated(_kind(call, part), before, old, {**old, "spec": change.obj.get("spec") or {}}, by)
    if not stored or after == before:
        return stored
    return from_scale(stored, before, after, call.resource.api_version, replicas)


def _replicas(call: Call) -> ReplicasPaths:
    rules = call.strategy.scale or Scale()
    path = tuple(f"f:{step}" for step in rules.spec_replicas)
    return {version: path for version in versions.kind(call).types}
