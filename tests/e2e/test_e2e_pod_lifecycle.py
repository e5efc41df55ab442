"""What pods live through on a real node, as far as only a kernel and a network can show it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.errors import ApiError
from apimachinery.meta import find_condition, get_path
from apimachinery.resources import PODS
from tests.support.node import WAIT_SECONDS_MAX, Node, node, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

FOREVER = "sleep 1000 & wait"
# Answers every gRPC call as a server would that says SERVING (1) or NOT_SERVING (2), by its first argument.
GRPC_SERVER = """
import socket, sys
frame = lambda kind, flags, stream, data: len(data).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + data
server = socket.create_server(("0.0.0.0", 5000))
while True:
    peer, _ = server.accept()
    peer.recv(65536)
    answer = frame(4, 0, 0, b"") + frame(1, 4, 1, b"\\x88")
    answer += frame(0, 0, 1, bytes((0, 0, 0, 0, 2, 8, int(sys.argv[1]))))
    peer.sendall(answer + frame(1, 5, 1, b"\\0\\x0bgrpc-status\\x010"))
    peer.close()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    flags = ("--cluster-dns", "10.96.0.10", "--cluster-domain", "cluster.local")
    async with node(tmp_path_factory.mktemp("node"), *flags) as made:
        yield made


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container of the node's own image that runs a script and ends at once when it is told to."""
    command = ["sh", "-c", f"trap 'exit 0' TERM; {script}"]
    return {"name": name, "image": "localhost/host", "command": command, **fields}


def entries(pod: Any, key: str = "containerStatuses") -> dict[str, Any]:
    return {entry["name"]: entry for entry in get_path(pod, "status", key, default=[])}


async def told(here: Node, name: str, message: str) -> None:
    """Wait for an event about a pod."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while message not in [text for _, text in await here.events(name)]:
        assert time.monotonic() < deadline, await here.events(name)
        await asyncio.sleep(0.05)


async def printed(here: Node, name: str, *containers: dict[str, Any], **spec: Any) -> list[str]:
    """The lines that a pod's first container prints until its end."""
    await here.create(name, *containers, restartPolicy="Never", **spec)
    pod = await here.phase(name, "Succeeded")
    return here.output(pod, containers[0]["name"]).splitlines()


async def test_how_a_container_ended_is_told_as_its_program_and_the_kernel_have_it(here: Node) -> None:
    # Kubernetes makes one $ of $$.
    ends = {
        "missing": ("no-such-command", 127),
        "forbidden": ("/etc/passwd", 126),
        "odd": ("exit 128", 128),
        "killed": ("sh -c 'kill -9 $$$$'", 137),
        "aborted": ("sh -c 'kill -6 $$$$'", 134),
    }
    await here.create("ends", *(shell(script, name) for name, (script, _) in ends.items()), restartPolicy="Never")
    pod = await here.phase("ends", "Failed")
    found = {name: entry["state"]["terminated"] for name, entry in entries(pod).items()}
    assert {name: state["exitCode"] for name, state in found.items()} == {n: code for n, (_, code) in ends.items()}
    assert {state["reason"] for state in found.values()} == {"Error"}


async def test_a_container_is_ended_by_the_signal_that_it_asks_for(here: Node) -> None:
    asking = {
        "name": "web",
        "image": "localhost/host",
        "command": ["sh", "-c", f"trap 'exit 42' USR1; {FOREVER}"],
        "lifecycle": {"stopSignal": "SIGUSR1"},
    }
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]
    other = shell("sleep 0.1; exit 1", "other", restartPolicy="Never", restartPolicyRules=rules)
    await here.create("signalled", asking, other, os={"name": "linux"}, activeDeadlineSeconds=3600)
    await here.wait_for("signalled", lambda pod: get_path(entries(pod).get("other"), "state", "terminated"))
    await here.client.patch(PODS, "signalled", {"spec": {"activeDeadlineSeconds": 1}}, "default")
    pod = await here.wait_for("signalled", terminated)
    assert terminated(pod)["exitCode"] == 42 and pod["status"]["reason"] == "DeadlineExceeded"
    assert entries(pod)["other"]["restartCount"] == 0


async def test_a_container_is_restarted_by_the_rules_of_its_own(here: Node) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [7]}}]
    script = "[ -e /v/seen ] && exit 3; touch /v/seen; exit 7"
    mounts = [{"name": "v", "mountPath": "/v"}]
    ruled = shell(script, volumeMounts=mounts, restartPolicy="Never", restartPolicyRules=rules)
    await here.create("ruled", ruled, restartPolicy="Always", volumes=[{"name": "v", "emptyDir": {}}])
    pod = await here.phase("ruled", "Failed")
    entry = entries(pod)["web"]
    assert entry["restartCount"] == 1 and terminated(pod)["exitCode"] == 3
    assert entry["lastState"]["terminated"]["exitCode"] == 7 and entry["volumeMounts"] == mounts


async def test_last_words_go_where_the_container_wants_them_and_its_user_may_write_there(here: Node) -> None:
    path = "/var/last/words"
    context = {"runAsUser": 1000, "runAsGroup": 1000}
    speaking = shell(f"echo bye > {path}", terminationMessagePath=path, securityContext=context)
    await here.create("speaking", speaking, restartPolicy="Never")
    pod = await here.phase("speaking", "Succeeded")
    assert terminated(pod)["message"] == "bye\n"
    assert entries(pod)["web"]["user"]["linux"] == {"uid": 1000, "gid": 1000, "supplementalGroups": [1000]}


async def test_a_pod_is_named_as_it_wants_to_be(here: Node) -> None:
    script = "hostname; echo $HOSTNAME; cat /etc/hostname; grep -F $(hostname) /etc/hosts"
    overridden = await printed(here, "overridden", shell(script), hostname="not-me", hostnameOverride="a.b.example")
    assert overridden[:3] == ["a.b.example"] * 3 and overridden[3].endswith("\ta.b.example")
    aliases = [{"ip": "192.0.2.9", "hostnames": ["foo", "bar"]}]
    script = "hostname; cat /etc/hostname; grep -F 192.0.2.9 /etc/hosts"
    full = await printed(here, "full", shell(script), subdomain="db", setHostnameAsFQDN=True, hostAliases=aliases)
    assert full == ["full.db.default.svc.cluster.local"] * 2 + ["192.0.2.9\tfoo\tbar"]


async def test_a_full_name_that_is_too_long_for_the_kernel_keeps_the_pod_from_starting(here: Node) -> None:
    name = "a" * 50
    await here.create(name, shell(FOREVER), subdomain="subdomain", setHostnameAsFQDN=True)
    message = await here.event(name, "FailedCreatePodSandBox")
    assert message.startswith("Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster")
    pod = await here.wait_for(name, lambda pod: entries(pod))
    assert entries(pod)["web"]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    ready = find_condition(pod, "PodReadyToStartContainers")
    assert ready is not None and ready["status"] == "False" and ready["observedGeneration"] == 1
    await here.delete(name, grace_period_seconds=0)


async def test_a_pod_asks_for_names_whom_it_wants(here: Node) -> None:
    cluster = await printed(here, "asks-cluster", shell("cat /etc/resolv.conf"))
    assert "nameserver 10.96.0.10" in cluster and "options ndots:5" in cluster
    assert cluster[0].startswith("search default.svc.cluster.local svc.cluster.local cluster.local")
    own = {"nameservers": ["192.0.2.53"], "searches": [f"d{number}.example" for number in range(32)]}
    await printed(here, "asks-more", shell("true"), dnsConfig=own)
    assert (await here.event("asks-more", "DNSConfigForming")).startswith("Search Line limits were exceeded")
    alone = await printed(here, "asks-others", shell("cat /etc/resolv.conf"), dnsPolicy="None", dnsConfig=own)
    assert alone == [f"search {' '.join(own['searches'])}", "nameserver 192.0.2.53"]


async def test_a_pod_may_share_what_the_node_has(here: Node) -> None:
    script = "readlink /proc/self/ns/ipc /proc/self/ns/net; cat /proc/1/comm; uname -n; echo $HOSTNAME"
    lines = await printed(here, "sharing", shell(script), hostIPC=True, hostPID=True, hostNetwork=True)
    assert lines == [
        str(Path("/proc/self/ns/ipc").readlink()),
        str(Path("/proc/thread-self/ns/net").readlink()),
        Path("/proc/1/comm").read_text().strip(),
        os.uname().nodename,
        os.uname().nodename,
    ]


async def test_a_server_is_asked_by_grpc_at_the_pods_address(here: Node) -> None:
    def server(name: str, says: int) -> dict[str, Any]:
        probe = {"grpc": {"port": 5000, "service": "web"}, "periodSeconds": 1, "failureThreshold": 1}
        command = ["python3", "-c", GRPC_SERVER, str(says)]
        return {"name": name, "image": "localhost/host", "command": command, "readinessProbe": probe}

    await here.create("serving", server("web", 1), terminationGracePeriodSeconds=0)
    await here.create("not-serving", server("web", 2), terminationGracePeriodSeconds=0)
    await here.running("serving")
    unhealthy = 'Readiness probe failed: service unhealthy (responded with "NOT_SERVING")'
    await told(here, "not-serving", unhealthy)


async def test_later_containers_wait_for_the_hook_of_an_earlier_one(here: Node) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    hook = {"postStart": {"exec": {"command": ["sh", "-c", "sleep 0.3; touch /v/ready"]}}}
    proxy = shell(FOREVER, "proxy", lifecycle=hook, volumeMounts=mounts)
    main = shell(f"ls /v; {FOREVER}", volumeMounts=mounts)
    await here.create("ordered", proxy, main, volumes=[{"name": "v", "emptyDir": {}}])
    pod = await here.running("ordered")
    await here.eventually(lambda: here.output(pod) == "ready\n")


async def test_a_hook_that_cannot_work_is_told_and_changes_nothing_at_the_end(here: Node) -> None:
    hooks = {"preStop": {"exec": {"command": ["sh", "-c", "kill 1; sleep 1000"]}}}
    napping = {"preStop": {"sleep": {"seconds": 0}}}
    await here.create("hooked", shell(FOREVER, lifecycle=hooks), shell(FOREVER, "other", lifecycle=napping))
    await here.running("hooked")
    await here.delete("hooked")
    await here.wait_gone("hooked")
    assert await here.event("hooked", "FailedPreStopHook") == "PreStopHook failed"
    assert [reason for reason, _ in await here.events("hooked")].count("FailedPreStopHook") == 1


async def test_a_pod_is_ready_when_others_say_so_too(here: Node) -> None:
    await here.create("gated", shell(FOREVER), readinessGates=[{"conditionType": "example.org/up"}])
    pod = await here.wait_for(
        "gated", lambda pod: (find_condition(pod, "ContainersReady") or {}).get("status") == "True"
    )
    ready = find_condition(pod, "Ready")
    assert ready is not None and ready["reason"] == "ReadinessGatesNotReady"
    up = {"status": {"conditions": [{"type": "example.org/up", "status": "True"}]}}
    await here.client.patch(PODS, "gated", up, "default", kind="strategic", subresource="status")
    await here.running("gated")


async def test_who_looks_into_a_pod_sees_its_processes_and_is_not_started_twice(here: Node) -> None:
    await here.create("looked-into", shell("sleep 4321 & wait"))
    await here.running("looked-into")
    script = "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; exit 1"
    debugger = {**shell(script, "debugger"), "targetContainerName": "web"}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    how = {"kind": "strategic", "subresource": "ephemeralcontainers"}
    await here.client.patch(PODS, "looked-into", patch, "default", **how)
    pod = await here.wait_for(
        "looked-into",
        lambda pod: get_path(entries(pod, "ephemeralContainerStatuses").get("debugger"), "state", "terminated"),
    )
    assert "sleep 4321" in here.output(pod, "debugger")
    assert entries(pod, "ephemeralContainerStatuses")["debugger"]["restartCount"] == 0
    assert pod["status"]["phase"] == "Running"


async def test_what_makes_no_sense_together_is_refused(here: Node) -> None:
    for fields in ({"setHostnameAsFQDN": True}, {"hostNetwork": True}):
        with pytest.raises(ApiError):
            await here.create("senseless", shell(FOREVER), hostnameOverride="other", **fields)
