"""The one shape of all resources: what their generic handling needs to be told, as small pure functions.

The handlers know no resource by name. What sets a Pod apart from a ConfigMap (defaults, what may be changed, how
it is deleted, the columns of its table) is a `Strategy`, in the module of `apiserver.registry` that is called as the
resource is. A resource that is not built in is handled by `Strategy(resource)`.

A write's way through it, in Kubernetes' order: on create `default` (as part of decoding), mutating admission,
`prepare_create`, `validate`; on update `default`, mutating admission, `prepare_update`, `validate`,
`validate_update`; on an update of the status `default`, admission, `prepare_status`, `validate_status`. What holds
of metadata for every resource (its name included) is checked by `apiserver.registry.metadata` before `validate`.
Functions that prepare or default change the private copy that they are given; those that validate change nothing
and return what is wrong. To default twice changes nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from apimachinery import names
from apimachinery.field import FieldError
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.time import human_duration, parse_rfc3339

Change = Callable[[Object], None]
ChangeFrom = Callable[[Object, Object], None]
Check = Callable[[Object], list[FieldError]]
CheckFrom = Callable[[Object, Object], list[FieldError]]
# In place; returns the paths of unknown fields, which are gone, and what is of a wrong type.
Coerce = Callable[[Object], tuple[list[str], list[FieldError]]]


class Since(NamedTuple):
    """A text that depends on the moment: ages stand where `text` has `{}`, as in `3 ({} ago)`.

    `times` are RFC 3339; an age since no time at all reads `<unknown>`.
    """

    times: tuple[str | None, ...]
    text: str = "{}"

    def at(self, now: float) -> str:
        """The text at this moment, in seconds since 1970."""
        ages = (human_duration(now - parse_rfc3339(time)) if time else UNKNOWN for time in self.times)
        return self.text.format(*ages)


UNKNOWN, NONE = "<unknown>", "<none>"
Cell = str | int | float | bool | None | Since
CellOf = Callable[[Object], Cell]


def labels_text(labels: Mapping[str, str] | None) -> str:
    """`app=web,tier=front`, or `<none>`: how labels stand in a cell."""
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


class Column(NamedTuple):
    """A column of the table that `kubectl get` prints.

    `cell` gets the object and returns what stands there, which is kept for this version of the object; a `Since`
    is kept too and turned into text whenever a table is sent. `priority` over 0 is shown with `-o wide` only.
    Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
    """

    name: str
    cell: Callable[[Object], Cell]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


NAME_DESCRIPTION = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may "
    "allow a client to request the generation of an appropriate name automatically."
)


def _name(obj: Object) -> Cell:
    found: str = obj["metadata"]["name"]
    return found


def age(obj: Object) -> Cell:
    """How long the object has existed."""
    return Since((obj["metadata"].get("creationTimestamp"),))


AGE_DESCRIPTION = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is represented "
    "in RFC3339 form and is in UTC."
)
NAME = Column("Name", _name, format="name", description=NAME_DESCRIPTION)
AGE = Column("Age", age, description=AGE_DESCRIPTION)


def _created(obj: Object) -> Cell:
    return obj["metadata"].get("creationTimestamp") or UNKNOWN


# What kinds show that have no columns of their own.
CREATED_AT = Column("Created At", _created, type="date", description=AGE_DESCRIPTION)


class Part(NamedTuple):
    """A part of the object that is written on its own, as the status is: what an update of it keeps, and may do.

    Nobody becomes the manager of what it `resets`, nor of anything but what it `writes` where that is said: paths as
    `spec.containers.*.resources`, where `*` is any item.
    """

    prepare: ChangeFrom
    validate: CheckFrom
    resets: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


class Scale(NamedTuple):
    """Where the `scale` subresource finds its numbers in the object; `selector` is a LabelSelector or a map.

    Custom resources keep the text of a selector instead, at `selector_text`, and their number of replicas must be
    set: `must_be_set` is how messages name its path.
    """

    spec_replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")
    selector_text: tuple[str, ...] = ()
    must_be_set: str = ""


def nothing(obj: Object) -> None:
    """Change nothing."""


def drop_status(obj: Object) -> None:
    """A client can't create an object together with its status."""
    obj.pop("status", None)


def keep_status(obj: Object, old: Object) -> None:
    """An update of the object leaves its status alone."""
    obj.pop("status", None)
    if "status" in old:
        obj["status"] = old["status"]


def only_status(obj: Object, old: Object) -> None:
    """An update of the status leaves all but the status (and managedFields) alone."""
    for key in [key for key in obj if key not in ("status", "metadata")]:
        del obj[key]
    obj.update({key: value for key, value in old.items() if key not in ("status", "metadata")})
    kept = ("resourceVersion", "managedFields")
    ours = {key: value for key, value in obj["metadata"].items() if key in kept}
    obj["metadata"] = {**{key: value for key, value in old["metadata"].items() if key not in kept}, **ours}


def keep_spec(obj: Object, old: Object) -> None:
    """An update of the status of a built-in kind: labels and annotations may change along, all else stays."""
    for key in [key for key in obj if key not in ("status", "metadata")]:
        del obj[key]
    obj.update({key: value for key, value in old.items() if key not in ("status", "metadata")})


def replace_all(obj: Object, old: Object) -> None:
    """For resources without a status of their own: the update counts as it is."""


def no_errors(obj: Object) -> list[FieldError]:
    """Nothing is wrong."""
    return []


def no_errors_from(obj: Object, old: Object) -> list[FieldError]:
    """Nothing is wrong with the change."""
    return []


def never(obj: Object) -> bool:
    """Nothing but its finalizers keeps the object from going."""
    return False


def at_once(obj: Object, grace_period_seconds: int | None) -> int:
    """Most objects go the moment that their deletion is asked for (and their finalizers are gone)."""
    return 0


@dataclass(frozen=True, slots=True)
class Strategy:
    """The rules of one resource."""

    resource: Resource
    # How what was sent is brought into shape, where no published schema says it.
    coerce: Coerce | None = None
    default: Change = nothing
    prepare_create: Change = drop_status
    prepare_update: ChangeFrom = keep_status
    prepare_status: ChangeFrom = only_status
    validate: Check = no_errors
    validate_update: CheckFrom = no_errors_from
    validate_status: CheckFrom = no_errors_from
    # Of a name; the messages are those of `apimachinery.names`.
    validate_name: Callable[[str], list[str]] = names.dns1123_subdomain
    columns: Sequence[Column] = (NAME, CREATED_AT)
    # Fields beyond metadata.name and metadata.namespace that a field selector may name.
    selectable: tuple[str, ...] = ()
    # metadata.generation counts the changes of everything but metadata and status.
    counts_generations: bool = False
    # … and the changes of the status, where that is no part of its own.
    counts_status: bool = False
    # An update is judged by `validate_update` alone, which lets pass what was wrong before.
    compares_updates: bool = False
    # Finalizers must be Kubernetes' own, or in somebody's domain.
    restricts_finalizers: bool = True
    # The media types of patches that can be applied; all of them if none is said.
    patches: tuple[str, ...] = ()
    # The seconds between the request for a deletion and the end; 0: at once. None asked for: the object's own.
    grace_period_seconds: Callable[[Object, int | None], int] = at_once
    # What a request for a deletion changes besides the metadata, if the object stays on for a while.
    begin_deletion: Change = nothing
    # True while something besides metadata.finalizers and the grace period keeps a deleted object from going.
    kept: Callable[[Object], bool] = never
    scale: Scale | None = None
    # What a write of the object itself leaves as it is, besides the status, and what one of the status does: nobody
    # becomes the manager of these by it.
    resets: tuple[str, ...] = ()
    status_resets: tuple[str, ...] = ("spec",)
    # Subresources with rules of their own.
    parts: Mapping[str, Part] = field(default_factory=dict)
    # A PUT to a name that does not exist creates it (Kubernetes allows that for a few kinds only).
    create_on_update: bool = False
    # A PUT need not name the version that it is meant for.
    unconditional_update: bool = True
    # A deletion that doesn't say what becomes of the dependents leaves them, as in the first versions of the API.
    orphans_dependents: bool = False
    # What a client is told that doesn't say what becomes of the dependents.
    orphaning_warning: str = ""
