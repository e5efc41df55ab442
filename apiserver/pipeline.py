"""A request's way through the API server, top to bottom.

    authenticate → authorize → limit → decode → mutate (admission) → default and validate → validate (admission)
    → write → encode

Reads stop being different after `limit`: they go to `rest/reading.py` or `rest/watching.py` and to `encode`. What
sets a resource apart stands in its `Strategy`; what is no resource (discovery, health, metrics) or a stream of a
node agent is handed to the modules for those; what is only asked and stored nowhere, to who answers it
(`rest/questions.py`). Whatever is refused on the way is raised as an ApiError.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from aiohttp import web

from apimachinery.errors import (
    MODIFIED,
    ApiError,
    bad_request,
    conflict,
    is_not_found,
    method_not_allowed,
)
from apimachinery.managedfields.entries import Managed, same_managers
from apimachinery.meta import Object
from apimachinery.resources import BINDINGS, PODDISRUPTIONBUDGETS, PODS
from apiserver import admission
from apiserver.admission import Attributes, Chain
from apiserver.admission.plugin import refused
from apiserver.aggregation.aggregator import Aggregator
from apiserver.catalog import Catalog
from apiserver.flowcontrol import FlowControl, Request
from apiserver.flowcontrol.width import objects_listed, width
from apiserver.impersonation import act_as
from apiserver.request_info import RequestInfo, User
from apiserver.responses import set_headers, with_headers
from apiserver.rest import (
    admitting,
    answers,
    batches,
    decode,
    deletion,
    eviction,
    managers,
    patching,
    questions,
    reading,
    subresources,
    versions,
    watching,
    writing,
)
from apiserver.rest.call import Call
from apiserver.rest.cluster import StoredCluster
from apiserver.rest.deletion import DeleteOptions
from apiserver.rest.questions import Question, Questions
from apiserver.rest.reading import Page
from apiserver.rest.resolving import STREAMS, resolve
from apiserver.rest.sending import warn_beside_refusal
from apiserver.rest.subresources import OBJECT, Subresource
from apiserver.rest.writing import Change
from apiserver.storage.entry import Entry
from apiserver.storage.group_commit import Also
from apiserver.storage.store import Conflict, Store

# How often a write that names no version is tried again when others were quicker.
TRIES_MAX = 20
GENERATED_NAMES_MAX = 8
# So many objects of a collection are deleted at once; they share transactions.
DELETED_AT_ONCE = 64

# (namespace, name) to the objects of a resource that are made anew at each look: at least those of that name.
FindOut = Callable[[str, str], Awaitable[list[Object]]]
Handler = Callable[[web.BaseRequest, RequestInfo], Awaitable[web.StreamResponse]]


class Edited(NamedTuple):
    """What a client wants to be there; who manages what then, if it is not just who writes what is changed."""

    obj: Object
    managed: Managed | None = None


# (a version as it is shown, the same as it is stored) to what is wanted instead.
Edit = Callable[[Entry, Entry], Awaitable[Edited]]


class Authenticator(Protocol):
    """`apiserver.authentication`."""

    def authenticate(self, request: web.BaseRequest) -> User:
        """Who asks. Raises ApiError 401."""


Authorize = Callable[[User, RequestInfo], None]


class Pipeline:
    """The handler of all requests."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        *,
        authenticator: Authenticator,
        authorize: Authorize,
        paths: Handler,
        nodes: Handler,
        aggregator: Aggregator,
        plugins: Chain,
        questions: Questions,
        flows: FlowControl,
        found_out: Mapping[tuple[str, str], FindOut],
        watch_seconds_min: float,
        now: Callable[[], float],
    ) -> None:
        """`paths` serves what is no resource, `nodes` what nodes and pods answer (logs, exec, proxy…),
        `aggregator` what extension servers do.

        `found_out` are the resources, by group and plural, whose objects are stored nowhere.
        """
        self._store = store
        self._catalog = catalog
        self._authenticator = authenticator
        self._authorize = authorize
        self._paths = paths
        self._nodes = nodes
        self._aggregator = aggregator
        self._plugins = plugins
        self._questions = questions
        self._cluster = StoredCluster(store)
        self._flows = flows
        self._found_out = found_out
        self._watch_seconds_min = watch_seconds_min
        self._now = now

    async def handle(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """authenticate → authorize → limit, and on to what the request asks for. Raises ApiError."""
        user = act_as(self._authenticator.authenticate(http), http.headers, self._authorize)
        self._authorize(user, info)
        flow = self._flows.flow(user, info)
        set_headers(http, flow.schema.headers)
        extension = self._aggregator.find(info)
        if extension is not None:
            async with Request(flow, user, info, 1):
                pass  # it has its turn, and holds no seat while another server works
            return with_headers(http, await self._aggregator.serve(http, info, user, extension))
        if not info.resource:
            async with Request(flow, user, info, 1):
                return with_headers(http, await self._paths(http, info))
        query: Mapping[str, str] = http.query if "?" in http.raw_path else {}
        question = self._questions.get((info.group, info.resource, info.subresource))
        call = resolve(self._catalog, http, info, user, query, asked=question is not None)
        if info.subresource in STREAMS:
            return await self._connect(call)
        request = Request(flow, user, info, self._width(call, flow.schema.level.width_max))
        if info.verb == "watch":
            async with request:
                pass  # it has its turn, and holds no seat while it lasts
            return await watching.watch(self._store, self._catalog, call, self._watch_seconds_min, self._now)
        if call.resource.key in self._found_out:
            async with request:
                pass  # it has its turn, and holds no seat while others are asked
            return await self._show(call, await self._found_out[call.resource.key](call.namespace, call.name))
        async with request:
            try:
                if question is not None and info.verb == "create":
                    return await self._ask(call, question)
                return await self._serve(call)
            except ApiError:
                warn_beside_refusal(call)
                raise

    def _width(self, call: Call, width_max: int) -> int:
        """The seats that a request takes."""
        if call.info.verb not in ("list", "watch"):
            return 1
        count = self._store.count(call.key, call.namespace)
        return width(objects_listed(call.info, call.query, count), width_max)

    async def _ask(self, call: Call, question: Question) -> web.StreamResponse:
        """Something is asked: nothing is written, and what was sent comes back with the answer."""
        sent = await questions.read(call, question)
        await self._admit(admitting.of_question(call, question, sent))
        return await answers.document(call, await question.answer(call, sent), 201)

    async def _connect(self, call: Call) -> web.StreamResponse:
        """A connection to something behind the server."""
        attributes = admitting.of_connection(call)
        if attributes is not None:
            await self._admit(attributes)
        return await self._nodes(call.http, call.info)

    async def _admit(self, attributes: Attributes) -> None:
        """mutate → validate, of what is not written. Raises ApiError."""
        await admission.mutate(self._plugins, attributes, self._cluster)
        await admission.validate(self._plugins, attributes, self._cluster)

    async def _serve(self, call: Call) -> web.StreamResponse:
        match call.info.verb:
            case "get":
                return await self._get(call)
            case "list":
                return await answers.many(call, await reading.list_page(self._store, call), self._now())
            case "create" if call.info.subresource:
                return await self._post(call, await decode.read_body(call.http))
            case "create" if call.resource.key == BINDINGS.key:
                return await self._bind(call)
            case "create":
                return await self._create(call)
            case "update":
                return await self._update(call)
            case "patch":
                return await self._patch(call)
            case "delete":
                return await self._delete(call)
            case "deletecollection":
                return await self._delete_collection(call)
        raise method_not_allowed()

    async def _show(self, call: Call, objects: list[Object]) -> web.StreamResponse:
        """Answer a get or list of what has just been found out."""
        page = reading.of_objects(call, objects, self._store.revision)
        if call.name:
            return await answers.one(call, page.entries[0], self._now())
        return await answers.many(call, page, self._now())

    async def _get(self, call: Call) -> web.StreamResponse:
        part = subresources.find(call)
        return await self._encode(call, part, await reading.get(self._store, call))

    async def _create(self, call: Call) -> web.StreamResponse:
        if call.name or (call.resource.namespaced and not call.namespace):
            raise method_not_allowed()
        managers.check_options(call)
        body = await decode.read_body(call.http)
        if (listed := await batches.items(call, body)) is not None:
            return await self._each(call, listed, self._create_one)
        return await self._encode(call, OBJECT, await self._create_one(call, body), 201)

    async def _create_one(self, call: Call, body: bytes) -> Entry:
        return await self._write_new(call, await decode.sent(call, call.resource, body))

    async def _each(
        self, call: Call, listed: list[Any], create: Callable[[Call, bytes], Awaitable[Entry]]
    ) -> web.StreamResponse:
        """Many objects that were posted together, each as if it had been posted alone."""

        async def create_one(body: bytes) -> Entry:
            own = call.alone()
            try:
                return await create(own, body)
            finally:
                call.warnings += own.warnings

        return await answers.document(call, await batches.create_each(listed, create_one), 201)

    async def _update(self, call: Call) -> web.StreamResponse:
        part = subresources.find(call)
        managers.check_options(call)
        body = await decode.read_body(call.http)
        kind = part.kind or call.resource

        async def replaced(shown: Entry, stored: Entry) -> Edited:
            sent = await decode.sent(call, kind, body)
            if part.kind is None:
                writing.require_version(call, sent)
            return Edited(sent)

        missing = self._store.get(call.key, call.namespace, call.name) is None
        if missing and part is OBJECT and call.strategy.create_on_update:
            self._authorize(call.user, call.info._replace(verb="create"))
            sent = await decode.sent(call, kind, body)
            return await self._encode(call, part, await self._write_new(call, sent), 201)
        return await self._encode(call, part, await self._edit(call, part, replaced))

    async def _patch(self, call: Call) -> web.StreamResponse:
        part = subresources.find(call)
        kind, media_type = part.kind or call.resource, decode.media_type(call.http)
        patching.check_type(media_type, call.strategy.patches if part.kind is None else ())
        managers.check_options(call, applies=media_type == patching.APPLY_PATCH)
        body = await decode.read_body(call.http)
        patch, duplicates = await patching.read_patch(body, media_type)
        if media_type == patching.APPLY_PATCH:
            told = decode.duplicates_told(call, duplicates)
            return await self._apply(call, part, await managers.check_config(call, part, patch), told)

        async def patched(shown: Entry, stored: Entry) -> Edited:
            shows = part.shows
            document = shows(call, shown) if shows is not None else patching.document(shown, body, media_type)
            result = patching.apply(kind, document, patch, media_type)
            return Edited(decode.typed(call, kind, result, duplicates))

        return await self._encode(call, part, await self._edit(call, part, patched))

    async def _apply(self, call: Call, part: Subresource, config: Object, told: list[str]) -> web.StreamResponse:
        """Server-side apply: a configuration comes into the object, which is made if it is not there."""

        async def applied(shown: Entry | None, stored: Entry | None) -> Edited:
            made = await managers.applied(call, part, shown, stored, config, self._now())
            obj = decode.typed(call, part.kind or call.resource, made.obj, [])
            call.warnings += told
            return Edited(obj, made.managed)

        if part is OBJECT and self._store.get(call.key, call.namespace, call.name) is None:
            self._authorize(call.user, call.info._replace(verb="create"))
            obj, managed = await applied(None, None)
            writing.place(call, obj)
            obj["metadata"].pop("resourceVersion", None)
            change = Change(versions.taken(call, obj), None, managed=managed)
            try:
                return await self._encode(call, part, await self._write(call, change, OBJECT), 201)
            except Conflict:
                pass  # somebody else has made it in this moment
        return await self._encode(call, part, await self._edit(call, part, applied))

    async def _bind(self, call: Call) -> web.StreamResponse:
        """Bindings that are posted to a namespace and not to the pods that they name."""
        body = await decode.read_body(call.http)
        if not call.namespace or call.name:
            raise method_not_allowed()
        if (listed := await batches.items(call, body)) is not None:
            return await self._each(call, listed, self._bind_one)
        await self._bind_one(call, body)
        return await answers.document(call, subresources.CREATED, 201)

    async def _bind_one(self, call: Call, body: bytes) -> Entry:
        sent = await decode.sent(call, call.resource, body)
        name = (sent.get("metadata") or {}).get("name") or ""
        if not name:
            raise bad_request("name is required")
        info = call.info._replace(resource=PODS.plural, name=name, subresource="binding")
        pod = resolve(self._catalog, call.http, info, call.user, call.query)
        return await self._change(pod, subresources.find(pod), body, sent)

    async def _post(self, call: Call, body: bytes) -> web.StreamResponse:
        """A create of a subresource: something is done to the object, and a Status tells that it is done."""
        part = subresources.find(call)
        if part.becomes is None:
            await self._evict(call, await decode.sent(call, part.kind or call.resource, body))
        else:
            await self._change(call, part, body)
        return await answers.document(call, subresources.CREATED, 201)

    async def _change(self, call: Call, part: Subresource, body: bytes, sent: Object | None = None) -> Entry:
        """Change an object by what was posted to a part of it, which may have been decoded once already."""

        async def posted(shown: Entry, stored: Entry) -> Edited:
            nonlocal sent
            taken, sent = sent, None  # what is edited is not as it was sent any more
            return Edited(taken if taken is not None else await decode.sent(call, part.kind or call.resource, body))

        return await self._edit(call, part, posted)

    async def _edit(self, call: Call, part: Subresource, edit: Edit) -> Entry:
        """Change an object; again from the start when others were quicker. Raises ApiError 409 in the end.

        What names a version that is not the newest any more is refused in the second round at the latest.
        """
        for _ in range(TRIES_MAX):
            stored = reading.existing(self._store, call)
            shown = await versions.show_one(call, stored)
            sent, managed = await edit(shown, stored)
            writing.place(call, sent)
            writing.check_version(call, sent["metadata"], shown)
            change = Change(versions.taken(call, sent), versions.judged(call, stored, shown), stored, managed)
            try:
                return await self._write(call, change, part)
            except Conflict:
                continue
        raise conflict(call.resource.group_resource, call.name, MODIFIED)

    async def _write_new(self, call: Call, sent: Object) -> Entry:
        """Write a new object, under another name if a generated one is taken. Raises ApiError 409."""
        writing.place(call, sent)
        change = Change(versions.taken(call, sent), None)
        try:
            return await self._write(call, change, OBJECT)
        except Conflict:
            for _ in range(GENERATED_NAMES_MAX if change.name_generated else 0):
                writing.generate_name(change.obj["metadata"])
                try:
                    return await self._commit(call, change)
                except Conflict:
                    continue
        name = change.obj["metadata"]["name"]
        taken = self._store.get(call.key, call.namespace, name)
        raise writing.name_taken(call, name, taken, generated=change.name_generated)

    async def _write(self, call: Call, change: Change, part: Subresource) -> Entry:
        """mutate → default and validate → validate → write. Raises ApiError, or Conflict if another was quicker."""
        current = change.old
        if part.kind is None:
            writing.complete(call.strategy, change.obj)
        await managers.track(call, change, part, self._now())
        attributes = admitting.of_write(call, change, part)
        if call.terminating and current is None:
            raise refused(attributes, "create not allowed while custom resource definition is terminating")
        await admission.mutate(self._plugins, attributes, self._cluster)
        managers.check_after_admission(call, change)
        admitting.tell_managers(attributes, change, part)
        writing.prepare(call, change, part, self._now())
        attributes.name = change.obj["metadata"]["name"]
        await admission.validate(self._plugins, attributes, self._cluster)
        change.also = attributes.also
        if current is not None and writing.ends_deletion(call.strategy, change.obj):
            return await self._commit(call, change, removed=True)
        return await self._commit(call, change)

    async def _commit(self, call: Call, change: Change, *, removed: bool = False) -> Entry:
        """write: durable when this returns; a dry run stops short of it. Raises Conflict."""
        name, expected = change.obj["metadata"]["name"], change.stored.revision if change.stored is not None else 0
        obj = await versions.to_store(call, change.obj)
        before = change.stored.managed if change.stored is not None else ()
        managed = change.managed if change.managed is not None else before
        if change.stored is not None and obj == change.stored.obj and same_managers(managed, before) and not removed:
            return change.stored  # a write that changes nothing is none
        if call.dry_run:
            if expected == 0 and self._store.get(call.key, call.namespace, name) is not None:
                raise Conflict
            if change.also is not None:
                change.also(self._store.get)
            return Entry(call.namespace, name, expected, versions.encode(call, obj, expected), managed)

        def encode(revision: int) -> bytes:
            return versions.encode(call, obj, revision)

        return await self._store.commit(
            call.key,
            call.namespace,
            name,
            expected=expected,
            encode=encode,
            managed=managed,
            deleted=removed,
            also=change.also,
            obj=obj,
        )

    async def _encode(self, call: Call, part: Subresource, entry: Entry, status: int = 200) -> web.StreamResponse:
        """encode: the answer with a version of an object, or with what a subresource shows of it."""
        entry = await versions.show_one(call, entry)
        if part.shows is not None:
            return await answers.scale(call, part.shows(call, entry), self._now(), status)
        return await answers.one(call, entry, self._now(), status)

    async def _delete(self, call: Call) -> web.StreamResponse:
        if call.info.subresource:
            raise method_not_allowed()
        options = await self._delete_options(call)
        entry, gone = await self._remove(call, options)
        if gone and not call.resource.returns_deleted:
            return await answers.document(call, deletion.success(call.resource, entry.obj))
        return await answers.one(call, entry, self._now(), 202 if options.told_later and not gone else 200)

    async def _delete_options(self, call: Call) -> DeleteOptions:
        body = await decode.read_body(call.http)
        document = (await decode.parse(body, decode.media_type(call.http)))[0] if body else None
        options = deletion.read_options(document, call.query)
        if call.strategy.orphaning_warning and not options.propagation_policy:
            call.warnings.append(call.strategy.orphaning_warning)
        return options

    async def _evict(self, call: Call, sent: Object) -> None:
        """A deletion that admission is asked about as an eviction."""
        writing.place(call, sent)
        existing = reading.existing(self._store, call)
        await self._admit(admitting.of_write(call, Change(sent, existing, existing), subresources.find(call)))
        options = deletion.read_options(sent.get("deleteOptions") or {}, {}, dry_run=call.dry_run)
        await self._remove(call, options, evicted=True)

    async def _remove(self, call: Call, options: DeleteOptions, *, evicted: bool = False) -> tuple[Entry, bool]:
        """validate (admission) → write, for a deletion: (the last version, whether the object is gone)."""
        for _ in range(TRIES_MAX):
            stored = reading.existing(self._store, call)
            shown = await versions.show_one(call, stored)
            current = versions.judged(call, stored, shown)
            deletion.check_preconditions(call.resource, current.obj, options)
            if not evicted:
                await self._admit(admitting.of_deletion(call, current, options))
            obj = subresources.disrupted(current.copy(), self._now()) if evicted else current.copy()
            plan = deletion.plan(call.strategy, obj, options, self._now())
            if not plan.changed:
                return shown, plan.removed
            also = self._spending(call, current.obj) if evicted else None
            if options.dry_run:
                if also is not None:
                    also(self._store.get)
                obj = await versions.to_store(call, plan.obj)
                raw = versions.encode(call, obj, stored.revision)
                tried = Entry(call.namespace, call.name, stored.revision, raw, stored.managed)
                return await versions.show_one(call, tried), plan.removed
            try:
                last = await self._commit(call, Change(plan.obj, current, stored, also=also), removed=plan.removed)
                return await versions.show_one(call, last), plan.removed
            except Conflict:
                continue
        raise conflict(call.resource.group_resource, call.name, MODIFIED)

    def _spending(self, call: Call, pod: Object) -> Also | None:
        """What an eviction costs. Raises ApiError."""
        return eviction.spending(pod, self._cluster.list(PODDISRUPTIONBUDGETS, call.namespace), self._now())

    async def _delete_collection(self, call: Call) -> web.StreamResponse:
        options = await self._delete_options(call)
        listed = (await reading.list_page(self._store, call)).entries
        removed: list[Entry] = []
        for start in range(0, len(listed), DELETED_AT_ONCE):
            some = listed[start : start + DELETED_AT_ONCE]
            results = await asyncio.gather(
                *(self._remove(call.at(entry), options) for entry in some), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    if not is_not_found(result):  # who was quicker did what was wanted
                        raise result
                else:
                    removed.append(result[0])
        return await answers.many(call, Page(removed, self._store.revision), self._now())
