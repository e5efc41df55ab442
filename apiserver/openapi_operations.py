"""The operations of every resource, as OpenAPI describes them: paths, parameters, bodies and answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from apimachinery import schemas
from apimachinery.resources import Resource
from apiserver.discovery import subresource

Parameter = tuple[str, str, str, str]
"""(name, in, type, description)"""
Names = Callable[[str, str], str | None]
"""An apiVersion and a kind to the name of their schema; None if there is none."""

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
STATUS = f"{_META}Status"
JSON, YAML, WATCH = "application/json", "application/yaml", "application/json;stream=watch"
PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
)

NAMESPACE: Parameter = ("namespace", "path", "string", "object name and auth scope, such as for teams and projects")
PRETTY: Parameter = ("pretty", "query", "string", "If 'true', then the output is pretty printed.")
DRY_RUN: Parameter = ("dryRun", "query", "string", "'All': nothing is stored, everything else happens.")
FIELD_MANAGER: Parameter = ("fieldManager", "query", "string", "The name of who makes the change.")
FIELD_VALIDATION: Parameter = (
    "fieldValidation",
    "query",
    "string",
    "What happens to unknown and duplicate fields: Ignore, Warn (the default) or Strict.",
)
FORCE: Parameter = ("force", "query", "boolean", "Take over fields that others own; for apply patches only.")
LIST: tuple[Parameter, ...] = (
    (
        "allowWatchBookmarks",
        "query",
        "boolean",
        "Send events of type BOOKMARK, which tell how far the watch has come.",
    ),
    ("continue", "query", "string", "The token of the next page, from the answer with the page before."),
    ("fieldSelector", "query", "string", "Only objects whose fields have these values."),
    ("labelSelector", "query", "string", "Only objects whose labels match."),
    ("limit", "query", "integer", "The greatest number of objects in an answer."),
    ("resourceVersion", "query", "string", "The version that a list is at least of, or that a watch begins after."),
    ("resourceVersionMatch", "query", "string", "How resourceVersion is meant: Exact or NotOlderThan."),
    ("sendInitialEvents", "query", "boolean", "Begin a watch with what there is."),
    ("timeoutSeconds", "query", "integer", "How long the call may take."),
    ("watch", "query", "boolean", "Send changes as they come."),
)
DELETE: tuple[Parameter, ...] = (
    ("gracePeriodSeconds", "query", "integer", "How long the object has to end; 0: at once."),
    ("propagationPolicy", "query", "string", "What becomes of dependents: Orphan, Background or Foreground."),
)
WRITE = (DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `body` and `answer` name schemas; `string` is plain text."""

    path: str
    method: str
    action: str
    id: str
    tag: str
    description: str
    kind: dict[str, str]
    answer: str
    path_parameters: tuple[Parameter, ...]
    query_parameters: tuple[Parameter, ...]
    body: str | None = None
    body_required: bool = True
    consumes: tuple[str, ...] = (JSON, YAML)
    produces: tuple[str, ...] = (JSON, YAML)


def operations(
    resources: Iterable[Resource], names: Names = schemas.definition_name, patches: tuple[str, ...] = PATCHES
) -> Iterator[Operation]:
    """All operations of these resources; `names` gives the schema of an apiVersion and kind."""
    for resource in resources:
        yield from _of_collection(resource, names)
        own = [verb for verb in ("get", "update", "patch", "delete") if verb in resource.verbs]
        for sub, found in [("", None), *((name, subresource(resource, name)) for name in resource.subresources)]:
            group, version, kind = resource.group, resource.version, resource.kind
            if found is not None:
                group, version, kind = found.group, found.version, found.kind
            schema = names(f"{group}/{version}" if group else version, kind)
            yield from _of_object(
                resource, sub, own if found is None else found.verbs, (group, version, kind), schema, patches
            )


_METHODS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
_WORDS = {"get": "read", "create": "create", "update": "replace", "patch": "patch", "delete": "delete"}
_ACTIONS = {"get": "get", "create": "post", "update": "put", "patch": "patch", "delete": "delete"}
# Commands that run in a container answer with a stream, and its log is text.
_TEXT = ("log", "exec", "attach", "portforward", "proxy")


def _of_collection(resource: Resource, find: Names) -> Iterator[Operation]:
    schema, listed = find(resource.api_version, resource.kind), find(resource.api_version, resource.list_kind)
    if schema is None:
        return
    names, scope = _names(resource), "Namespaced" if resource.namespaced else ""
    own = (NAMESPACE,) if resource.namespaced else ()
    kind = {"group": resource.group, "version": resource.version, "kind": resource.kind}
    path, tag = resource.path("{namespace}"), _tag(resource)
    if "list" in resource.verbs and listed is not None:
        yield _listing(resource, listed, f"list{names}{scope}{resource.kind}", path, own)
    if "create" in resource.verbs:
        yield Operation(
            path=path,
            method="post",
            action="post",
            id=f"create{names}{scope}{resource.kind}",
            tag=tag,
            description=f"create an object of kind {resource.kind}",
            kind=kind,
            answer=schema,
            body=schema,
            path_parameters=own,
            query_parameters=(*WRITE, PRETTY),
        )
    if "deletecollection" in resource.verbs:
        yield Operation(
            path=path,
            method="delete",
            action="deletecollection",
            id=f"delete{names}Collection{scope}{resource.kind}",
            tag=tag,
            description=f"delete all that is selected of kind {resource.kind}",
            kind=kind,
            answer=STATUS,
            body=f"{_META}DeleteOptions",
            body_required=False,
            path_parameters=own,
            query_parameters=(*LIST, DRY_RUN, *DELETE, PRETTY),
        )
    if "list" in resource.verbs and listed is not None and resource.namespaced:
        yield _listing(resource, listed, f"list{names}{resource.kind}ForAllNamespaces", resource.path(), ())


def _listing(resource: Resource, listed: str, id_: str, path: str, parameters: tuple[Parameter, ...]) -> Operation:
    return Operation(
        path=path,
        method="get",
        action="list",
        id=id_,
        tag=_tag(resource),
        description=f"list or watch objects of kind {resource.kind}",
        kind={"group": resource.group, "version": resource.version, "kind": resource.kind},
        answer=listed,
        path_parameters=parameters,
        query_parameters=(*LIST, PRETTY),
        produces=(JSON, YAML, WATCH),
    )


def _of_object(
    resource: Resource,
    sub: str,
    verbs: Iterable[str],
    gvk: tuple[str, str, str],
    schema: str | None,
    patches: tuple[str, ...],
) -> Iterator[Operation]:
    group, version, kind = gvk
    text = sub in _TEXT
    answer = "string" if text else schema
    if answer is None:
        return
    name: Parameter = ("name", "path", "string", f"name of the {kind}")
    for verb in verbs:
        body = {"patch": f"{_META}Patch", "delete": f"{_META}DeleteOptions"}.get(verb, answer)
        yield Operation(
            path=resource.path("{namespace}", "{name}", sub or None),
            method=_METHODS[verb],
            action="connect" if text and sub != "log" else _ACTIONS[verb],
            id=f"{_WORDS[verb]}{_names(resource)}{'Namespaced' if resource.namespaced else ''}{resource.kind}"
            + sub.capitalize(),
            tag=_tag(resource),
            description=f"{_WORDS[verb]} {f'the {sub} of ' if sub else ''}the object of kind {resource.kind}",
            kind={"group": group, "version": version, "kind": kind},
            answer=STATUS if verb == "delete" and not resource.returns_deleted else answer,
            path_parameters=(name, NAMESPACE) if resource.namespaced else (name,),
            query_parameters=(*_query(verb), PRETTY),
            body=None if verb == "get" or text else body,
            body_required=verb != "delete",
            consumes=patches if verb == "patch" else (JSON, YAML),
            produces=("text/plain",) if text else (JSON, YAML),
        )


def _query(verb: str) -> tuple[Parameter, ...]:
    match verb:
        case "get":
            return ()
        case "delete":
            return (DRY_RUN, *DELETE)
        case "patch":
            return (*WRITE, FORCE)
    return WRITE


def _names(resource: Resource) -> str:
    """`CoreV1`, `AppsV1`, as the ids of operations begin."""
    group = resource.group.partition(".")[0] or "core"
    return f"{group.capitalize()}{resource.version.capitalize()}"


def _tag(resource: Resource) -> str:
    return f"{resource.group.partition('.')[0] or 'core'}_{resource.version}"
