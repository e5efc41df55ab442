"""The official JavaScript client against a real API server: objects, applying, watches, informers, errors."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apimachinery.resources import NAMESPACES
from tests.support.apiserver import ApiServerProcess
from tests.support.clients import javascript_client

SCRIPT = Path(__file__).with_name("javascript_client.mjs")
SCENARIO_SECONDS_MAX = 60


@pytest.fixture
def run(server: ApiServerProcess, request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Runs a scenario in a namespace of its own; returns what it has seen."""
    environment = {**os.environ, "CLIENT": str(javascript_client()), "KUBECONFIG": str(server.kubeconfig)}

    async def prepare(scenario: str) -> None:
        async with await server.client() as client:
            await client.create(NAMESPACES, {"metadata": {"name": scenario}})

    def scenario(name: str) -> Any:
        asyncio.run(prepare(name))
        done = subprocess.run(
            ["node", str(SCRIPT), name, name],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SCENARIO_SECONDS_MAX,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return scenario


def test_typed_objects_go_there_and_back(run: Callable[[str], Any]) -> None:
    seen = run("objects")
    assert seen == {"replicas": [2, 2, 3, 3], "created": True, "listed": ["web"], "gone": "Success"}


def test_applying_keeps_to_who_manages_what(run: Callable[[str], Any]) -> None:
    assert run("apply") == {"conflict": 409, "forced": {"x": "2"}, "managers": ["two"]}


def test_a_watch_tells_what_happens(run: Callable[[str], Any]) -> None:
    assert run("watch") == [["ADDED", "1"], ["MODIFIED", "2"], ["DELETED", "2"]]


def test_an_informer_keeps_what_is_there(run: Callable[[str], Any]) -> None:
    seen = run("informer")
    assert seen["seen"] == [
        *(["add", "before", "1"], ["add", "after", "2"], ["update", "before", "3"], ["delete", "after", "2"]),
    ]
    assert seen["cached"] == ["before"]


def test_errors_are_statuses(run: Callable[[str], Any]) -> None:
    seen = run("errors")
    assert (seen["missing"], seen["wrong"]) == ([404, "NotFound"], [422, "Invalid"])
    assert seen["causes"][0]["field"] == "spec.replicas"


def test_custom_resources_are_served_at_once(run: Callable[[str], Any]) -> None:
    assert run("custom") == {"size": 1, "listed": ["w"]}
