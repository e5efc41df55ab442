"""What an idle cluster of one node weighs: the proportional set size (PSS) of each of its processes.

    sudo .venv/bin/python -m bench.memory

PSS counts a shared page once, divided among those who share it (proc_pid_smaps(5)), so that the sum is true.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from bench import cluster
from bench.processes import pss_mb

# kube-apiserver, etcd and kube-controller-manager of Kubernetes 1.20, idle (RSS), without scheduler and kubelet.
KUBERNETES_MB = 290 + 44 + 108
SETTLE_SECONDS = 5


def descendants(pid: int) -> list[int]:
    """A process and all that it has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in descendants(int(child)))]


def main() -> None:
    """Start a cluster, let it come to rest, weigh it, stop it."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with cluster.running(1) as data_dir:
        time.sleep(SETTLE_SECONDS)
        total = 0.0
        for path in sorted((data_dir / "run").glob("*.json")):
            pid = json.loads(path.read_text())["pid"]
            # All parts are the supervisor's children, and stand for themselves.
            pids = [pid] if path.stem == "supervisor" else descendants(pid)
            own = sum(map(pss_mb, pids))
            total += own
            print(f"{path.stem:<18} {own:6.1f} MB in {len(pids)} process{'es' if len(pids) > 1 else ''}")
        print(f"{'all':<18} {total:6.1f} MB   (goal: at most 200 MB)")
        ratio = KUBERNETES_MB / total
        print(
            f"Kubernetes 1.20's API server, etcd and controllers alone: {KUBERNETES_MB} MB, {ratio:.1f} times as much"
        )


if __name__ == "__main__":
    main()
