"""The node agent's command line: what must be said, what follows from it, and mistakes told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet.options import DEFAULT_PIDS_MAX, parse

NEEDED = [
    "--kubeconfig",
    "/k",
    "--node-name",
    "n",
    "--node-ip",
    "10.88.0.2",
    "--root-dir",
    "/r",
    "--cgroup-root",
    "w/n",
]


def test_what_is_not_said_follows_from_the_root_folder() -> None:
    options = parse(NEEDED)
    assert (options.image_dir, options.cert_dir) == (Path("/r/images"), Path("/r/pki"))
    assert (options.node.name, options.node.address, options.node.port) == ("n", "10.88.0.2", 10250)
    assert options.pids_max == DEFAULT_PIDS_MAX and options.dns.servers == ()
    assert (options.log_bytes_max, options.log_files_max) == (10 << 20, 5)


def test_flags_are_those_of_the_kubelet() -> None:
    flags = ["--node-labels", "disk=ssd", "--register-with-taints", "a=b:NoSchedule", "--cluster-dns", "10.96.0.10"]
    options = parse([*NEEDED, *flags, "--max-pods", "5", "--pod-max-pids", "-1", "--kube-reserved", "cpu=500m"])
    assert options.node.labels == {"disk": "ssd"} and options.node.pods_max == 5
    assert list(options.node.taints) == [{"key": "a", "value": "b", "effect": "NoSchedule"}]
    assert options.dns.servers == ("10.96.0.10",) and options.pids_max == 0
    assert options.node.reserved == {"cpu": "500m"}


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--node-ip", "999.1.1.1"], "'999.1.1.1' does not appear to be an IPv4 or IPv6 address"),
        (["--node-labels", "a b=c"], "invalid node label 'a b=c'"),
        (["--eviction-hard", "coffee<1"], "unknown eviction signal 'coffee'"),
        (["--runtime-handler", "kata"], "'kata' is not of the form NAME=PATH[ ARG…]"),
        (["--runtime-handler", "kata=bin/kata"], "the path 'bin/kata' of handler 'kata' is not absolute"),
        (["--runtime-handler", "wherry=/bin/x"], "the handler 'wherry' is this node's own runtime"),
        (["--runtime-handler", "K=/bin/x"], "'K' can't be a handler"),
    ],
)
def test_a_mistake_is_told_in_one_line(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse([*NEEDED, *flags])
    assert words in capsys.readouterr().err.splitlines()[-1]
