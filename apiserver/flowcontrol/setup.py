"""Flow control over a store: its objects are those that are stored, and it hears of every change of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial

from apimachinery.meta import Object
from apimachinery.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS, Resource
from apiserver.flowcontrol.control import FlowControl
from apiserver.flowcontrol.upkeep import Upkeep
from apiserver.rest.call import storage_key
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.store import Store
from apiserver.storage.watch import Event


def flow_control(
    store: Store, *, seats: int, wait_seconds_max: float, now: Callable[[], float]
) -> tuple[FlowControl, Upkeep]:
    """Flow control, and what keeps its objects."""

    def objects(resource: Resource) -> Iterator[Object]:
        return (entry.obj for entry in store.objects(storage_key(resource)))

    schemas, levels = partial(objects, FLOWSCHEMAS), partial(objects, PRIORITYLEVELCONFIGURATIONS)
    clock = asyncio.get_running_loop().time
    control = FlowControl(schemas, levels, seats=seats, wait_seconds_max=wait_seconds_max, clock=clock)
    upkeep = Upkeep(OwnWrites(store, now), schemas, levels)
    for resource in (FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS):
        for listener in (control, upkeep):
            store.listen(storage_key(resource), partial(_tell, listener))
    return control, upkeep


def _tell(listener: FlowControl | Upkeep, event: Event) -> None:
    listener.objects_changed()
