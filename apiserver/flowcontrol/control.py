"""Flow control as a whole: what its objects say is in force the moment they are written."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from functools import partial

from apimachinery.meta import Object
from apiserver.flowcontrol import defaults, rules
from apiserver.flowcontrol.classifier import Classifier
from apiserver.flowcontrol.flows import Flow, Schema
from apiserver.flowcontrol.level import Level
from apiserver.flowcontrol.shares import allocate, bounds, claim
from apiserver.flowcontrol.turns import Turns
from apiserver.request_info import RequestInfo, User
from apiserver.responses import AnswerHeaders

ADJUST_SECONDS = 10.0

Objects = Callable[[], Iterable[Object]]


class FlowControl:
    """The priority levels of one server, and which of them a request is of."""

    def __init__(
        self,
        schemas: Objects,
        levels: Objects,
        *,
        seats: int,
        wait_seconds_max: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`schemas` and `levels` tell what objects there are; `seats` is how many requests run at once."""
        self._schema_objects, self._level_objects = schemas, levels
        self._total = seats
        self._loop = asyncio.get_running_loop()
        self._new_level = partial(Level, turns=Turns(), clock=clock, wait_seconds_max=wait_seconds_max)
        self.clock = clock
        self._changed = False
        self.levels: dict[str, Level] = {}
        self.schemas: dict[str, Schema] = {}
        # Those whose objects are gone, until what they have begun has ended.
        self.leaving: list[Level] = []
        self.fair_fraction = 1.0
        self._classifier = self._rebuild()

    def flow(self, user: User, info: RequestInfo) -> Flow:
        """The flow of a request."""
        return self._classifier.flow(user, info)

    def objects_changed(self) -> None:
        """Some object has changed; several changes of the same moment are looked at once."""
        if not self._changed:
            self._changed = True
            self._loop.call_soon(self._reload)

    async def adjust_forever(self) -> None:
        """Every ten seconds, let levels borrow what others do not need."""
        while True:
            await asyncio.sleep(ADJUST_SECONDS)
            self.adjust()

    def adjust(self) -> None:
        """Divide the seats by what the levels have demanded since the last time."""
        now = self.clock()
        for level in self._all():
            level.demand.add(*level.meter.read(now))
        self._divide()

    def _reload(self) -> None:
        self._changed = False
        self._classifier = self._rebuild()

    def _rebuild(self) -> Classifier:
        """Take over all objects. The mandatory ones are imagined if they are not there: every request has a place."""
        self._take_levels(_by_name(defaults.MANDATORY_LEVELS, self._level_objects()))
        objects = _by_name(defaults.MANDATORY_SCHEMAS, self._schema_objects()).values()
        # One whose level does not exist is passed over.
        served = sorted((obj for obj in objects if rules.level_of(obj) in self.levels), key=rules.precedence)
        known, self.schemas = self.schemas, {}
        for obj in served:
            name = obj["metadata"]["name"]
            self.schemas[name] = _schema(obj, self.levels[rules.level_of(obj)], known.get(name))
        return Classifier([(obj, self.schemas[obj["metadata"]["name"]]) for obj in served])

    def _take_levels(self, objects: dict[str, Object]) -> None:
        known = self.levels
        gone = [level for name, level in known.items() if name not in objects]
        self.leaving = [level for level in (*self.leaving, *gone) if not level.idle]
        self.levels = {name: known.get(name) or self._new_level(name) for name in objects}
        for name, level in self.levels.items():
            level.configure(objects[name])
        shares = sum(level.commons.get("nominalConcurrencyShares") or 0 for level in self._all())
        for level in self._all():
            level.set_bounds(bounds(level.commons, self._total, shares))
        self._divide()

    def _divide(self) -> None:
        """Give each level its seats for now. Of those that an exempt level keeps to itself no other gets any."""
        seats = float(sum(level.bounds.nominal for level in self._all()))
        limited: list[Level] = []
        for level in self._all():
            wanted = claim(level.bounds, level.demand)
            level.target = wanted.target
            if level.exempt:
                seats -= wanted.low
                level.set_limit(math.inf, self._total)
            else:
                limited.append(level)
        given, self.fair_fraction = allocate(seats, [claim(level.bounds, level.demand) for level in limited])
        for level, limit in zip(limited, given, strict=True):
            level.set_limit(round(limit), self._total)

    def _all(self) -> list[Level]:
        return [*self.levels.values(), *self.leaving]


def _by_name(*some: Iterable[Object]) -> dict[str, Object]:
    """Objects by their names; of several the last counts."""
    return {obj["metadata"]["name"]: obj for objects in some for obj in objects}


def _schema(obj: Object, level: Level, known: Schema | None) -> Schema:
    """What is in force of an object; what was counted before goes on."""
    uid = obj["metadata"].get("uid") or ""
    headers = AnswerHeaders(
        (("X-Kubernetes-PF-FlowSchema-UID", uid), ("X-Kubernetes-PF-PriorityLevel-UID", level.uid))
    )
    method = rules.distinguisher(obj)
    if known is None:
        return Schema(obj["metadata"]["name"], uid, level, method, headers)
    known.uid, known.level, known.distinguisher, known.headers = uid, level, method, headers
    return known
