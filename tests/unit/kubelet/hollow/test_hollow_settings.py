"""What hollow nodes are told by flags and annotations, and what they say of themselves."""

from __future__ import annotations

import math
import random

import pytest

from apimachinery.meta import find_condition, labels
from kubelet.hollow import node_plan, options, settings
from kubelet.hollow.addresses import PodAddresses, part_of
from kubelet.hollow.settings import Settings, Span, behaviour
from tests.support.pods import NOW, pod


def annotated(restart_policy: str = "Always", **values: str) -> dict[str, object]:
    made = pod(restartPolicy=restart_policy)
    asked = {f"hollow.wherry.io/{key.replace('_', '-')}": value for key, value in values.items()}
    return {**made, "metadata": {**made["metadata"], "annotations": asked}}


def test_durations_are_fixed_or_drawn_or_never_come() -> None:
    assert settings.parse_span("1.5s") == Span(1.5, 1.5)
    assert settings.parse_span("500ms-2s") == Span(0.5, 2.0)
    assert settings.parse_span("never").draw(random.Random(1)) == math.inf
    drawn = {Span(1.0, 2.0).draw(random.Random(seed)) for seed in range(20)}
    assert len(drawn) == 20 and all(1 <= value <= 2 for value in drawn)
    for wrong in ("", "5", "3s-1s", "-1s", "soon"):
        with pytest.raises(ValueError):
            settings.parse_span(wrong)


def test_only_pods_that_are_not_always_restarted_end_by_themselves() -> None:
    told = Settings(count=1, run_duration=Span(3.0, 3.0), exit_code=2)
    rng = random.Random(1)
    assert behaviour(pod(), told, rng).run_seconds == math.inf
    assert behaviour(pod(restartPolicy="Never"), told, rng).run_seconds == 3
    assert behaviour(pod(restartPolicy="Never"), told, rng).exit_code == 2


def test_annotations_of_a_pod_go_before_the_settings() -> None:
    told = Settings(count=1, start_delay=Span(9.0, 9.0))
    asked = annotated(start_delay="1s", ready_delay="never", run_duration="4s", exit_code="7", stop_delay="2s")
    found = behaviour(asked, told, random.Random(1))
    assert (found.start_seconds, found.ready_seconds, found.run_seconds) == (1, math.inf, 4)
    assert (found.exit_code, found.stop_seconds) == (7, 2)
    for key, value in (("start_delay", "soon"), ("exit_code", "256")):
        with pytest.raises(ValueError, match=f"hollow.wherry.io/{key.replace('_', '-')}: "):
            behaviour(annotated(**{key: value}), told, random.Random(1))


def test_nodes_are_registered_as_the_flags_say() -> None:
    given = options.parse(
        ["--kubeconfig", "k", "--nodes", "3", "--name-prefix", "big", "--zones", "a,b"]
        + ["--capacity", "cpu=64,memory=256Gi,pods=500,example.com/gpu=8", "--node-labels", "disk=ssd"]
        + ["--register-with-taints", "hollow=true:NoSchedule"]
    ).settings
    nodes = [node_plan.new_node(given, number, NOW) for number in range(given.count)]
    assert [node["metadata"]["name"] for node in nodes] == ["big-0", "big-1", "big-2"]
    assert [labels(node)["topology.kubernetes.io/zone"] for node in nodes] == ["a", "b", "a"]
    first = nodes[0]
    assert labels(first)["disk"] == "ssd" and labels(first)["hollow.wherry.io/node"] == "true"
    assert first["spec"]["taints"] == [{"key": "hollow", "value": "true", "effect": "NoSchedule"}]
    assert first["status"]["allocatable"]["example.com/gpu"] == "8"
    assert first["status"]["capacity"]["cpu"] == "64" and first["status"]["capacity"]["pods"] == "500"
    assert (find_condition(first, "Ready") or {})["status"] == "True" and node_plan.says_ready(first)
    assert len({node["spec"]["podCIDR"] for node in nodes}) == 3
    assert len({node["status"]["addresses"][0]["address"] for node in nodes}) == 3


@pytest.mark.parametrize(
    "flags",
    [
        ["--nodes", "0"],
        ["--nodes", "1", "--capacity", "cpu=much"],
        ["--nodes", "1", "--start-delay", "soon"],
        ["--nodes", "1", "--pod-network", "10.0.0.0/25"],
        ["--nodes", "1", "--name-prefix", "Upper"],
        ["--nodes", "1", "--exit-code", "300"],
    ],
)
def test_a_flag_that_makes_no_sense_ends_the_process_with_one_line(
    flags: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        options.parse(["--kubeconfig", "k", *flags])
    assert flags[-2] in capsys.readouterr().err.splitlines()[-1]


def test_nodes_take_their_turns_evenly_spread() -> None:
    for count in (10, 500, 5000):
        turns = sorted(node_plan.phase_of(number) for number in range(count))
        gaps = [after - before for before, after in zip(turns, [*turns[1:], turns[0] + 1], strict=True)]
        assert max(gaps) < 3 / count


def test_each_pod_has_an_address_of_its_own_until_it_is_gone() -> None:
    addresses = PodAddresses("100.64.5.0/29")
    addresses.keep("default/old", "100.64.5.3")
    for foreign in ("100.64.6.3", "fd00::1", "100.64.5.7"):
        addresses.keep("default/foreign", foreign)
    assert addresses.take("default/a") == "100.64.5.2" == addresses.take("default/a")
    assert [addresses.take(f"default/{key}") for key in "bcde"] == ["100.64.5.4", "100.64.5.5", "100.64.5.6", ""]
    addresses.release("default/b")
    assert addresses.take("default/e") == "100.64.5.4"


def test_parts_of_the_pod_network_do_not_overlap_and_end_with_it() -> None:
    assert part_of("100.64.0.0/10", 0) == "100.64.0.0/24"
    assert part_of("100.64.0.0/10", 5000) == "100.83.136.0/24"
    assert part_of("10.0.0.0/23", 1) == "10.0.1.0/24" and part_of("10.0.0.0/23", 2) == ""
