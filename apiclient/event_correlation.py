"""What becomes of an event before it is sent: pure. Events that repeat, or nearly do, become one that is counted.

As in Kubernetes: the same event again raises the count of the first one; of events that differ in their text alone,
within ten minutes, the tenth and all further ones become a single event; and an object has no more than 25 events,
and then one every five minutes, however many are made about it.

Source: k8s.io/client-go/tools/record, EventCorrelator.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

REMEMBERED = 4096
BURST_EVENTS = 25
SECONDS_PER_EVENT = 300.0
SIMILAR_EVENTS_MAX = 10
SIMILAR_SECONDS = 600.0
# Room for a point and the time behind the object's name.
NAME_CHARACTERS_MAX = 253 - 18
COMBINED = "(combined from similar events): "

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Something that was seen to happen to an object, and when (seconds since 1970)."""

    reference: dict[str, Any]
    type: str
    reason: str
    message: str
    at: float


@dataclass(slots=True)
class Told:
    """An event as the API should have it: how often it was seen, and first and last when."""

    key: str
    name: str
    seen: Sighting
    first: float
    count: int = 1
    # Whether the API has it, as far as we know.
    created: bool = False


class Correlator:
    """Remembers what one component has told."""

    def __init__(self) -> None:
        self._told: _Recent[Told] = _Recent()
        self._similar: _Recent[tuple[set[str], float]] = _Recent()
        # By object: (events that it may still have, as of when).
        self._budgets: _Recent[tuple[float, float]] = _Recent()
        self._last_name_ns = 0

    def correlate(self, seen: Sighting, monotonic: float) -> Told | None:
        """The event to send for this sighting; None if its object has had too many."""
        key, message = self._aggregated(seen, monotonic)
        if message is not seen.message:
            seen = Sighting(seen.reference, seen.type, seen.reason, message, seen.at)
        told = self._told.get(key)
        if told is None:
            told = Told(key, self._name(seen), seen, first=seen.at)
        else:
            told.count += 1
            told.seen = seen
        self._told.put(key, told)
        return told if self._within_budget(_subject(seen), monotonic) else None

    def _aggregated(self, seen: Sighting, monotonic: float) -> tuple[str, str]:
        """(what the event is known by, its message)."""
        group = "\0".join((_subject(seen), seen.type, seen.reason))
        messages, last = self._similar.get(group) or (set(), monotonic)
        if monotonic - last > SIMILAR_SECONDS:
            messages = set()
        messages.add(seen.message)
        self._similar.put(group, (messages, monotonic))
        if len(messages) < SIMILAR_EVENTS_MAX:
            return "\0".join((group, seen.reference.get("fieldPath", ""), seen.message)), seen.message
        messages.pop()
        return group, COMBINED + seen.message

    def _within_budget(self, subject: str, monotonic: float) -> bool:
        left, at = self._budgets.get(subject) or (float(BURST_EVENTS), monotonic)
        left = min(float(BURST_EVENTS), left + (monotonic - at) / SECONDS_PER_EVENT)
        self._budgets.put(subject, (left - 1 if left >= 1 else left, monotonic))
        return left >= 1

    def _name(self, seen: Sighting) -> str:
        """A name that no other event of this component has, whatever the clock does."""
        self._last_name_ns = max(int(seen.at * 1e9), self._last_name_ns + 1)
        return f"{seen.reference['name'][:NAME_CHARACTERS_MAX]}.{self._last_name_ns:x}"


class _Recent(Generic[T]):
    """A table of what was used last; the rest is forgotten."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str) -> T | None:
        return self._entries.get(key)

    def put(self, key: str, value: T) -> None:
        self._entries[key] = value
        self._entries.move_to_end(key)
        if len(self._entries) > REMEMBERED:
            self._entries.popitem(last=False)


def _subject(seen: Sighting) -> str:
    reference = seen.reference
    fields = ("kind", "namespace", "name", "uid", "apiVersion")
    return "\0".join([reference.get(field, "") for field in fields])
