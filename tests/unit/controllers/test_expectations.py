"""A controller counts again only when its cache shows all that it did."""

from __future__ import annotations

from apiclient.clock import SystemClock
from apimachinery.meta import Object, namespaced_key
from apimachinery.time import rfc3339
from controllers.expectations import EXPIRE_SECONDS, Expectations
from tests.support.workloads import EPOCH, pod


class Cache:
    """An informer's cache at some version."""

    def __init__(self, *objects: Object) -> None:
        self.version = 0
        self.objects = {namespaced_key(obj): obj for obj in objects}

    def get(self, key: str) -> Object | None:
        return self.objects.get(key)


class Clock(SystemClock):
    time = 0.0

    def monotonic(self) -> float:
        return self.time


def at_version(obj: Object, version: int) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}


def test_creations_are_expected_until_the_cache_has_reached_their_versions() -> None:
    cache = Cache()
    expectations = Expectations(cache, Clock())  # type: ignore[arg-type]
    assert expectations.satisfied("a")
    expectations.written("a", at_version(pod(), 12))
    expectations.written("a", at_version(pod(), 10))
    cache.version = 11
    assert not expectations.satisfied("a") and expectations.satisfied("b")
    cache.version = 12
    assert expectations.satisfied("a")


def test_deletions_are_expected_until_each_pod_is_gone_or_going() -> None:
    one, two, three = pod("one"), pod("two"), pod("three")
    cache = Cache(one, two, three)
    expectations = Expectations(cache, Clock())  # type: ignore[arg-type]
    expectations.deleted("a", [one, two, three])
    assert not expectations.satisfied("a")
    del cache.objects["default/one"]
    cache.objects["default/two"] = {**two, "metadata": {**two["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}
    assert not expectations.satisfied("a")
    cache.objects["default/three"] = pod("three")  # another pod of the same name
    assert expectations.satisfied("a")


def test_a_deletion_that_failed_is_expected_no_more() -> None:
    one = pod("one")
    expectations = Expectations(Cache(one), Clock())  # type: ignore[arg-type]
    expectations.deleted("a", [one])
    expectations.not_deleted("a", one)
    assert expectations.satisfied("a")


def test_what_never_shows_is_not_waited_for_forever() -> None:
    clock = Clock()
    expectations = Expectations(Cache(), clock)  # type: ignore[arg-type]
    expectations.written("a", at_version(pod(), 99))
    assert not expectations.satisfied("a")
    clock.time = EXPIRE_SECONDS + 1
    assert expectations.satisfied("a")
