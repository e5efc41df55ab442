"""How long the API server takes from nothing, and from a stop, to `/readyz` ok; and what it weighs when idle.

    .venv/bin/python -m bench.apiserver_start [--runs 8]

A cold start begins with an empty folder: keys, certificates and database are made. The clock starts before the
process does. PSS counts a page that several processes share once, divided among them (proc_pid_smaps(5)).
"""

from __future__ import annotations

import argparse
import http.client
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.apiserver import REPOSITORY, free_port

READY_SECONDS_MAX = 30.0
POLL_SECONDS = 0.004
IDLE_SECONDS = 1.0


def main() -> None:
    """Run and print medians, with Kubernetes' own figure beside."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=8)
    runs = parser.parse_args().runs
    cold: list[float] = []
    warm: list[float] = []
    weights: list[tuple[float, float]] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="wherry-bench-") as folder:
            for times in (cold, warm):
                process, seconds = start(Path(folder))
                times.append(seconds)
                time.sleep(IDLE_SECONDS)
                weights.append((pss_mib(process.pid, "Pss:"), pss_mib(process.pid, "Rss:")))
                process.terminate()
                process.wait(timeout=READY_SECONDS_MAX)
    print(f"cold start to /readyz: {_summary(cold)}   (kube-apiserver 1.20 with etcd: 5.1 to 5.8 s)")
    print(f"restart to /readyz:    {_summary(warm)}")
    pss, rss = statistics.median(w[0] for w in weights), statistics.median(w[1] for w in weights)
    print(f"idle memory:           PSS {pss:.1f} MiB, RSS {rss:.1f} MiB   (kube-apiserver 290 MB RSS, etcd 44 MB)")


def start(data_dir: Path) -> tuple[subprocess.Popen[bytes], float]:
    """Start a server; returns it and the seconds until it was ready."""
    port = free_port()
    command = [sys.executable, "-m", "apiserver", "--data-dir", str(data_dir), "--bind-address", "127.0.0.1"]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--secure-port", str(port)], cwd=REPOSITORY, stderr=subprocess.DEVNULL)
    while not is_ready(port):
        if process.poll() is not None or time.perf_counter() - started > READY_SECONDS_MAX:
            process.kill()
            raise SystemExit("the server did not become ready")
        time.sleep(POLL_SECONDS)
    return process, time.perf_counter() - started


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


def pss_mib(pid: int, field: str) -> float:
    """A field of /proc/PID/smaps_rollup in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise LookupError(field)


def _summary(seconds: list[float]) -> str:
    return f"median {statistics.median(seconds):.3f} s, max {max(seconds):.3f} s (n={len(seconds)})"


if __name__ == "__main__":
    main()
