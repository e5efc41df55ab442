"""When bootstrap tokens go."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.resources import SECRETS
from apimachinery.time import rfc3339
from controllers.token_cleaner import NAMESPACE, TYPE, TokenCleaner, expires_at
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi
from tests.support.staged_controllers import running


def token(which: str, expiration: str | None = None, **meta: Any) -> Object:
    data = {} if expiration is None else {"expiration": base64.b64encode(expiration.encode()).decode()}
    return {"metadata": {"name": which, "namespace": NAMESPACE, **meta}, "type": TYPE, "data": data}


@pytest.mark.parametrize(
    ("secret", "end"),
    [
        (token("a"), None),
        (token("a", ""), None),
        (token("a", "1970-01-01T00:01:00Z"), 60),
        (token("a", "1970-01-01T02:00:00+01:00"), 3600),
        (token("a", "tomorrow"), 0),
        ({**token("a"), "data": {"expiration": "%"}}, 0),
    ],
)
def test_a_token_ends_when_it_says_so_and_one_that_makes_no_sense_has_ended(
    secret: Object, end: float | None
) -> None:
    assert expires_at(secret) == end


async def test_tokens_are_removed_at_their_end_and_those_that_are_given_more_time_later() -> None:
    clock, api = ManualClock(), StagedApi()

    def left() -> set[str]:
        return {name(secret) for secret in api.objects(SECRETS)}

    for which, seconds in (("over", -1), ("short", 60), ("longer", 60)):
        await api.create(SECRETS, token(which, rfc3339(clock.now() + seconds)))
    await api.create(SECRETS, token("for-ever"))
    async with running(api, clock, TokenCleaner):
        assert left() == {"short", "longer", "for-ever"}
        extended = token("longer", rfc3339(clock.now() + 120))["data"]
        await api.patch(SECRETS, "longer", {"metadata": {}, "data": extended}, NAMESPACE)
        await clock.advance(61)
        assert left() == {"longer", "for-ever"}
        await clock.advance(61)
        assert left() == {"for-ever"}
