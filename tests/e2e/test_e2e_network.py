"""The pod network on real namespaces: a private "node" namespace, pods attached to its bridge."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make network namespaces")

# Runs inside a network namespace of its own, so that the machine's interfaces are never touched.
SCENARIO = r"""
import asyncio, os, pathlib, subprocess, sys, tempfile, time
from kubelet.network import PodNetwork, NetworkFailure

def pod():
    process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"],
                               stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    return process

def inside(process, *command):
    return subprocess.run(["nsenter", f"--net=/proc/{process.pid}/ns/net", *command], capture_output=True, text=True)

def links():
    return [l.split(":")[0].strip() for l in open("/proc/self/net/dev").read().splitlines()[2:]]

CONNECT = "import socket,sys; s=socket.create_connection((sys.argv[1], 8080), 5); print(s.recv(9).decode())"
SERVE = ("import socket; s=socket.create_server(('0.0.0.0', 8080)); print('up', flush=True);"
         "c,_=s.accept(); c.sendall(b'hello'); c.close()")

async def main():
    root = pathlib.Path(tempfile.mkdtemp())
    network = PodNetwork("node-1", root)
    a, b = pod(), pod()
    try:
        try:
            await network.attach("uid-a", a.pid)
            raise SystemExit("attached before the network was set up")
        except NetworkFailure as failure:
            assert "podCIDR" in str(failure), failure
        await network.setup("10.123.4.0/24")
        await network.setup("10.123.4.0/24")
        began = time.perf_counter()
        ip_a = await network.attach("uid-a", a.pid)
        print("attach_ms", round((time.perf_counter() - began) * 1e3, 2))
        ip_b = await network.attach("uid-b", f"/proc/{b.pid}/ns/net")
        assert (ip_a.ip, ip_b.ip, ip_a.gateway) == ("10.123.4.2", "10.123.4.3", "10.123.4.1"), (ip_a, ip_b)
        again = await network.attach("uid-a", a.pid)
        assert again == ip_a

        server = subprocess.Popen(["nsenter", f"--net=/proc/{a.pid}/ns/net", sys.executable, "-c", SERVE],
                                  stdout=subprocess.PIPE)
        assert server.stdout.readline() == b"up\n"
        got = inside(b, sys.executable, "-c", CONNECT, ip_a.ip)
        assert got.stdout.strip() == "hello", got
        server.wait(10)

        restarted = PodNetwork("node-1", root)
        assert restarted.known() == {"uid-a": ip_a.ip, "uid-b": ip_b.ip}
        await restarted.setup("10.123.4.0/24")
        await restarted.reconcile(["uid-b"])
        assert restarted.known() == {"uid-b": ip_b.ip}
        assert sum(name.startswith("wv") for name in links()) == 1, links()

        await restarted.sync_routes({"10.123.5.0/24": ip_b.ip, "10.123.6.0/24": ip_b.ip})
        await restarted.sync_routes({"10.123.6.0/24": ip_b.ip})
        routes = open("/proc/self/net/route").read()
        assert "00067B0A" in routes and "00057B0A" not in routes, routes

        await restarted.detach("uid-b")
        await restarted.detach("uid-b")
        assert not any(name.startswith("wv") for name in links())
        network.close(); restarted.close()
    finally:
        a.kill(); b.kill(); a.wait(); b.wait()

asyncio.run(main())
print("scenario passed")
"""


def test_pods_get_addresses_reach_each_other_and_leave_nothing_behind() -> None:
    result = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", SCENARIO], capture_output=True, text=True, timeout=60
    )
    assert "scenario passed" in result.stdout, result.stdout + result.stderr
