"""`kctl explain-scheduling`: why a pod is on its node, or on none; what every plugin says of every node.

The scheduler's own functions say it, in a process of their own (`python -m scheduler.explaining`) that looks at the
cluster with the user's credentials: nothing that runs is asked, and nobody learns more than they may see.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import orjson

from apimachinery.meta import Object
from kctl.connect import add_namespace, config, kubeconfig
from kctl.errors import CommandError
from kctl.explanations import lines
from kctl.printing import print_object


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl explain-scheduling`."""
    parser.add_argument("pod", metavar="POD", help="a pod's name")
    parser.add_argument("-o", "--output", choices=("wide", "json", "yaml"), help="wide: all nodes, with all they say")
    parser.add_argument(
        "--scheduler-config", metavar="FILE", help="the KubeSchedulerConfiguration, if the scheduler has one"
    )
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Have the pod explained, and print that."""
    namespace = args.namespace or config(args).namespace or "default"
    flags = ["--namespace", namespace]
    for flag, value in (
        ("--kubeconfig", kubeconfig(args)),
        ("--context", args.context),
        ("--config", args.scheduler_config),
    ):
        flags += [flag, value] if value else []
    explanation = await _explain(args.pod.removeprefix("pods/").removeprefix("pod/"), flags)
    if args.output in ("json", "yaml"):
        print_object(explanation, args.output)
    else:
        print("\n".join(lines(explanation, wide=args.output == "wide", now=time.time())))


async def _explain(pod: str, flags: list[str]) -> Object:
    # -P: what lies in the user's folder is not taken for the scheduler.
    command = [sys.executable, "-P", "-m", "scheduler.explaining", *flags, "--", pod]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, complaint = await process.communicate()
    except asyncio.CancelledError:
        process.kill()
        raise
    if process.returncode:
        raise CommandError(complaint.decode(errors="replace").strip() or f"exit status {process.returncode}")
    explanation: Object = orjson.loads(out)
    return explanation
