"""What a controller has done and its cache has not yet shown.

Between a write and the event that tells of it the cache is stale: a controller that counts pods then would create
them twice. So it remembers what it did and counts again only once the cache has caught up: with creations and
updates, when it has seen the version that the server answered with; with deletions, when each pod shows that it is
leaving. Where an answer was lost, nobody knows whether there is a new object: the server is asked first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from apiclient.clock import Clock
from apiclient.informer import Informer
from apiclient.rest import Client
from apimachinery.meta import Object, deletion_requested, is_controlled_by, namespace, namespaced_key, uid
from apimachinery.selectors import Selector

# A server whose database was set back never reaches the expected version: don't wait for it forever.
EXPIRE_SECONDS = 300.0
# How soon an owner whose cache lags behind is looked at again even if no event asks for it.
STALE_RETRY_SECONDS = 1.0


@dataclass(slots=True)
class _Expected:
    version: int = 0
    deletions: dict[str, str] = field(default_factory=dict)
    since: float = 0.0
    in_doubt: bool = False


class Expectations:
    """By key of the owner, what the informer still has to show."""

    def __init__(self, informer: Informer, clock: Clock) -> None:
        self._informer = informer
        self._clock = clock
        self._expected: dict[str, _Expected] = {}

    def written(self, key: str, obj: Object) -> None:
        """Expect this version of an object, as the server answered it."""
        expected = self._at(key)
        expected.version = max(expected.version, int(obj["metadata"]["resourceVersion"]))

    def deleted(self, key: str, objects: Iterable[Object]) -> None:
        """Expect these objects to leave."""
        self._at(key).deletions.update({uid(obj): namespaced_key(obj) for obj in objects})

    def forget(self, key: str) -> None:
        """The owner is gone."""
        self._expected.pop(key, None)

    def not_deleted(self, key: str, obj: Object) -> None:
        """The deletion failed after all."""
        self._at(key).deletions.pop(uid(obj), None)

    def doubt(self, key: str) -> None:
        """The answer to a creation was lost: it may have been done all the same."""
        self._at(key).in_doubt = True

    async def clear_doubts(self, client: Client, key: str, owner: Object, selector: Selector) -> None:
        """Ask the server what the owner has, if an answer was lost. Raises ApiError if that can't be told yet."""
        expected = self._expected.get(key)
        if expected is None or not expected.in_doubt:
            return
        page = await client.list(self._informer.resource, namespace(owner), label_selector=str(selector))
        expected.in_doubt = False
        for obj in page["items"]:
            if is_controlled_by(obj, owner):
                self.written(key, obj)

    def satisfied(self, key: str) -> bool:
        """True if the cache shows all that was done for this key."""
        expected = self._expected.get(key)
        if expected is None:
            return True
        if self._clock.monotonic() - expected.since > EXPIRE_SECONDS or self._shown(expected):
            del self._expected[key]
            return True
        return False

    def _shown(self, expected: _Expected) -> bool:
        if expected.in_doubt or self._informer.version < expected.version:
            return False
        return not any(self._stays(uid_, key) for uid_, key in expected.deletions.items())

    def _stays(self, uid_: str, key: str) -> bool:
        obj = self._informer.get(key)
        return obj is not None and uid(obj) == uid_ and not deletion_requested(obj)

    def _at(self, key: str) -> _Expected:
        expected = self._expected.setdefault(key, _Expected())
        expected.since = self._clock.monotonic()
        return expected
