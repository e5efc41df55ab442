"""Stock kubectl makes, lists, describes, explains, labels and deletes an object of every kind that can be made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from apimachinery.meta import Object
from apimachinery.resources import BUILTIN, SERVICEACCOUNTS, Resource
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current
from tests.support.every_kind import example
from tests.support.kubectl import Kubectl

SCOPE = "default"
KINDS = [one for one in BUILTIN if {"create", "get", "list"} <= set(one.verbs)]


def named(one: Resource) -> str:
    """A kind as kubectl is asked for it: with its version, since some are served in several."""
    return f"{one.plural}.{one.version}.{one.group}"


def made(one: Resource) -> Object:
    """An object of a kind. Some kinds are stored as one, so each has a name of its own where any will do."""
    found = example(one.api_version, one.kind)
    if found["metadata"]["name"] == "every":
        found["metadata"]["name"] = f"every-{KINDS.index(one)}"
    return found


NAMES = {named(one): made(one)["metadata"]["name"] for one in KINDS}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("every-kind")) as process:
        asyncio.run(_prepare(process))
        yield process


async def _prepare(process: ApiServerProcess) -> None:
    await process.wait_ready()
    async with await process.client() as client:
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, SCOPE)


@pytest.fixture(scope="module")
def kubectl(server: ApiServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    run = Kubectl(kubectl_current(), server.kubeconfig, SCOPE, tmp_path_factory.mktemp("home"))
    everything = {"kind": "List", "apiVersion": "v1", "items": [made(one) for one in KINDS]}
    assert run("create", "-f", "-", stdin=json.dumps(everything)).count(" created\n") == len(KINDS)
    return run


@pytest.mark.parametrize("output", [(), ("-o", "wide"), ("-o", "name"), ("-o", "yaml")], ids=lambda one: "".join(one))
def test_every_kind_is_listed(kubectl: Kubectl, output: tuple[str, ...]) -> None:
    shown = kubectl("get", ",".join(NAMES), *output)
    missing = [kind for kind, name in NAMES.items() if name not in shown]
    # Tables of events tell what happened, and not what it was called.
    assert [kind for kind in missing if not kind.startswith("events.")] == []


def test_what_is_served_in_two_forms_is_shown_alike(kubectl: Kubectl) -> None:
    for forms in (("events.v1.", "events.v1.events.k8s.io"), ("hpa.v1.autoscaling", "hpa.v2.autoscaling")):
        first, second = (kubectl.lines("get", form, "-o", "wide", "--no-headers") for form in forms)
        assert [line[1:-1] for line in first] == [line[1:-1] for line in second] != []


def test_every_kind_is_described(kubectl: Kubectl) -> None:
    done = kubectl.run("describe", ",".join(NAMES))
    assert done.returncode == 0, done.stderr
    told = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("Name:")}
    assert set(NAMES.values()) <= told


@pytest.mark.parametrize("one", KINDS, ids=named)
def test_every_kind_is_explained(kubectl: Kubectl, one: Resource) -> None:
    told = kubectl("explain", one.plural, f"--api-version={one.api_version}")
    assert f"KIND:       {one.kind}" in told and "FIELDS:" in told


def test_every_kind_is_changed_and_deleted(kubectl: Kubectl) -> None:
    objects = [f"{kind}/{name}" for kind, name in NAMES.items()]
    assert kubectl("label", *objects, "tier=any").count(" labeled\n") == len(KINDS)
    assert kubectl("annotate", *objects, "note=x").count(" annotated\n") == len(KINDS)
    assert kubectl("delete", *objects, "--wait=false").count(" deleted") == len(KINDS)
