"""A volume says since when it is in its phase."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from apimachinery.resources import PERSISTENTVOLUMES
from apimachinery.time import rfc3339
from apiserver.admission import CREATE, UPDATE, Attributes, volume_phases
from apiserver.request_info import User
from tests.support.access import Objects

NOW = 1_800_000_000.0
BEFORE, LATER = rfc3339(NOW - 60), rfc3339(NOW + 60)


def volume(phase: str, since: str | None) -> Object:
    status = {"phase": phase, **({"lastPhaseTransitionTime": since} if since else {})}
    return {"metadata": {"name": "disk"}, "status": status}


@pytest.mark.parametrize(
    ("old", "new", "since"),
    [
        (volume("Available", BEFORE), volume("Bound", BEFORE), rfc3339(NOW)),
        (volume("Available", BEFORE), volume("Bound", None), rfc3339(NOW)),
        (volume("Available", None), volume("Bound", None), rfc3339(NOW)),
        # Who says so himself is believed.
        (volume("Available", BEFORE), volume("Bound", LATER), LATER),
        (volume("Bound", BEFORE), volume("Bound", BEFORE), BEFORE),
    ],
)
async def test_the_time_is_that_of_the_last_change_of_phase(old: Object, new: Object, since: str) -> None:
    plugin = volume_phases.plugin(lambda: NOW)
    attributes = Attributes(UPDATE, PERSISTENTVOLUMES, "", "disk", User("controller"), new, old, "status")
    assert plugin.handles(attributes) and plugin.mutate is not None
    await plugin.mutate(attributes, Objects())  # type: ignore[arg-type]
    assert new["status"]["lastPhaseTransitionTime"] == since


def test_other_writes_are_let_alone() -> None:
    plugin = volume_phases.plugin(lambda: NOW)
    new = volume("Bound", BEFORE)
    assert not plugin.handles(Attributes(CREATE, PERSISTENTVOLUMES, "", "disk", User("admin"), new, None, ""))
