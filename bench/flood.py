"""What one client's flood takes from the others: node leases and a person's `kubectl get`, with and without it.

    .venv/bin/python -m bench.flood [--connections 400] [--seconds 5]

A real server process with TLS and authorization. The flood comes from a process of its own (`bench.load`), as many
connections each of which asks again the moment it has its answer, and takes no notice of `Retry-After`. Meanwhile
nodes renew their leases and somebody lists pods. Nothing is asked of the machine but two cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.resources import CLUSTERROLEBINDINGS, LEASES, NAMESPACES, PODS, SERVICEACCOUNTS
from apimachinery.time import rfc3339_micro
from bench.apiserver import POD
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running

NODES, PAUSE_SECONDS = 10, 0.05
PODS_LISTED = 100
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
FLOODER = "system:serviceaccount:bench:flooder"


def tokens() -> str:
    """The token file of the server: an administrator, a service account that floods, a person, and nodes."""
    lines = ['admin,kubernetes-admin,admin,"system:masters"', f'flooder,{FLOODER},f,"system:serviceaccounts"']
    lines += ['jane,jane,jane,"people"']
    lines += [f'node-{n},system:node:n{n},n{n},"system:nodes"' for n in range(NODES)]
    return "\n".join(lines) + "\n"


class Bench:
    """One server, and the clients of those who want to be served in spite of the flood."""

    def __init__(self, server: ApiServerProcess, folder: Path, seconds: float) -> None:
        self.server = server
        self.seconds = seconds
        self.body = folder / "pod.json"
        self.body.write_text(json.dumps(POD))

    async def client(self, token: str) -> Client:
        """A client with one of the tokens."""
        config = load(str(self.server.kubeconfig))
        return await Client.connect(replace(config, client_cert_pem=None, client_key_pem=None, token=token))

    async def prepare(self) -> None:
        """What is there before the flood."""
        await self.server.wait_ready()
        async with await self.server.client() as client:
            await client.create(NAMESPACES, {"metadata": {"name": "bench"}})
            await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "bench")
            everybody = [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "jane"}]
            everybody += [{"kind": "ServiceAccount", "name": "flooder", "namespace": "bench"}]
            role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
            binding = {"metadata": {"name": "bench"}, "roleRef": role, "subjects": everybody}
            await client.create(CLUSTERROLEBINDINGS, binding)
            for _ in range(PODS_LISTED):
                await client.create(PODS, POD, "bench")
            for n in range(NODES):
                lease = {"metadata": {"name": f"n{n}"}, "spec": {"holderIdentity": f"n{n}"}}
                await client.create(LEASES, lease, "kube-node-lease")

    @contextmanager
    def flood(self, token: str, connections: int, *, post: bool) -> Iterator[None]:
        """So many connections that ask again and again."""
        port = str(self.server.port)
        command = [sys.executable, "-m", "bench.load", "--port", port, "--token", token]
        command += ["--path", PODS.path("bench") if post else f"{PODS.path('bench')}?limit=1"]
        command += ["--connections", str(connections), "--requests", "100000000"]
        command += ["--body", str(self.body)] if post else []
        with subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            try:
                yield
            finally:
                process.kill()

    async def measure(self, what: str) -> None:
        """Ask for a while, and print how long it took."""
        ended = time.monotonic() + self.seconds
        leases: list[float] = []
        lists: list[float] = []
        async with asyncio.TaskGroup() as tasks:
            for n in range(NODES):
                tasks.create_task(self._renew(n, ended, leases))
            tasks.create_task(self._list(ended, lists))
        print(f"{what:<46} {figures(leases):<34} {figures(lists)}", flush=True)

    async def _renew(self, n: int, ended: float, taken: list[float]) -> None:
        async with await self.client(f"node-{n}") as client:

            async def once() -> None:
                patch = {"spec": {"renewTime": rfc3339_micro(time.time())}}
                await client.patch(LEASES, f"n{n}", patch, "kube-node-lease")

            await repeat(once, ended, taken)

    async def _list(self, ended: float, taken: list[float]) -> None:
        async with await self.client("jane") as client:

            async def once() -> None:
                await client.request("GET", PODS.path("bench"), params={"limit": str(PODS_LISTED)}, headers=TABLE)

            await repeat(once, ended, taken)


async def repeat(call: Callable[[], Awaitable[None]], ended: float, taken: list[float]) -> None:
    """Do something again and again, and note the milliseconds that each time took."""
    while time.monotonic() < ended:
        started = time.perf_counter()
        with suppress(ApiError):  # refused, as the flood itself is
            await call()
            taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(PAUSE_SECONDS)


def figures(taken: list[float]) -> str:
    """Median, 99th percentile and the worst."""
    if len(taken) < 2:
        return "refused"
    cuts = statistics.quantiles(taken, n=100)
    return f"p50 {cuts[49]:.1f}, p99 {cuts[98]:.1f}, max {max(taken):.1f}"


def main() -> None:
    """Run all and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--connections", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=5.0)
    found = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        folder = Path(name)
        (folder / "tokens.csv").write_text(tokens())
        with running(folder, ["--token-auth-file", str(folder / "tokens.csv")]) as server:
            asyncio.run(run(Bench(server, folder, found.seconds), found.connections))


async def run(bench: Bench, connections: int) -> None:
    """All floods, one after the other."""
    await bench.prepare()
    print(f"{'milliseconds':<46} {f'leases of {NODES} nodes':<34} list of {PODS_LISTED} pods by a person")
    await bench.measure("quiet")
    for token, who in (("flooder", "a service account"), ("jane", "the person"), ("admin", "an administrator")):
        for post in (False, True):
            with bench.flood(token, connections, post=post):
                await asyncio.sleep(2.0)  # the connections
                verb = "creating" if post else "reading"
                await bench.measure(f"{connections} connections of {who}, {verb}")


if __name__ == "__main__":
    main()
