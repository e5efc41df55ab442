"""How long the API server takes from nothing, and from a stop, to `/readyz` ok; and what it weighs when idle.

    .venv/bin/python -m bench.apiserver_start [--runs 8] [--pods 10000]

A cold start begins with an empty folder: keys, certificates and database are made. With `--pods`, so many are in the
database before it is started again. The clock starts before the process does. Bytecode is cached, as after `pip
install`, and a first run that is not counted fills the cache. What else runs on the machine changes the clock's time
much and the processor's little. PSS counts a page that several processes share once, divided among them
(proc_pid_smaps(5)).
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from bench.apiserver import PODS_PATH, Bench, prepare
from tests.support.apiserver import REPOSITORY, ApiServerProcess, free_port

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.004
IDLE_SECONDS = 1.0


class Start(NamedTuple):
    """A server that has become ready: after how long, and what it and its children have used of the processor."""

    process: subprocess.Popen[bytes]
    port: int
    seconds: float
    processor_seconds: float


def main() -> None:
    """Run and print medians, with Kubernetes' own figure beside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--pods", type=int, default=0, help="how many pods a restart finds")
    options = parser.parse_args()
    cold: list[Start] = []
    warm: list[Start] = []
    weights: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="wherry-bench-pycache-") as cache:
        for number in range(options.runs + 1):
            with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder:
                port = free_port()
                for starts in (cold, warm):
                    found = start(Path(folder), port, Path(cache))
                    time.sleep(IDLE_SECONDS)
                    if number:
                        starts.append(found)
                        weights.append((pss_mib(found.process.pid, "Pss:"), pss_mib(found.process.pid, "Rss:")))
                    if starts is cold and options.pods:
                        create_pods(found, Path(folder), options.pods)
                    found.process.terminate()
                    found.process.wait(timeout=READY_SECONDS_MAX)
    print(f"cold start to /readyz: {_summary(cold)}   (kube-apiserver 1.20 with etcd: 5.1 to 5.8 s)")
    print(f"restart to /readyz:    {_summary(warm)}{f'   (with {options.pods} pods)' if options.pods else ''}")
    pss, rss = statistics.median(w[0] for w in weights), statistics.median(w[1] for w in weights)
    print(f"idle memory:           PSS {pss:.1f} MiB, RSS {rss:.1f} MiB   (kube-apiserver 290 MB RSS, etcd 44 MB)")


def start(data_dir: Path, port: int, cache: Path) -> Start:
    """Start a server, its bytecode cached in a folder."""
    command = [sys.executable, "-m", "apiserver", "--data-dir", str(data_dir), "--bind-address", "127.0.0.1"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--secure-port", str(port)],
        cwd=REPOSITORY,
        env={**environment, "PYTHONPYCACHEPREFIX": str(cache)},
        stderr=subprocess.DEVNULL,
    )
    while not is_ready(port):
        if process.poll() is not None or time.perf_counter() - started > READY_SECONDS_MAX:
            process.kill()
            raise SystemExit("the server did not become ready")
        time.sleep(POLL_SECONDS)
    seconds = time.perf_counter() - started
    # User and system time of it and of its children that have ended (proc_pid_stat(5)).
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return Start(process, port, seconds, sum(map(int, fields)) / os.sysconf("SC_CLK_TCK"))


def is_ready(port: int) -> bool:
    """Whether /readyz is answered with 200."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # the authority is only being made
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=READY_SECONDS_MAX)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def create_pods(found: Start, data_dir: Path, pods: int) -> None:
    """Fill the database of a server that runs."""
    server = ApiServerProcess(data_dir)
    server.port, server.process = found.port, found.process
    asyncio.run(prepare(server))
    Bench(server, data_dir).load(PODS_PATH, connections=64, requests=pods, post=True)


def pss_mib(pid: int, field: str) -> float:
    """A field of /proc/PID/smaps_rollup in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def _summary(starts: list[Start]) -> str:
    seconds, processor = [one.seconds for one in starts], [one.processor_seconds for one in starts]
    clock = f"median {statistics.median(seconds):.3f} s, min {min(seconds):.3f} s, max {max(seconds):.3f} s"
    return f"{clock}, of the processor {statistics.median(processor):.2f} s (n={len(starts)})"


if __name__ == "__main__":
    main()
