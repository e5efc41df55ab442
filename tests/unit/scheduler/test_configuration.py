"""KubeSchedulerConfiguration: which plugins a profile comes to have, and what is said of mistakes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from scheduler.cluster import Cluster, Placement
from scheduler.configuration.document import Configuration, ConfigurationError, load, parse
from scheduler.framework import Plugin, Profile
from scheduler.options import parse_options
from scheduler.plugins import DEFAULT_PLUGINS
from tests.unit.scheduler.factories import add_node, add_pod, make_node, make_pod, place_next

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def configuration(**fields: Any) -> Configuration:
    return parse({**HEAD, **fields})


def profile(**fields: Any) -> Profile:
    return configuration(profiles=[fields]).profiles[0]


def with_plugins(**points: Any) -> Profile:
    return profile(plugins=points)


def enabled(*names: str, **weights: int) -> dict[str, Any]:
    entries: list[dict[str, Any]] = [{"name": name} for name in names]
    return {"enabled": [*entries, *({"name": name, "weight": weight} for name, weight in weights.items())]}


def disabled(*names: str) -> dict[str, Any]:
    return {"disabled": [{"name": name} for name in names]}


def filtering(found: Profile) -> list[str]:
    return [plugin.name for plugin, _ in found.plugins if plugin.filter is not None]


def scoring(found: Profile) -> dict[str, int]:
    return {plugin.name: weight for plugin, weight in found.plugins if _scores(plugin)}


def _scores(plugin: Plugin) -> bool:
    return plugin.score is not None or plugin.compare is not None


DEFAULT = Profile(DEFAULT_PLUGINS)


def test_without_profiles_there_is_the_default_one() -> None:
    (found,) = configuration().profiles
    assert found.scheduler_name == "default-scheduler"
    assert found.plugins == DEFAULT_PLUGINS


def test_a_single_profile_that_names_nothing_is_the_default_one() -> None:
    found = profile()
    assert (found.scheduler_name, filtering(found), scoring(found)) == (
        "default-scheduler",
        filtering(DEFAULT),
        scoring(DEFAULT),
    )


def test_what_is_disabled_for_all_points_is_gone() -> None:
    found = with_plugins(multiPoint=disabled("TaintToleration", "ImageLocality"))
    assert "TaintToleration" not in filtering(found) and not {"TaintToleration", "ImageLocality"} & set(
        scoring(found)
    )


def test_what_is_disabled_for_one_point_stays_at_the_others() -> None:
    found = with_plugins(score=disabled("TaintToleration"))
    assert "TaintToleration" in filtering(found) and "TaintToleration" not in scoring(found)
    assert not scoring(with_plugins(score=disabled("*"), preScore=disabled("*")))


def test_all_but_what_is_enabled_can_be_left_out() -> None:
    indispensable = ("SchedulingGates", "PrioritySort", "DefaultBinder")
    found = with_plugins(multiPoint={**disabled("*"), **enabled(*indispensable, "NodeResourcesFit")})
    assert filtering(found) == ["NodeResourcesFit"]
    assert scoring(found) == {"NodeResourcesFit": 1}


def test_weights_are_those_of_the_point_or_of_all_points_or_the_default() -> None:
    found = with_plugins(
        multiPoint=enabled(NodeAffinity=7, ImageLocality=4), score=enabled("TaintToleration", ImageLocality=9)
    )
    weights = scoring(found)
    assert [weights[name] for name in ("NodeAffinity", "ImageLocality", "TaintToleration")] == [7, 9, 3]


def test_nodes_are_asked_about_in_the_order_that_the_point_says() -> None:
    found = with_plugins(filter=enabled("NodeResourcesFit", "NodeName"))
    assert filtering(found)[:3] == ["NodeResourcesFit", "NodeName", "NodeUnschedulable"]
    assert sorted(filtering(found)) == sorted(filtering(DEFAULT))


def test_a_profile_can_do_without_preemption() -> None:
    found = with_plugins(postFilter=disabled("*"))
    assert not any(plugin.post_filter for plugin, _ in found.plugins)
    assert any(plugin.post_filter for plugin, _ in DEFAULT.plugins)


def test_several_profiles_have_their_own_plugins_and_arguments() -> None:
    packing = {"scoringStrategy": {"type": "MostAllocated"}}
    found = configuration(
        profiles=[
            {"schedulerName": "default-scheduler"},
            {"schedulerName": "packing", "pluginConfig": [{"name": "NodeResourcesFit", "args": packing}]},
        ]
    )

    def goes_to(scheduler: str) -> str:
        cluster = Cluster(*found.profiles, rng=random.Random(1))
        for node in (make_node("empty"), make_node("half")):
            add_node(cluster, node)
        add_pod(cluster, make_pod("there", node="half", cpu="2", memory="4Gi"))
        add_pod(cluster, make_pod("new", cpu="1", memory="2Gi", schedulerName=scheduler))
        placement = place_next(cluster)
        assert isinstance(placement, Placement)
        return placement.node

    assert (goes_to("default-scheduler"), goes_to("packing")) == ("empty", "half")


def test_arguments_of_all_plugins_are_taken() -> None:
    args: dict[str, Any] = {
        "NodeResourcesFit": {
            "ignoredResources": ["x.io/gpu"],
            "ignoredResourceGroups": ["y.io"],
            "scoringStrategy": {
                "type": "RequestedToCapacityRatio",
                "resources": [{"name": "x.io/gpu", "weight": 3}, {"name": "cpu"}],
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
                },
            },
        },
        "NodeResourcesBalancedAllocation": {"resources": [{"name": "cpu", "weight": 1}, {"name": "x.io/gpu"}]},
        "InterPodAffinity": {"hardPodAffinityWeight": 100, "ignorePreferredTermsOfExistingPods": True},
        "PodTopologySpread": {
            "defaultingType": "List",
            "defaultConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        },
        "NodeAffinity": {
            "apiVersion": HEAD["apiVersion"],
            "kind": "NodeAffinityArgs",
            "addedAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "pool", "operator": "In", "values": ["a"]}]},
                    ]
                },
            },
        },
        "VolumeBinding": {"bindTimeoutSeconds": 60},
        "DefaultPreemption": {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 5},
    }
    found = profile(pluginConfig=[{"name": name, "args": told} for name, told in args.items()])
    assert found.bind_timeout_seconds == 60.0
    assert {plugin.name for plugin, _ in found.plugins} == {plugin.name for plugin, _ in DEFAULT_PLUGINS}


def fit(**args: Any) -> dict[str, Any]:
    return {"profiles": [{"pluginConfig": [{"name": "NodeResourcesFit", "args": args}]}]}


def args_of(name: str, **args: Any) -> dict[str, Any]:
    return {"profiles": [{"pluginConfig": [{"name": name, "args": args}]}]}


ARGS = "profiles[0].pluginConfig[0].args"
MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"paralellism": 3}, 'unknown field "paralellism"'),
    ({"parallelism": 0}, "parallelism: Invalid value: 0: should be an integer value greater than zero"),
    ({"parallelism": "x"}, 'parallelism: Invalid value: "x": must be an integer'),
    ({"percentageOfNodesToScore": 101}, "percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100]"),
    ({"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds: Invalid value: 0: must be greater than 0"),
    (
        {"podInitialBackoffSeconds": 5, "podMaxBackoffSeconds": 2},
        "podMaxBackoffSeconds: Invalid value: 2: must be greater than or equal to PodInitialBackoffSeconds",
    ),
    ({"extenders": [{"urlPrefix": "http://x"}]}, "extenders: Forbidden: extenders are not supported"),
    (
        {"leaderElection": {"leaseDuration": "5s"}},
        'leaderElection.leaseDuration: Invalid value: "5s": LeaseDuration must be greater than RenewDeadline',
    ),
    (
        {"leaderElection": {"resourceLock": "endpoints"}},
        'leaderElection.resourceLock: Invalid value: "endpoints": resourceLock value must be "leases"',
    ),
    (
        {"profiles": [{"schedulerName": "a"}, {"schedulerName": "a"}]},
        'profiles[1].schedulerName: Duplicate value: "profiles[0].schedulerName"',
    ),
    ({"profiles": [{"schedulerName": "a"}, {}]}, "profiles[1].schedulerName: Required value"),
    (
        {"profiles": [{"plugins": {"filter": enabled("Mine")}}]},
        'profiles[0].plugins.filter.enabled[0].name: Not found: "Mine"',
    ),
    (
        {"profiles": [{"plugins": {"score": enabled("NodeName")}}]},
        'profiles[0].plugins.score.enabled[0].name: Invalid value: "NodeName": does not extend score',
    ),
    (
        {"profiles": [{"plugins": {"filter": enabled("NodeName", "NodeName")}}]},
        'profiles[0].plugins.filter.enabled[1].name: Duplicate value: "NodeName"',
    ),
    (
        {"profiles": [{"plugins": {"bind": disabled("DefaultBinder")}}]},
        "profiles[0].plugins.bind: Required value: at least one bind plugin is needed",
    ),
    (
        {"profiles": [{"plugins": {"reserve": disabled("VolumeBinding")}}]},
        "profiles[0].plugins: Forbidden: VolumeBinding must be at all of filter, reserve and preBind, or at none",
    ),
    (args_of("Mine"), 'profiles[0].pluginConfig[0].name: Not found: "Mine"'),
    (args_of("NodeName", x=1), f'unknown field "{ARGS}.x"'),
    (
        args_of("NodeAffinity", kind="NodeResourcesFitArgs"),
        f'{ARGS}: Invalid value: "kubescheduler.config.k8s.io/v1, Kind=NodeResourcesFitArgs": '
        "has to match plugin args",
    ),
    (
        fit(scoringStrategy={"type": "Best"}),
        f'{ARGS}.scoringStrategy.type: Unsupported value: "Best": supported values: "LeastAllocated", '
        '"MostAllocated", "RequestedToCapacityRatio"',
    ),
    (
        fit(scoringStrategy={"type": "MostAllocated", "resources": [{"name": "cpu", "weight": 101}]}),
        f"{ARGS}.scoringStrategy.resources[0].weight: Invalid value: 101: "
        "resource weight of cpu not in valid range (0, 100]",
    ),
    (
        fit(scoringStrategy={"type": "RequestedToCapacityRatio"}),
        f"{ARGS}.scoringStrategy.requestedToCapacityRatio: Required value: "
        "must be specified when type is RequestedToCapacityRatio",
    ),
    (
        fit(
            scoringStrategy={
                "type": "RequestedToCapacityRatio",
                "requestedToCapacityRatio": {
                    "shape": [{"utilization": 5, "score": 1}, {"utilization": 5, "score": 2}]
                },
            }
        ),
        f"{ARGS}.scoringStrategy.requestedToCapacityRatio.shape[1].utilization: Invalid value: 5: "
        "values must be sorted in increasing order",
    ),
    (
        fit(ignoredResourceGroups=["a/b"]),
        f"{ARGS}.ignoredResourceGroups[0]: Invalid value: \"a/b\": resource group name can't contain '/'",
    ),
    (
        args_of("InterPodAffinity", hardPodAffinityWeight=101),
        f"{ARGS}.hardPodAffinityWeight: Invalid value: 101: not in valid range [0, 100]",
    ),
    (
        args_of(
            "PodTopologySpread",
            defaultConstraints=[{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        ),
        f'{ARGS}.defaultingType: Invalid value: "System": when .defaultConstraints are not empty',
    ),
    (
        args_of(
            "PodTopologySpread",
            defaultingType="List",
            defaultConstraints=[{"maxSkew": 0, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
        ),
        f"{ARGS}.defaultConstraints[0].maxSkew: Invalid value: 0: not in valid range (0, inf)",
    ),
    (
        args_of("NodeResourcesBalancedAllocation", resources=[{"name": "cpu", "weight": 2}]),
        f"{ARGS}.resources[0].weight: Invalid value: 2: must be 1",
    ),
    (
        args_of("DefaultPreemption", minCandidateNodesPercentage=101),
        f"{ARGS}.minCandidateNodesPercentage: Invalid value: 101: not in valid range [0, 100]",
    ),
    (
        args_of("VolumeBinding", bindTimeoutSeconds=-1),
        f"{ARGS}.bindTimeoutSeconds: Invalid value: -1: invalid BindTimeoutSeconds, should not be a negative value",
    ),
]


@pytest.mark.parametrize(("fields", "message"), MISTAKES)
def test_a_mistake_is_told_with_the_path_of_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        configuration(**fields)
    assert str(told.value).splitlines() == [message]


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigurationError) as told:
        configuration(parallelism=0, extenders=[{}], x=1)
    assert len(str(told.value).splitlines()) == 3


def test_other_versions_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="no kind"):
        parse({**HEAD, "apiVersion": "kubescheduler.config.k8s.io/v1beta3"})


FILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection: {kubeconfig: /etc/scheduler.conf, qps: 50.0, burst: 100}
leaderElection: {leaderElect: true, leaseDuration: 1m, resourceName: mine}
podInitialBackoffSeconds: 2
podMaxBackoffSeconds: 20
parallelism: 4
profiles:
- schedulerName: one
- schedulerName: two
"""


def test_flags_go_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.yaml"
    path.write_text(FILE)
    found = parse_options(["--config", str(path), "--leader-elect-retry-period", "3s"])
    assert [profile.scheduler_name for profile in found.profiles] == ["one", "two"]
    assert (found.kubeconfig, found.lease_name, found.lease_namespace) == (
        "/etc/scheduler.conf",
        "mine",
        "kube-system",
    )
    assert (found.lease_duration_seconds, found.renew_deadline_seconds, found.retry_period_seconds) == (60, 10, 3)
    assert (found.backoff_first_seconds, found.backoff_max_seconds) == (2, 20)
    assert parse_options(["--config", str(path), "--kubeconfig", "mine"]).kubeconfig == "mine"


def test_a_wrong_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "scheduler.yaml"
    path.write_text(FILE.replace("parallelism: 4", "parallelism: 0"))
    with pytest.raises(SystemExit):
        parse_options(["--config", str(path)])
    assert f"{path}: parallelism: Invalid value: 0" in capsys.readouterr().err
    with pytest.raises(ConfigurationError, match="No such file"):
        load(str(tmp_path / "none.yaml"))
