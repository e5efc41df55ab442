"""Parts that cached objects have in common: one object for all that are equal, and few remembered."""

from __future__ import annotations

from apiclient.sharing import SHARED_MAX, Sharing


def test_what_is_equal_is_one_object_and_what_differs_is_not() -> None:
    sharing = Sharing()
    first = sharing.one({"app": "web"})
    assert sharing.one({"app": "web"}) is first
    assert sharing.one({"app": "db"}) == {"app": "db"}
    # True equals 1 in Python, and means something else in an object.
    assert sharing.one({"x": 1}) == {"x": 1} and sharing.one({"x": True})["x"] is True


def test_however_many_come_few_are_remembered() -> None:
    sharing = Sharing()
    for number in range(2 * SHARED_MAX):
        assert sharing.one({"number": str(number)}) == {"number": str(number)}
    assert len(sharing) <= SHARED_MAX
