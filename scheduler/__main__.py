"""Runs the scheduler: `python -m scheduler --kubeconfig FILE`."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from typing import TYPE_CHECKING

# The columns' arithmetic needs no threads; OpenBLAS would set aside memory for one a core when NumPy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import uvloop

from apiclient.clock import Clock, SystemClock
from apiclient.events import EventRecorder
from apiclient.informer import Informer
from apiclient.kubeconfig import KubeconfigError, load
from apiclient.leaderelection import LeaderElector
from apiclient.logs import setup
from apiclient.process_identity import own_identity
from apiclient.rest import Client
from apimachinery.resources import (
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    WORKLOADS,
)
from scheduler.cluster import Cluster
from scheduler.options import Options, parse_options
from scheduler.queue import SchedulingQueue
from scheduler.reporting import Reporter
from scheduler.scheduler import Scheduler
from scheduler.trimming import (
    PodTrimmer,
    trimmed_budget,
    trimmed_group,
    trimmed_node,
    trimmed_storage,
    trimmed_workload,
)

if TYPE_CHECKING:
    from scheduler.serving import Serving


async def run(
    options: Options,
    client: Client,
    *,
    identity: str,
    clock: Clock,
    rng: random.Random,
    electing: Client | None = None,
    serving: Serving | None = None,
) -> None:
    """Follow the cluster, and place its pods whenever this scheduler leads, until cancelled.

    With a client of its own for the lead, `electing`, the other one writes nothing while another process leads.
    With `serving` it is told what is done.
    """
    nodes = Informer(client, NODES, transform=trimmed_node, clock=clock, rng=rng)
    pods = Informer(client, PODS, transform=PodTrimmer().trim, clock=clock, rng=rng)
    claims, volumes, classes = (
        Informer(client, resource, transform=trimmed_storage, clock=clock, rng=rng)
        for resource in (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES)
    )
    budgets = Informer(client, PODDISRUPTIONBUDGETS, transform=trimmed_budget, clock=clock, rng=rng)
    groups = [
        Informer(client, resource, transform=trimmed_group, clock=clock, rng=rng)
        for resource in (SERVICES, REPLICATIONCONTROLLERS, REPLICASETS, STATEFULSETS, NAMESPACES)
    ]
    workloads = Informer(client, WORKLOADS, transform=trimmed_workload, clock=clock, rng=rng)
    names = [profile.scheduler_name for profile in options.profiles]
    recorders = {called: EventRecorder(client, called, clock=clock) for called in names}
    reporter = (serving.reporter if serving else Reporter)(client, pods, recorders, clock=clock)
    queue = SchedulingQueue(
        backoff_first_seconds=options.backoff_first_seconds, backoff_max_seconds=options.backoff_max_seconds
    )
    cluster = (serving.cluster if serving else Cluster)(*options.profiles, rng=rng, queue=queue)
    storage = claims, volumes, classes
    scheduler = Scheduler(
        client,
        cluster,
        reporter,
        nodes=nodes,
        pods=pods,
        storage=storage,
        groups=groups,
        workloads=workloads,
        budgets=budgets,
        clock=clock,
    )
    async with asyncio.TaskGroup() as group:
        for informer in (nodes, pods, *storage, *groups, workloads, budgets):
            group.create_task(informer.run())
        for recorder in recorders.values():
            group.create_task(recorder.run())
        group.create_task(reporter.run())
        if serving is not None:
            serving.follow(client, queue)
            group.create_task(serving.run())
        if not options.leader_elect:
            await scheduler.lead()
        elector = LeaderElector(
            electing or client,
            options.lease_namespace,
            options.lease_name,
            identity,
            clock=clock,
            lease_duration_seconds=options.lease_duration_seconds,
            renew_deadline_seconds=options.renew_deadline_seconds,
            retry_period_seconds=options.retry_period_seconds,
        )
        if electing is not None:
            client.write_while(lambda: elector.leads)
        if serving is not None:
            serving.follow_lead(elector)

        async def lead() -> None:
            elector.tell(recorders[names[0]])
            await scheduler.lead()

        while True:
            await elector.run(lead)


async def main(options: Options) -> None:
    """Run until SIGTERM or SIGINT."""
    work = asyncio.current_task()
    assert work is not None, "this is a task"
    for signo in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signo, work.cancel)
    config = load(options.kubeconfig)
    async with (
        await Client.connect(config, user_agent="wherry-scheduler") as client,
        await Client.connect(config, user_agent="wherry-scheduler") as electing,
    ):
        identity, clock, rng = own_identity(), SystemClock(), random.Random()
        serving = None
        if options.place is not None:
            from scheduler.serving import Serving

            serving = Serving(options, options.place, electing, clock)
        await run(options, client, identity=identity, clock=clock, rng=rng, electing=electing, serving=serving)


if __name__ == "__main__":
    told = parse_options(sys.argv[1:])
    setup(told.verbosity)
    try:
        uvloop.run(main(told))
    except KubeconfigError as problem:
        sys.exit(f"scheduler: {problem}")
    except asyncio.CancelledError:
        pass
