"""The manager's command line."""

from __future__ import annotations

import pytest

from controllers import flags
from controllers.manager import CONTROLLERS


@pytest.mark.parametrize(("text", "seconds"), [("5s", 5), ("1m30s", 90), ("250ms", 0.25), ("2h", 7200), ("40", 40)])
def test_durations_are_written_as_in_kubernetes(text: str, seconds: float) -> None:
    assert flags.duration(text) == seconds


def test_a_duration_without_sense_is_refused() -> None:
    with pytest.raises(ValueError):
        flags.duration("5 parsecs")


def test_all_controllers_run_unless_some_are_named() -> None:
    assert flags.chosen_controllers("*", cluster_cidr="10.0.0.0/8") == list(CONTROLLERS)
    assert flags.chosen_controllers("deployment-controller,replicaset-controller", cluster_cidr=None) == [
        "deployment-controller",
        "replicaset-controller",
    ]
    without = flags.chosen_controllers("*,-namespace-controller", cluster_cidr="10.0.0.0/8")
    assert set(CONTROLLERS) - set(without) == {"namespace-controller"}


def test_without_a_cluster_network_nodes_are_given_none() -> None:
    assert "node-ipam-controller" not in flags.chosen_controllers("*", cluster_cidr=None)


def test_an_unknown_controller_is_refused_with_the_names_of_all() -> None:
    with pytest.raises(ValueError, match="no controller 'deploy'; there are: "):
        flags.chosen_controllers("deploy", cluster_cidr=None)


def test_flags_say_how_many_keys_a_controller_works_on_at_once() -> None:
    args = flags.parse(["--concurrent-gc-syncs", "3", "--node-monitor-grace-period", "50s", "--leader-elect=false"])
    options = flags.options(args, ca_pem="pem")
    assert options.concurrent_syncs["garbage-collector-controller"] == 3
    assert options.node_monitor_grace_period == 50 and options.root_ca == "pem"
    assert not flags.leader_election(args).wanted
    assert flags.leader_election(flags.parse([])).wanted


def test_times_by_which_two_could_lead_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="renew deadline"):
        flags.leader_election(flags.parse(["--leader-elect-renew-deadline=20s"]))


def test_managers_of_other_leases_do_not_wait_for_each_other() -> None:
    told = flags.leader_election(flags.parse(["--leader-elect-resource-name=mine"]))
    assert (told.namespace, told.name) == ("kube-system", "mine")
