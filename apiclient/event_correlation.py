"""What becomes of an event before it is sent: pure. Events that repeat, or nearly do, become one that is counted.

As in Kubernetes: the same event again raises the count of the first one; of events that differ in their text alone,
within ten minutes, the tenth and all further ones become a single event; and an object has no more than 25 events,
and then one every five minutes, however many are made about it.

Source: k8s.io/client-go/tools/record, EventCorrelator.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from apimachinery.meta import Object

REMEMBERED = 4096
BURST_EVENTS = 25
SECONDS_PER_EVENT = 300.0
SIMILAR_EVENTS_MAX = 10
SIMILAR_SECONDS = 600.0
# Room for a point and the time behind the object's name.
NAME_CHARACTERS_MAX = 253 - 18
COMBINED = "(combined from similar events): "

K = TypeVar("K")
T = TypeVar("T")


class Reference(NamedTuple):
    """The object that an event is about, or the part of it that `field_path` names."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str
    field_path: str

    @classmethod
    def to(cls, obj: Object, field_path: str) -> Reference:
        """To this object as it is now."""
        metadata = obj["metadata"]
        of = metadata.get
        version, uid = of("resourceVersion", ""), of("uid", "")
        kind, api_version = obj["kind"], obj.get("apiVersion", "v1")
        return cls(api_version, kind, of("namespace", ""), metadata["name"], uid, version, field_path)

    def document(self) -> Object:
        """As an ObjectReference."""
        fields = {
            "apiVersion": self.api_version,
            "kind": self.kind,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "resourceVersion": self.resource_version,
            "fieldPath": self.field_path,
        }
        return {field: value for field, value in fields.items() if value}


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something that was seen to happen to an object, and when (seconds since 1970)."""

    reference: Reference
    type: str
    reason: str
    message: str
    at: float


@dataclass(slots=True)
class Told:
    """An event as the API should have it: how often it was seen, and first and last when."""

    key: str
    name: str
    first: float
    count: int
    # What was seen last; None once it has been told, since thousands are remembered.
    seen: Sighting | None
    # Whether the API has it, as far as we know.
    created: bool = False


class Correlator:
    """Remembers what one component has told: of each thing its hash, since nothing else is ever needed of it."""

    def __init__(self) -> None:
        self._told: _Recent[str, Told] = _Recent()
        # By what makes events similar: (their messages, when the last one came).
        self._similar: _Recent[int, tuple[tuple[int, ...], float]] = _Recent()
        # By object: (events that it may still have, as of when).
        self._budgets: _Recent[int, tuple[float, float]] = _Recent()
        self._last_name_ns = 0

    def correlate(self, seen: Sighting, monotonic: float) -> Told | None:
        """The event to send for this sighting; None if its object has had too many."""
        subject = seen.reference[:5]
        group = hash((subject, seen.type, seen.reason))
        if self._is_one_of_many(group, hash(seen.message), monotonic):
            key = f"{group:x}"
            seen = replace(seen, message=COMBINED + seen.message)
        else:
            key = f"{hash((group, seen.reference.field_path, seen.message)):x}"
        told = self._told.get(key)
        if told is None:
            told = Told(key, self._name(seen), first=seen.at, count=1, seen=seen)
        else:
            told.count += 1
            told.seen = seen
        self._told.put(key, told)
        return told if self._within_budget(hash(subject), monotonic) else None

    def _is_one_of_many(self, group: int, message: int, monotonic: float) -> bool:
        """Whether events of this group have come with so many messages lately that they are combined."""
        known = self._similar.get(group)
        messages: tuple[int, ...] = ()
        if known is not None and monotonic - known[1] <= SIMILAR_SECONDS:
            messages = known[0]
        if message not in messages:
            messages = (*messages, message)
        combined = len(messages) >= SIMILAR_EVENTS_MAX
        self._similar.put(group, (messages[1:] if combined else messages, monotonic))
        return combined

    def _within_budget(self, subject: int, monotonic: float) -> bool:
        left, at = self._budgets.get(subject) or (float(BURST_EVENTS), monotonic)
        left = min(float(BURST_EVENTS), left + (monotonic - at) / SECONDS_PER_EVENT)
        self._budgets.put(subject, (left - 1 if left >= 1 else left, monotonic))
        return left >= 1

    def _name(self, seen: Sighting) -> str:
        """A name that no other event of this component has, whatever the clock does."""
        self._last_name_ns = max(int(seen.at * 1e9), self._last_name_ns + 1)
        return f"{seen.reference.name[:NAME_CHARACTERS_MAX]}.{self._last_name_ns:x}"


class _Recent(Generic[K, T]):
    """A table of what was used last; the rest is forgotten."""

    def __init__(self) -> None:
        self._entries: dict[K, T] = {}

    def get(self, key: K) -> T | None:
        return self._entries.get(key)

    def put(self, key: K, value: T) -> None:
        # A dict keeps the order in which keys came.
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > REMEMBERED:
            del self._entries[next(iter(self._entries))]
