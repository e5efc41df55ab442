"""What the server itself does to an object before it is written: the metadata that it keeps, and the last checks.

A write is a `Change` from the version that is stored to a private copy of what is to be stored.
Source: k8s.io/apiserver/pkg/registry/rest (BeforeCreate, BeforeUpdate).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson

from apimachinery import canonical
from apimachinery.errors import MODIFIED, ApiError, already_exists, bad_request, conflict, invalid
from apimachinery.field import OMITTED, WARNING, FieldError, limited
from apimachinery.managedfields.entries import Managed
from apimachinery.meta import Object, get_path
from apimachinery.schemas import fresh_status
from apimachinery.time import rfc3339
from apiserver import chance
from apiserver.registry.metadata import validate_metadata, validate_metadata_update
from apiserver.registry.strategy import Part, Strategy
from apiserver.rest.call import Call
from apiserver.rest.subresources import NO_RULES, PART_RULES, STATUS_RULES, Subresource
from apiserver.storage.entry import Entry
from apiserver.storage.group_commit import Also

# Without vowels and what looks alike, so that nothing is spelled by chance.
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
NAME_SUFFIX_CHARACTERS = 5
GENERATED_NAME_MAX = 63
_MADE_BY_US = ("selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields", "generation")
_KEPT_BY_US = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_EMPTY: tuple[object, ...] = ("", [], {})
_BESIDES_SPEC = ("metadata", "status", "kind", "apiVersion")


@dataclass(slots=True)
class Change:
    """A write that is on its way: what was sent, then what is to be stored. `old` is None for a creation.

    Rules are said of `obj` and `old`; `stored` is the version that is to be replaced, which may be in another form.
    `managed` tells who will manage which field; None: who does so now. `also` is what changes along with it.
    """

    obj: Object
    old: Entry | None
    stored: Entry | None = None
    managed: Managed | None = None
    name_generated: bool = False
    also: Also | None = None


def complete(strategy: Strategy, obj: Object) -> None:
    """Bring what was sent into its full form: canonical forms, defaults. Raises ApiError 400."""
    canonicalize(strategy, obj)
    strategy.default(obj)


def prepare(call: Call, change: Change, part: Subresource, now: float) -> None:
    """Make what is to be stored of what was sent, and check it. Raises ApiError."""
    current = change.old
    if current is None:
        change.name_generated = not change.obj["metadata"].get("name")
        call.warnings += prepare_creation(call.strategy, change.obj, now)
        return
    if part.becomes is not None:
        change.obj = part.becomes(call, change.obj, current, now)
    if part.rules == NO_RULES:
        change.obj["metadata"]["resourceVersion"] = str(current.revision)
        return
    own = call.strategy.parts[call.info.subresource] if part.rules == PART_RULES else None
    call.warnings += prepare_update(call.strategy, change.obj, current, status=part.rules == STATUS_RULES, part=own)


# Many objects are made within the same second.
_timestamp = lru_cache(maxsize=8)(rfc3339)


def generated_name(base: str) -> str:
    """A name of `generateName`; nobody can tell in advance which."""
    suffix = chance.characters(NAME_ALPHABET, NAME_SUFFIX_CHARACTERS)
    return base[: GENERATED_NAME_MAX - NAME_SUFFIX_CHARACTERS] + suffix


def new_uid() -> str:
    """A random UUID (version 4 of RFC 9562), in a quarter of the time that `uuid.uuid4` takes."""
    digits = chance.octets(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


def generate_name(metadata: Object) -> None:
    """Name an object by its `generateName`."""
    metadata["name"] = generated_name(metadata["generateName"])


def name_taken(call: Call, name: str, taken: Entry | None, *, generated: bool) -> ApiError:
    """409 for the name of a new object."""
    error = already_exists(call.resource.group_resource, name)
    if generated:
        error.message += ", the server was not able to generate a unique name for the object"
        error.details = {**(error.details or {}), "retryAfterSeconds": 1}
    elif taken is not None and taken.obj["metadata"].get("deletionTimestamp"):
        error.message = f"object is being deleted: {error.message}"
    return error


def place(call: Call, obj: Object) -> None:
    """Put an object where the URL says; it may not say otherwise itself. Raises ApiError 400."""
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    metadata = obj["metadata"]
    if not isinstance(metadata, dict):
        raise bad_request("metadata must be an object")
    said = metadata.get("namespace") or ""
    if call.resource.namespaced:
        if said and said != call.namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = call.namespace
    else:
        metadata.pop("namespace", None)
    if call.name and metadata.get("name") != call.name:
        raise bad_request(
            f"the name of the object ({metadata.get('name') or ''}) does not match the name on the URL ({call.name})"
        )
    if "ownerReferences" in metadata:
        call.warnings += name_owners_once(metadata)


def name_owners_once(metadata: Object) -> list[str]:
    """Of references to owners that say the same, keep the first; returns what is to be told."""
    owners = metadata["ownerReferences"]
    if not isinstance(owners, list):
        return []  # which is refused later on
    once: dict[bytes, Any] = {}
    again: dict[str, None] = {}
    for owner in owners:
        key = orjson.dumps(owner, option=orjson.OPT_SORT_KEYS)
        if key in once and isinstance(owner, dict):
            again[str(owner.get("uid"))] = None
        once.setdefault(key, owner)
    if not again:
        return []
    metadata["ownerReferences"] = list(once.values())
    return [
        "metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may "
        "reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: "
        + ", ".join(again)
    ]


def prepare_creation(strategy: Strategy, obj: Object, now: float) -> list[str]:
    """Name and stamp a new object; returns warnings. Raises ApiError 400 or 422."""
    metadata = obj["metadata"]
    if metadata.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    _tidy(metadata)
    for field in _MADE_BY_US:
        metadata.pop(field, None)
    if not metadata.get("name") and metadata.get("generateName"):
        generate_name(metadata)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = _timestamp(int(now))
    if strategy.counts_generations:
        metadata["generation"] = 1
    strategy.prepare_create(obj)
    if "status" not in obj:
        status = fresh_status(strategy.resource.api_version, strategy.resource.kind)
        if status is not None:
            obj["status"] = {**status}
    return refuse(strategy, obj, validate_metadata(obj, strategy) + strategy.validate(obj))


def check_version(call: Call, metadata: Object, current: Entry) -> None:
    """An update that names a version or a uid is meant for that one. Raises ApiError 409."""
    said = metadata.get("resourceVersion")
    if said and said not in ("0", str(current.revision)):
        raise conflict(call.resource.group_resource, current.name, MODIFIED)
    uid, actual = metadata.get("uid"), current.obj["metadata"]["uid"]
    if uid and uid != actual:
        raise conflict(
            call.resource.group_resource,
            current.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}",
        )


def require_version(call: Call, sent: Object) -> None:
    """Refuse an update that names no version, where it must be meant for one. Raises ApiError 422."""
    if call.strategy.unconditional_update or get_path(sent, "metadata", "resourceVersion") not in (None, "", "0"):
        return
    why = FieldError("metadata.resourceVersion", "FieldValueInvalid", OMITTED, "0x0: must be specified for an update")
    raise invalid(call.resource.group, call.resource.plural, call.name, [why])


def prepare_update(
    strategy: Strategy, obj: Object, current: Entry, *, status: bool = False, part: Part | None = None
) -> list[str]:
    """Keep what an update may not touch, and count the generation; returns warnings. Raises ApiError 422."""
    metadata, old = obj["metadata"], current.obj
    before = old["metadata"]
    _tidy(metadata)
    for field in ("selfLink", "managedFields", "generation"):
        metadata.pop(field, None)
    for field in _KEPT_BY_US:
        if field in before and (field not in metadata or field.startswith("deletion")):
            metadata[field] = before[field]
    if "generation" in before:
        metadata["generation"] = before["generation"]
    metadata["resourceVersion"] = str(current.revision)
    if part is not None:
        part.prepare(obj, old)
        return refuse(strategy, obj, validate_metadata_update(obj, old, strategy) + part.validate(obj, old))
    if status:
        strategy.prepare_status(obj, old)
        errors = validate_metadata_update(obj, old, strategy)
        return refuse(strategy, obj, errors + strategy.validate_status(obj, old))
    strategy.prepare_update(obj, old)
    if strategy.counts_generations and _differs(obj, old, status=strategy.counts_status):
        obj["metadata"]["generation"] = (before.get("generation") or 0) + 1
    errors = validate_metadata_update(obj, old, strategy)
    if not strategy.compares_updates:
        errors += strategy.validate(obj)
    return refuse(strategy, obj, errors + strategy.validate_update(obj, old))


def _tidy(metadata: Object) -> None:
    """Leave out what is empty, as Kubernetes does: an empty list of finalizers is none."""
    for field in [field for field, value in metadata.items() if value in _EMPTY]:
        del metadata[field]


def _differs(obj: Object, old: Object, *, status: bool) -> bool:
    """Whether anything but metadata differs, and perhaps but the status."""
    keys = (obj.keys() | old.keys()).difference(_BESIDES_SPEC)
    if status:
        keys.add("status")
    return any(obj.get(key) != old.get(key) for key in keys)


def ends_deletion(strategy: Strategy, obj: Object) -> bool:
    """Whether nothing keeps an object any longer whose deletion has been asked for."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("deletionGracePeriodSeconds")
        and not metadata.get("finalizers")
        and not strategy.kept(obj)
    )


def canonicalize(strategy: Strategy, obj: Object) -> None:
    """Bring quantities and times into their canonical form. Raises ApiError 400."""
    if errors := canonical.canonicalize(strategy.resource, obj):
        texts, listed = limited(errors)
        told = ", ".join(texts)
        resource = strategy.resource
        message = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {told}'
        raise ApiError(400, "BadRequest", message, {"causes": listed})


def refuse(strategy: Strategy, obj: Object, errors: list[FieldError]) -> list[str]:
    """What is only to be told. Raises ApiError 422 if anything is wrong."""
    if not errors:
        return []
    wrong = [error for error in errors if error.type != WARNING]
    if wrong:
        metadata = obj["metadata"]
        name = metadata.get("name") or metadata.get("generateName") or ""
        raise invalid(strategy.resource.group, strategy.resource.kind, name, wrong)
    return [error.detail for error in errors]
