"""What admission is told of a request: who does what to which object, and what was sent for it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from apimachinery import schemas
from apimachinery.errors import ApiError, bad_request, internal
from apimachinery.meta import Object
from apimachinery.resources import Resource, by_kind
from apiserver.admission.plugin import CONNECT, CREATE, DELETE, UPDATE, Attributes
from apiserver.rest import decode, writing
from apiserver.rest.call import Call
from apiserver.rest.deletion import DeleteOptions
from apiserver.rest.questions import Question
from apiserver.rest.subresources import Subresource
from apiserver.rest.writing import Change
from apiserver.storage.entry import Entry

_META = "meta.k8s.io/v1"
# What is sent to open a connection, by (plural, subresource): its kind, and its fields by type.
_CONNECTIONS: Mapping[tuple[str, str], tuple[str, Mapping[str, type]]] = {
    ("pods", "exec"): (
        "PodExecOptions",
        {"stdin": bool, "stdout": bool, "stderr": bool, "tty": bool, "container": str, "command": list},
    ),
    ("pods", "attach"): (
        "PodAttachOptions",
        {"stdin": bool, "stdout": bool, "stderr": bool, "tty": bool, "container": str},
    ),
    ("pods", "portforward"): ("PodPortForwardOptions", {"ports": list}),
    ("pods", "proxy"): ("PodProxyOptions", {"path": str}),
    ("services", "proxy"): ("ServiceProxyOptions", {"path": str}),
    ("nodes", "proxy"): ("NodeProxyOptions", {"path": str}),
}


def of_write(call: Call, change: Change, part: Subresource) -> Attributes:
    """A creation or an update, of an object or of a part of it."""
    creates = call.info.verb == "create" or change.old is None
    old: Object | None = None
    if not creates and change.old is not None:
        old = part.shows(call, change.old) if part.shows is not None else change.old.obj
    attributes = _attributes(CREATE if creates else UPDATE, call, change.obj, old, part.kind)
    tell_managers(attributes, change, part)
    return attributes


def tell_managers(attributes: Attributes, change: Change, part: Subresource) -> None:
    """Tell who manages which fields of both objects; nobody is told of a part that is another kind."""
    if part.kind is None:
        attributes.managed = change.managed or ()
        attributes.old_managed = change.stored.managed if change.stored is not None else ()


def of_question(call: Call, question: Question, sent: Object) -> Attributes:
    """A question, which is sent like an object to be created."""
    return _attributes(CREATE, call, sent, None, question.kind if call.info.subresource else None)


def of_deletion(call: Call, old: Entry, options: DeleteOptions) -> Attributes:
    """A deletion."""
    attributes = Attributes(DELETE, call.resource, call.namespace, call.name, call.user, None, old.obj)
    attributes.old_managed = old.managed
    attributes.dry_run, attributes.warnings = options.dry_run, call.warnings
    attributes.options = partial(_delete_options, options)
    return attributes


def of_connection(call: Call) -> Attributes | None:
    """A connection to something behind the server; None for what is only read. Raises ApiError 400."""
    found = _CONNECTIONS.get((call.resource.plural, call.info.subresource))
    if found is None:
        return None
    if call.query.get("dryRun"):
        raise bad_request("dryRun is not supported")
    kind, fields = found
    obj: Object = {"kind": kind, "apiVersion": "v1"}
    for field, of in fields.items():
        if field in call.query:
            obj[field] = _value(call, field, of)
    if call.info.rest and "path" in fields:
        obj["path"] = f"/{call.info.rest}"
    attributes = Attributes(CONNECT, call.resource, call.namespace, call.name, call.user, obj)
    attributes.subresource, attributes.warnings = call.info.subresource, call.warnings
    attributes.sent_as = Resource("", "v1", kind, "", "")
    return attributes


def _value(call: Call, field: str, of: type) -> object:
    if of is list:
        return call.http.query.getall(field)
    return bool(call.flag(field)) if of is bool else call.query[field]


def _attributes(operation: str, call: Call, obj: Object, old: Object | None, sent_as: Resource | None) -> Attributes:
    name = call.name or obj["metadata"].get("name") or ""
    attributes = Attributes(operation, call.resource, call.namespace, name, call.user, obj, old)
    attributes.subresource, attributes.dry_run = call.info.subresource, call.dry_run
    attributes.sent_as, attributes.warnings = sent_as, call.warnings
    attributes.options = partial(_write_options, call, operation)
    attributes.complete = partial(_completed, call, sent_as)
    return attributes


def _completed(call: Call, sent_as: Resource | None, obj: Object) -> Object:
    """What admission has made of an object, in its full form and without unknown fields. Raises ApiError 500."""
    try:
        if sent_as is None and call.strategy.coerce is not None:
            _, wrong = call.strategy.coerce(obj)
            decode.refuse(call.resource, obj, wrong)
        else:
            # Built-in kinds are in the form in which they are stored, be it not the one that was asked for.
            kind = sent_as or by_kind(obj["apiVersion"], obj["kind"]) or call.resource
            if not schemas.is_strictly_valid(kind, obj):
                obj = schemas.prune(kind, obj)
                decode.refuse_wrong_types(kind, obj)
        if sent_as is None:
            writing.complete(call.strategy, obj)
    except ApiError as error:
        raise internal(error.message) from error
    return obj


def _write_options(call: Call, operation: str) -> Object:
    """The CreateOptions or UpdateOptions of a request."""
    options: Object = {"kind": f"{operation.capitalize()}Options", "apiVersion": _META}
    if call.dry_run:
        options["dryRun"] = ["All"]
    for field in ("fieldManager", "fieldValidation"):
        if value := call.query.get(field):
            options[field] = value
    return options


def _delete_options(options: DeleteOptions) -> Object:
    preconditions = {"uid": options.uid, "resourceVersion": options.resource_version}
    said = {
        "gracePeriodSeconds": options.grace_period_seconds,
        "preconditions": {key: value for key, value in preconditions.items() if value} or None,
        "propagationPolicy": options.propagation_policy or None,
        "dryRun": ["All"] if options.dry_run else None,
    }
    kept = {key: value for key, value in said.items() if value is not None}
    return {"kind": "DeleteOptions", "apiVersion": _META, **kept}
