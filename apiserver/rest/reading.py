"""Get and list: which version or versions a request may be answered from, and what it selects.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from apimachinery.errors import ApiError, bad_request, expired, not_found
from apimachinery.field import FieldError, forbidden_field, not_supported
from apimachinery.meta import Object
from apimachinery.selectors import FieldSelector, parse_field_selector, parse_label_selector
from apiserver import encoding
from apiserver.rest import views
from apiserver.rest.call import Call, options_error
from apiserver.storage.collection import Key
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from apiserver.storage.watch import Selection

REVISION_MAX = (1 << 64) - 1
_REVISION = re.compile(r"[0-9]{1,20}")
# How long a read waits for a version that is not here yet.
FRESH_SECONDS_MAX = 3.0
EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"
_NODE = "spec.nodeName"
_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
_WRONG_TOKEN = "continue key is not valid: it must come from the answer to an earlier list"


@dataclass(frozen=True, slots=True)
class Page:
    """What a list found: the entries, the revision that they are of, and how to go on."""

    entries: list[Entry]
    revision: int
    token: str = ""
    remaining: int | None = None


def parse_revision(text: str) -> int:
    """The revision of a resourceVersion. Raises ApiError 400."""
    if not _REVISION.fullmatch(text) or int(text) > REVISION_MAX:
        raise bad_request(f"Invalid value: {text[:100]!r}: resourceVersion must be a whole number of 64 bits")
    return int(text)


async def wait_until_fresh(store: Store, revision: int) -> None:
    """Wait for a version that a client has seen elsewhere. Raises ApiError 504 if it does not come."""
    if revision <= store.revision:
        return
    try:
        async with asyncio.timeout(FRESH_SECONDS_MAX):
            await store.wait_for_revision(revision)
    except TimeoutError:
        message = f"Too large resource version: {revision}, current: {store.revision}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise ApiError(504, "Timeout", message, {"causes": causes, "retryAfterSeconds": 1}) from None


async def get(store: Store, call: Call) -> Entry:
    """One object. Raises ApiError 404."""
    if asked := call.query.get("resourceVersion"):
        await wait_until_fresh(store, parse_revision(asked))
    return existing(store, call)


def existing(store: Store, call: Call) -> Entry:
    """The newest version of the object that the URL names. Raises ApiError 404."""
    entry = store.get(call.key, call.namespace, call.name)
    if entry is None:
        raise not_found(call.resource.group_resource, call.name)
    return entry


def selection(call: Call) -> Selection:
    """What the selectors of a list, watch or deletion of a collection select. Raises ApiError 400."""
    labels = parse_label_selector(call.query.get("labelSelector", ""))
    supported = ("metadata.name", "metadata.namespace", *call.strategy.selectable)
    fields = parse_field_selector(call.query.get("fieldSelector", ""), supported)
    name, namespace = fields.exact("metadata.name") or "", fields.exact("metadata.namespace") or ""
    if (call.name and name not in ("", call.name)) or (call.namespace and namespace not in ("", call.namespace)):
        raise bad_request("fieldSelector metadata.name or metadata.namespace doesn't match what the URL names")
    # What other versions show may differ from what the index of nodes has.
    by_node = call.versions is None
    node = fields.exact(_NODE) or "" if by_node else ""
    bound = _bound(fields) if by_node else None
    indexed = {("metadata.name", "=", name), ("metadata.namespace", "=", namespace), (_NODE, "=", node)}
    # Whoever asks for two names at once finds nothing, and not what has the first of them.
    done = {requirement for requirement in indexed if requirement[2]}
    if bound is not None:
        done.add((_NODE, "!=" if bound else "=", ""))
    rest = FieldSelector(tuple(requirement for requirement in fields.requirements if requirement not in done))
    return Selection(
        call.namespace or namespace,
        call.name or name,
        node,
        None if labels.empty else labels.matches,
        None if rest.empty else rest.matches,
        call.shown if call.versions is not None else None,
        bound,
    )


def _bound(fields: FieldSelector) -> bool | None:
    """Whether an object must have a node (True) or none (False), if one of that is asked."""
    asked = (operator for path, operator, value in fields.requirements if path == _NODE and not value)
    return next((operator == "!=" for operator in asked), None)


def of_objects(call: Call, objects: Iterable[Object], revision: int) -> Page:
    """What is selected of objects that are stored nowhere. Raises ApiError 404 if it is none, and one is named."""
    selected = selection(call)
    found = [_entry(call, obj) for obj in objects]
    entries = [entry for entry in found if selected.selects(entry)]
    if call.name and not entries:
        raise not_found(call.resource.group_resource, call.name)
    return Page(entries, revision)


def _entry(call: Call, obj: Object) -> Entry:
    metadata = obj["metadata"]
    return Entry(metadata.get("namespace") or "", metadata["name"], 0, encoding.encode(call.resource, obj, 0))


async def list_page(store: Store, call: Call) -> Page:
    """A list, or the page of it that `limit` and `continue` ask for. Raises ApiError 400, 410, 422 or 504."""
    check_list_options(call)
    selected = selection(call)
    limit = max(0, call.number("limit") or 0)
    revision, after = await _point(store, call, limit)
    try:
        found = await views.select(store, call, selected, revision=revision, after=after, limit=limit)
    except ApiError as error:
        if error.code == 410 and after is not None:
            raise _continue_expired(after) from error
        raise
    if not found.more:
        return Page(found.entries, found.revision)
    last = found.entries[-1]
    token = _write_token(found.revision, (last.namespace, last.name))
    return Page(found.entries, found.revision, token, found.remaining)


async def _point(store: Store, call: Call, limit: int) -> tuple[int | None, Key | None]:
    """(the revision that a list must be of, None for the newest; the key that it goes on after)."""
    asked, match = call.query.get("resourceVersion", ""), call.query.get("resourceVersionMatch", "")
    if token := call.query.get("continue"):
        if asked not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, after = _read_token(token)
        if revision > store.revision:
            raise bad_request(_WRONG_TOKEN)
        return (revision if revision >= 0 else None), after
    if asked in ("", "0"):
        return None, None
    revision = parse_revision(asked)
    await wait_until_fresh(store, revision)
    # With a limit and no word about the match, the list is of that very version.
    exact = match == EXACT or (limit > 0 and not match)
    return (revision if exact else None), None


def _continue_expired(after: Key) -> ApiError:
    error = expired(_TOO_OLD)
    error.continue_token = _write_token(-1, after)
    return error


def _write_token(revision: int, last: tuple[str, str]) -> str:
    document = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)})
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    """(revision, the last place of the page before)."""
    try:
        document = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = document["start"].partition("/")
        return int(document["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, binascii.Error):
        raise bad_request(_WRONG_TOKEN) from None


def check_list_options(call: Call) -> None:
    """Refuse combinations that mean nothing. Raises ApiError 422."""
    query = call.query
    match, path = query.get("resourceVersionMatch"), "resourceVersionMatch"
    causes: list[FieldError] = []
    if match:
        if not query.get("resourceVersion"):
            causes.append(forbidden_field(path, f"{path} is forbidden unless resourceVersion is provided"))
        if query.get("continue"):
            causes.append(forbidden_field(path, f"{path} is forbidden when continue is provided"))
        if match not in (EXACT, NOT_OLDER_THAN):
            causes.append(not_supported(path, match, [EXACT, NOT_OLDER_THAN, ""]))
        if match == EXACT and query.get("resourceVersion") == "0":
            why = f'{path} "exact" is forbidden for resourceVersion "0"'
            causes.append(forbidden_field(path, why))
    if "sendInitialEvents" in query:
        causes.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if causes:
        raise options_error("list", causes)
