"""Flow control as a whole: its objects in force, what it lends, and what it tells of itself."""

from __future__ import annotations

import asyncio

from apimachinery.meta import Object
from apiserver.flowcontrol import Request, dumps, figures
from apiserver.flowcontrol.control import FlowControl
from apiserver.flowcontrol.width import objects_listed, width
from apiserver.request_info import parse
from tests.unit.apiserver.flowcontrol.factories import (
    BUILDER,
    DEFAULT_LEVELS,
    DEFAULT_SCHEMAS,
    JANE,
    LEASE,
    NODE,
    POD,
    level,
    on,
    rule,
    schema,
)

OF_JANE = rule({"kind": "User", "user": {"name": "jane"}}, on("*", "pods"))


class Cluster:
    """Objects that a test changes."""

    def __init__(self) -> None:
        self.schemas: list[Object] = list(DEFAULT_SCHEMAS)
        self.levels: list[Object] = list(DEFAULT_LEVELS)
        self.now = 0.0
        self.control = FlowControl(
            lambda: self.schemas, lambda: self.levels, seats=600, wait_seconds_max=15, clock=lambda: self.now
        )

    async def changed(self) -> None:
        self.control.objects_changed()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_the_seats_are_those_of_the_shares() -> None:
    levels = Cluster().control.levels
    assert {name: found.bounds.nominal for name, found in levels.items()} == {
        **{"exempt": 0, "node-high": 98, "system": 74, "leader-election": 25, "workload-high": 98},
        **{"workload-low": 245, "global-default": 49, "catch-all": 13},
    }
    assert levels["workload-low"].bounds.low == 25


async def test_idle_levels_lend_to_busy_ones() -> None:
    cluster = Cluster()
    control = cluster.control
    low = control.levels["workload-low"]
    flow = control.flow(BUILDER, POD)
    async with asyncio.TaskGroup() as tasks:
        done = asyncio.Event()

        async def serve() -> None:
            async with Request(flow, BUILDER, POD, 1):
                await done.wait()

        for _ in range(300):
            tasks.create_task(serve())
        await asyncio.sleep(0)
        cluster.now = 10.0
        control.adjust()
        assert low.limit > low.bounds.nominal
        others = sum(found.limit for found in control.levels.values() if found is not low and not found.exempt)
        assert low.limit + others <= 610
        done.set()


async def test_an_object_is_in_force_the_moment_after_it_was_written() -> None:
    cluster = Cluster()
    cluster.levels.append(level("own", 50))
    cluster.schemas.append(
        schema("own", "own", 10, rule({"kind": "User", "user": {"name": "jane"}}, on("*", "pods")))
    )
    await cluster.changed()
    assert cluster.control.flow(JANE, POD).schema.level.name == "own"
    assert cluster.control.levels["node-high"].bounds.nominal < 98


async def test_a_level_whose_object_is_gone_stays_until_its_requests_have_ended() -> None:
    cluster = Cluster()
    cluster.levels.append(level("own", 50))
    cluster.schemas.append(
        schema("own", "own", 10, rule({"kind": "User", "user": {"name": "jane"}}, on("*", "pods")))
    )
    await cluster.changed()
    async with Request(cluster.control.flow(JANE, POD), JANE, POD, 1):
        cluster.levels.pop()
        await cluster.changed()
        assert [found.name for found in cluster.control.leaving] == ["own"]
        assert cluster.control.flow(JANE, POD).schema.level.name == "global-default"
    await cluster.changed()
    assert not cluster.control.leaving


async def test_it_tells_what_it_does() -> None:
    control = Cluster().control
    async with Request(control.flow(NODE, LEASE), NODE, LEASE, 1):
        page = dumps.page("dump_requests", control, 0.0, details=True)
        assert page is not None
        head, line = page.splitlines()
        assert head.split()[0] == "PriorityLevelName," and "system-node-high" in line and NODE.name in line
        levels = dumps.page("dump_priority_levels", control, 0.0, details=False)
        assert levels is not None and len(levels.splitlines()) == 9
        text = "\n".join(figures.lines(control))
    labels = '{priority_level="node-high",flow_schema="system-node-high"}'
    assert f"apiserver_flowcontrol_current_executing_requests{labels} 1" in text
    assert f"apiserver_flowcontrol_dispatched_requests_total{labels} 1" in text
    assert 'apiserver_flowcontrol_nominal_limit_seats{priority_level="node-high"} 98' in text
    assert dumps.page("nothing", control, 0.0, details=False) is None


async def test_answers_say_by_what_they_were_classified() -> None:
    flow = Cluster().control.flow(JANE, POD)
    assert flow.schema.headers.pairs == (
        ("X-Kubernetes-PF-FlowSchema-UID", "s"),
        ("X-Kubernetes-PF-PriorityLevel-UID", "l"),
    )


def listed(path: str, count: int, **query: str) -> int:
    return objects_listed(parse("GET", path, query), query, count)


def test_a_list_takes_a_seat_for_every_hundred_objects() -> None:
    pods = "/api/v1/pods"
    assert width(listed(pods, 950), 10) == 10
    assert width(listed(pods, 950, limit="150"), 10) == 2
    assert width(listed(pods, 950, limit="150", labelSelector="a=b"), 10) == 10
    assert width(listed(pods, 950), 3) == 3
    assert width(listed(pods, 0), 10) == 1
    for wrong in ("0", "-1", "x", "٣", "9" * 5000):
        assert listed(pods, 950, limit=wrong) == 950
    assert listed(pods, 950, fieldSelector="metadata.name=web") == 1


def test_a_watch_takes_more_than_one_only_if_it_begins_with_a_list() -> None:
    pods = "/api/v1/pods"
    assert listed(pods, 950, watch="true", resourceVersion="7") == 0
    assert listed(pods, 950, watch="true") == 950
    assert listed(pods, 950, watch="true", resourceVersion="7", sendInitialEvents="true") == 950
