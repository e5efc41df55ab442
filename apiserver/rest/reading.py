"""Get and list: which version or versions a request may be answered from, and what it selects.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from apimachinery.errors import ApiError, bad_request, expired, not_found
from apimachinery.field import FieldError, forbidden_field, not_supported
from apimachinery.meta import Object
from apimachinery.selectors import FieldSelector, Selector, parse_field_selector, parse_label_selector
from apiserver.rest.call import Call, options_error
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from apiserver.storage.watch import Selection

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


@dataclass(frozen=True, slots=True)
class Page:
    """What a list found: the entries, the revision that they are of, and how to go on."""

    entries: list[Entry]
    revision: int
    token: str = ""
    remaining: int | None = None


def parse_revision(text: str) -> int:
    """The revision of a resourceVersion. Raises ApiError 400."""
    if not text.isdecimal():
        raise bad_request(f"Invalid value: {text!r}: resourceVersion must be a whole number")
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
    name = call.name or fields.exact("metadata.name") or ""
    namespace = call.namespace or fields.exact("metadata.namespace") or ""
    node = fields.exact(_NODE) or ""
    return Selection(namespace, name, node, _matcher(labels, fields))


def _matcher(labels: Selector, fields: FieldSelector) -> Callable[[Object], bool] | None:
    if fields.empty:
        return None if labels.empty else lambda obj: labels.matches(obj["metadata"].get("labels") or {})
    if labels.empty:
        return fields.matches
    return lambda obj: labels.matches(obj["metadata"].get("labels") or {}) and fields.matches(obj)


async def list_page(store: Store, call: Call) -> Page:
    """A list, or the page of it that `limit` and `continue` ask for. Raises ApiError 400, 410, 422 or 504."""
    check_list_options(call)
    selected = selection(call)
    limit, token = call.number("limit") or 0, call.query.get("continue", "")
    asked = call.query.get("resourceVersion", "")
    if limit < 0:
        raise bad_request("limit must not be negative")
    start = None
    if token:
        if asked not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = _read_token(token)
        entries, revision = await _continued(store, call, selected, revision, start)
    elif asked in ("", "0"):
        entries, revision = store.select(call.key, selected), store.revision
    else:
        revision = parse_revision(asked)
        await wait_until_fresh(store, revision)
        # With a limit and no word about the match, the list is of that very version.
        exact = call.query.get("resourceVersionMatch") == EXACT or (
            limit > 0 and "resourceVersionMatch" not in call.query
        )
        if exact and revision != store.revision:
            entries = await store.select_at(call.key, selected, revision)
        else:
            entries, revision = store.select(call.key, selected), store.revision
    if start is not None:
        entries = [entry for entry in entries if (entry.namespace, entry.name) > start]
    return _cut(entries, revision, limit, counts=selected.matches is None)


async def _continued(
    store: Store, call: Call, selected: Selection, revision: int, start: tuple[str, str]
) -> tuple[list[Entry], int]:
    if revision < 0 or revision == store.revision:
        return store.select(call.key, selected), store.revision
    try:
        return await store.select_at(call.key, selected, revision), revision
    except ApiError as error:
        if error.code != 410:
            raise
        gone = expired(_TOO_OLD)
        gone.continue_token = _write_token(-1, start)
        raise gone from error


def _cut(entries: list[Entry], revision: int, limit: int, *, counts: bool) -> Page:
    if not limit or len(entries) <= limit:
        return Page(entries, revision)
    page = entries[:limit]
    # With selectors Kubernetes does not know how many are left, and says nothing.
    remaining = len(entries) - limit if counts else None
    return Page(page, revision, _write_token(revision, (page[-1].namespace, page[-1].name)), remaining)


def _write_token(revision: int, last: tuple[str, str]) -> str:
    document = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": "/".join(last)})
    return base64.urlsafe_b64encode(document).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, tuple[str, str]]:
    """(revision, the last place of the page before)."""
    try:
        document = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        namespace, _, name = document["start"].partition("/")
        return int(document["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise bad_request("continue key is not valid: it must come from the answer to an earlier list") from None


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
