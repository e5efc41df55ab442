"""Says of one pod why it is where it is, or is nowhere: `python -m scheduler.explaining`, which `kctl` runs.

    lists of the cluster ──▶ Snapshot ──▶ verdict (every node: who turns it down and why, or its scores)
    the pod and its events ──▶ standing (bound, gated, unschedulable, …)

Nothing is asked of the scheduler that runs: this is a process of its own, with the credentials of who asks.
"""
