"""What a request costs the API server, stage by stage, in microseconds of processor time.

    .venv/bin/python -m bench.request_cost [--requests 6000]

A real server process under load by 32 clients, which notes after each millisecond of processor time in which stage of
the pipeline its main thread is (`bench.sampled_apiserver`). Where no Python of ours runs is the event loop with its
sockets and TLS; the other threads commit. The last row is the sum of those above it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from bench.apiserver import PODS_PATH, Bench, any_pod, prepare
from bench.load import STAMP
from tests.support.apiserver import REPOSITORY, ApiServerProcess

CONNECTIONS = 32
WRITTEN_SECONDS_MAX = 30.0
# Of a call stack the outermost call that is listed here tells the stage.
STAGES = {
    "authenticate": ("apiserver/authentication.py", "apiserver/impersonation.py"),
    "authorize": ("apiserver/authorization.py", "apiserver/rbac/", "apiserver/node_authorization.py"),
    "limit": ("apiserver/flowcontrol/",),
    "decode": ("apiserver/rest/decode.py", "apiserver/rest/patching.py", "apiserver/request_info.py"),
    "mutate (admission)": ("apiserver/admission/plugin.py:mutate",),
    "default and validate": ("apiserver/rest/writing.py",),
    "who manages what": ("apiserver/rest/managers.py",),
    "validate (admission)": ("apiserver/admission/plugin.py:validate",),
    "write and publish": ("apiserver/storage/",),
    "encode": ("apiserver/rest/answers.py", "apiserver/encoding.py", "apiserver/rest/versions.py"),
    "read": ("apiserver/rest/reading.py",),
    "metrics": ("apiserver/metrics.py",),
}
SENDING = ("apiserver/responses.py", "apiserver/rest/sending.py")
BETWEEN, HTTP, SEND, LOOP, COMMIT = (
    "pipeline between stages",
    "HTTP: receive and handle",
    "HTTP: send",
    "event loop, sockets, TLS",
    "commit (other threads)",
)


class SampledServer(ApiServerProcess):
    """An API server whose main thread is sampled."""

    def start(self) -> None:
        """Start it, on an address that only this machine has."""
        command = [
            sys.executable,
            "-m",
            "bench.sampled_apiserver",
            str(self.samples),
            "--data-dir",
            str(self.data_dir),
        ]
        command += ["--bind-address", "127.0.0.1", "--secure-port", str(self.port)]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=REPOSITORY)

    @property
    def samples(self) -> Path:
        """Where it writes what was met."""
        return self.data_dir.parent / "samples.json"

    def toggle(self) -> None:
        """Begin or end sampling."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)

    def found(self) -> dict[str, Any]:
        """End sampling; what was met."""
        self.toggle()
        deadline = time.monotonic() + WRITTEN_SECONDS_MAX
        while not self.samples.exists():
            if time.monotonic() > deadline:
                raise SystemExit("the server has not written what it was sampled at")
            time.sleep(0.01)
        found: dict[str, Any] = json.loads(self.samples.read_text())
        self.samples.unlink()
        return found


def stage_of(stack: list[str]) -> str:
    """The stage that a call stack belongs to."""
    if any(call.startswith(SENDING) for call in stack):
        return SEND
    for call in stack:
        for stage, beginnings in STAGES.items():
            if call.startswith(beginnings):
                return stage
    if any(call.startswith("apiserver/pipeline.py") for call in stack):
        return BETWEEN
    return HTTP if any(call.startswith(("aiohttp/", "apiserver/server.py")) for call in stack) else LOOP


def costs(found: dict[str, Any], requests: int) -> dict[str, float]:
    """Microseconds a request, by stage."""
    met: Counter[str] = Counter()
    for stack, count in found["stacks"]:
        met[stage_of(stack)] += count
    each = found["main_seconds"] * 1e6 / requests / max(1, sum(met.values()))
    spent = {stage: count * each for stage, count in met.items()}
    return {**spent, COMMIT: max(0.0, found["others_seconds"]) * 1e6 / requests}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=6000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="wherry-bench-") as name:
        folder = Path(name)
        server = SampledServer(folder / "apiserver")
        server.data_dir.mkdir()
        server.start()
        try:
            table = measure(server, folder, requests)
        finally:
            server.kill(signal.SIGTERM)
    width = max(map(len, (*STAGES, BETWEEN, HTTP, SEND, LOOP, COMMIT)))
    print(" " * width + "".join(f"{what:>14}" for what in table))
    for stage in (LOOP, HTTP, *STAGES, BETWEEN, SEND, COMMIT):
        print(f"{stage:<{width}}" + "".join(f"{cost.get(stage, 0.0):14.0f}" for cost in table.values()))
    print(f"{'all':<{width}}" + "".join(f"{sum(cost.values()):14.0f}" for cost in table.values()))


def measure(server: SampledServer, folder: Path, requests: int) -> dict[str, dict[str, float]]:
    """By kind of request, microseconds by stage."""
    asyncio.run(prepare(server))
    bench = Bench(server, folder)
    patch = folder / "patch.json"
    patch.write_bytes(b'{"metadata":{"annotations":{"sent":"' + STAMP + b'"}}}')
    bench.load(PODS_PATH, connections=CONNECTIONS, requests=500, post=True)
    pod = f"{PODS_PATH}/{asyncio.run(any_pod(bench))}"
    table = {}
    for what, path, connections, times, options in (
        ("POST a pod", PODS_PATH, CONNECTIONS, requests, {"post": True}),
        ("PATCH a pod", pod, 1, requests // 2, {"patch": patch}),
        ("GET a pod", pod, CONNECTIONS, requests * 2, {}),
        ("LIST 500", f"{PODS_PATH}?limit=500", 1, requests // 8, {}),
    ):
        bench.load(path, connections=connections, requests=100, **options)  # what is made at a first time
        server.toggle()
        bench.load(path, connections=connections, requests=times, **options)
        table[what] = costs(server.found(), times)
    return table


if __name__ == "__main__":
    main()
