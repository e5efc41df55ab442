"""Pods on a real node: a kubelet process runs them against a real API server, in namespaces and cgroups."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import find_condition, get_path
from apimachinery.resources import CONFIGMAPS, PODS, SECRETS
from tests.support.node import NODE, Node, node, pid_of, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

FOREVER = "exec sleep 1000"
PIDS_MAX = 60
FORKS = """
import os, time
children = []
try:
    while True:
        pid = os.fork()
        if pid == 0:
            time.sleep(1000)
        children.append(pid)
except BlockingIOError:
    print(len(children))
for pid in children:
    os.kill(pid, 9)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), "--pod-max-pids", str(PIDS_MAX)) as made:
        yield made


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container of the node's own image that runs a script and ends at once when it is told to."""
    trapped = f"trap 'exit 0' TERM; {script.replace(FOREVER, 'sleep 1000 & wait')}"
    return {"name": name, "image": "localhost/host", "command": ["sh", "-c", trapped], **fields}


def statuses(pod: Any, key: str = "containerStatuses") -> dict[str, Any]:
    return {entry["name"]: entry for entry in get_path(pod, "status", key, default=[])}


async def test_a_pod_runs_with_an_address_of_its_own_and_is_gone_after_its_deletion(here: Node) -> None:
    await here.create("simple", shell(f"cat /etc/hosts; hostname; {FOREVER}"))
    pod = await here.running("simple")
    status = pod["status"]
    assert status["phase"] == "Running" and status["podIP"].startswith("10.244.7.")
    assert status["hostIP"] == "127.0.0.1" and status["qosClass"] == "BestEffort"
    entry = status["containerStatuses"][0]
    assert entry["containerID"].startswith("wherry://") and entry["restartCount"] == 0
    assert entry["image"] == "localhost/host:latest" and entry["imageID"].startswith("sha256:")
    kinds = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert set(kinds) == {"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"}
    assert set(kinds.values()) == {"True"}
    await here.eventually(lambda: here.output(pod).endswith("\nsimple\n"))
    assert f"{status['podIP']}\tsimple" in here.output(pod)
    await here.delete("simple")
    await here.wait_gone("simple")
    await here.eventually(lambda: not here.traces(pod))
    await here.event("simple", "Killing")
    reasons = [reason for reason, _ in await here.events("simple")]
    assert reasons == ["Pulled", "Created", "Started", "Killing"]


async def test_a_pod_that_is_done_has_succeeded_and_keeps_its_output(here: Node) -> None:
    await here.create("done", shell("echo hello; exit 0"), restartPolicy="Never")
    pod = await here.phase("done", "Succeeded")
    assert terminated(pod)["reason"] == "Completed" and terminated(pod)["exitCode"] == 0
    ready = find_condition(pod, "Ready")
    assert ready is not None and (ready["status"], ready["reason"]) == ("False", "PodCompleted")
    assert here.output(pod) == "hello\n"


async def test_a_pod_that_fails_says_how(here: Node) -> None:
    script = "echo it broke > /dev/termination-log; exit 3"
    await here.create("broken", shell(script), restartPolicy="Never")
    pod = await here.phase("broken", "Failed")
    assert (terminated(pod)["exitCode"], terminated(pod)["reason"]) == (3, "Error")
    assert terminated(pod)["message"] == "it broke\n"


async def test_the_last_output_is_the_message_of_who_asks_for_it(here: Node) -> None:
    container = shell("echo last words; exit 1", terminationMessagePolicy="FallbackToLogsOnError")
    await here.create("words", container, restartPolicy="Never")
    assert terminated(await here.phase("words", "Failed"))["message"] == "last words\n"


async def test_a_container_that_crashes_is_restarted_at_once_and_then_held_back(here: Node) -> None:
    await here.create("crashing", shell("exit 7"))
    pod = await here.wait_for(
        "crashing",
        lambda pod: (
            get_path(statuses(pod).get("web"), "state", "waiting", "reason", default="") == "CrashLoopBackOff"
        ),
    )
    entry = statuses(pod)["web"]
    uid = pod["metadata"]["uid"]
    message = f"back-off 10s restarting failed container=web pod=crashing_default({uid})"
    assert entry["state"]["waiting"]["message"] == message
    assert entry["restartCount"] == 1 and entry["lastState"]["terminated"]["exitCode"] == 7
    assert pod["status"]["phase"] == "Running"
    said = await here.event("crashing", "BackOff")
    assert said == f"Back-off restarting failed container web in pod crashing_default({uid})"
    await here.delete("crashing")
    await here.wait_gone("crashing")


async def test_on_failure_restarts_until_success(here: Node) -> None:
    volume = [{"name": "v", "emptyDir": {}}]
    script = "[ -e /v/seen ] && exit 0; touch /v/seen; exit 1"
    container = shell(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await here.create("retried", container, restartPolicy="OnFailure", volumes=volume)
    pod = await here.phase("retried", "Succeeded")
    assert statuses(pod)["web"]["restartCount"] == 1


async def test_init_containers_run_in_order_before_the_others(here: Node) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    inits = [shell(f"echo {name} >> /v/order", name, volumeMounts=mounts) for name in ("first", "second")]
    main = shell(f"cat /v/order; {FOREVER}", volumeMounts=mounts)
    await here.create("ordered", main, initContainers=inits, volumes=[{"name": "v", "emptyDir": {}}])
    pod = await here.running("ordered")
    await here.eventually(lambda: here.output(pod) == "first\nsecond\n")
    done = statuses(pod, "initContainerStatuses")
    assert all(done[name]["state"]["terminated"]["reason"] == "Completed" for name in ("first", "second"))
    assert all(done[name]["ready"] for name in ("first", "second"))


async def test_a_failing_init_container_keeps_the_others_waiting(here: Node) -> None:
    await here.create("stuck", shell(FOREVER), initContainers=[shell("exit 1", "setup")])
    pod = await here.wait_for(
        "stuck",
        lambda pod: (
            get_path(statuses(pod, "initContainerStatuses").get("setup"), "state", "waiting")
            and statuses(pod, "initContainerStatuses")["setup"]["restartCount"] > 0
        ),
    )
    assert pod["status"]["phase"] == "Pending"
    assert statuses(pod)["web"]["state"] == {"waiting": {"reason": "PodInitializing"}}
    await here.delete("stuck")
    await here.wait_gone("stuck")


async def test_a_sidecar_runs_beside_the_others_and_ends_after_them(here: Node) -> None:
    mounts = [{"name": "v", "mountPath": "/v"}]
    note = "trap 'echo sidecar >> /v/ends; exit 0' TERM"
    up = {"exec": {"command": ["test", "-e", "/v/up"]}, "periodSeconds": 1}
    sidecar = {**shell("", "proxy", volumeMounts=mounts), "restartPolicy": "Always", "startupProbe": up}
    sidecar["command"] = ["sh", "-c", f"{note}; touch /v/up; sleep 1000 & wait"]
    main = shell("[ -e /v/up ] || exit 9; echo main >> /v/ends", volumeMounts=mounts)
    host = here.agent.folder / "shared"
    host.mkdir()
    volume = [{"name": "v", "hostPath": {"path": str(host)}}]
    await here.create("beside", main, initContainers=[sidecar], volumes=volume, restartPolicy="Never")
    pod = await here.phase("beside", "Succeeded")
    assert terminated(pod)["exitCode"] == 0
    assert (host / "ends").read_text() == "main\nsidecar\n"


async def test_a_missing_image_is_told_and_held_back(here: Node) -> None:
    await here.create("imageless", shell(FOREVER, image="example.invalid/none:1"))
    reasons: list[str] = []

    def backs_off(pod: Any) -> bool:
        reason = get_path(statuses(pod).get("web"), "state", "waiting", "reason", default="")
        reasons.append(reason)
        return bool(reason == "ImagePullBackOff")

    pod = await here.wait_for("imageless", backs_off)
    assert "ErrImagePull" in reasons and pod["status"]["phase"] == "Pending"
    assert statuses(pod)["web"]["state"]["waiting"]["message"].startswith(
        'Back-off pulling image "example.invalid/none:1": ErrImagePull: '
    )
    await here.delete("imageless")
    await here.wait_gone("imageless")


@pytest.mark.parametrize(
    ("image", "policy", "reason"),
    [
        ("example.invalid/none:1", "Never", "ErrImageNeverPull"),
        ("Not A Name", "IfNotPresent", "InvalidImageName"),
    ],
)
async def test_an_image_that_can_never_be_had_says_why(here: Node, image: str, policy: str, reason: str) -> None:
    name = reason.lower()
    await here.create(name, shell(FOREVER, image=image, imagePullPolicy=policy))
    await here.wait_for(name, lambda pod: get_path(statuses(pod).get("web"), "state", "waiting", "reason") == reason)
    await here.delete(name, grace_period_seconds=0)
    await here.wait_gone(name)


async def test_a_command_that_does_not_exist_fails_the_start(here: Node) -> None:
    await here.create("nocommand", shell("", command=["/no/such/thing"]), restartPolicy="Never")
    pod = await here.phase("nocommand", "Failed")
    assert terminated(pod)["reason"] == "StartError" and terminated(pod)["exitCode"] == 128
    assert "/no/such/thing" in terminated(pod)["message"]


async def test_a_configmap_that_comes_later_lets_the_container_start(here: Node) -> None:
    source = {"configMapKeyRef": {"name": "settings", "key": "color"}}
    container = shell(f"echo $COLOR; {FOREVER}", env=[{"name": "COLOR", "valueFrom": source}])
    await here.create("configured", container)
    pod = await here.wait_for(
        "configured", lambda pod: get_path(statuses(pod).get("web"), "state", "waiting", "message")
    )
    waiting = statuses(pod)["web"]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'configmap "settings" not found'}
    await here.client.create(CONFIGMAPS, {"metadata": {"name": "settings"}, "data": {"color": "blue"}}, "default")
    pod = await here.running("configured")
    await here.eventually(lambda: here.output(pod) == "blue\n")


async def test_a_secret_that_comes_later_lets_the_pod_start(here: Node) -> None:
    container = shell(f"cat /s/key; {FOREVER}", volumeMounts=[{"name": "s", "mountPath": "/s"}])
    await here.create("secretive", container, volumes=[{"name": "s", "secret": {"secretName": "late"}}])
    assert 'secret "late" not found' in await here.event("secretive", "FailedMount")
    await here.client.create(SECRETS, {"metadata": {"name": "late"}, "stringData": {"key": "sesame\n"}}, "default")
    pod = await here.running("secretive")
    await here.eventually(lambda: here.output(pod) == "sesame\n")


async def test_readiness_and_liveness_probes_are_followed(here: Node) -> None:
    alive = {"exec": {"command": ["test", "!", "-e", "/tmp/sick"]}, "periodSeconds": 1, "failureThreshold": 1}
    ready = {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1}
    script = f"touch /tmp/ready; (sleep 2; touch /tmp/sick) & {FOREVER}"
    await here.create("probed", shell(script, livenessProbe=alive, readinessProbe=ready))
    await here.running("probed")
    pod = await here.wait_for("probed", lambda pod: statuses(pod)["web"]["restartCount"] == 1)
    assert await here.event("probed", "Killing") == "Container web failed liveness probe, will be restarted"
    said = [message for reason, message in await here.events("probed") if reason == "Unhealthy"]
    assert any(message.startswith("Liveness probe failed") for message in said)
    assert get_path(statuses(pod)["web"], "lastState", "terminated", "exitCode") == 0
    await here.delete("probed")
    await here.wait_gone("probed")


async def test_an_http_probe_reaches_the_pod_at_its_address(here: Node) -> None:
    server = {**shell(""), "command": ["python3", "-m", "http.server", "8000"]}
    for kind in ("startupProbe", "readinessProbe"):
        server[kind] = {"httpGet": {"port": 8000, "path": "/etc"}, "periodSeconds": 1, "failureThreshold": 20}
    server["livenessProbe"] = {"tcpSocket": {"port": 8000}, "periodSeconds": 1}
    await here.create("served", server, terminationGracePeriodSeconds=0)
    pod = await here.running("served")
    assert statuses(pod)["web"]["started"] is True


async def test_hooks_run_after_the_start_and_before_the_end(here: Node) -> None:
    host = here.agent.folder / "hooks"
    host.mkdir()
    lifecycle = {
        "postStart": {"exec": {"command": ["sh", "-c", "echo begun >> /v/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo ending >> /v/log"]}},
    }
    container = shell(FOREVER, lifecycle=lifecycle, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    await here.create("hooked", container, volumes=[{"name": "v", "hostPath": {"path": str(host)}}])
    await here.running("hooked")
    assert (host / "log").read_text() == "begun\n"
    await here.delete("hooked")
    await here.wait_gone("hooked")
    assert (host / "log").read_text() == "begun\nending\n"


async def test_a_failing_post_start_hook_ends_the_container(here: Node) -> None:
    hook = {"postStart": {"exec": {"command": ["false"]}}}
    await here.create("badhook", shell(FOREVER, lifecycle=hook), restartPolicy="Never")
    pod = await here.phase("badhook", "Succeeded")
    assert await here.event("badhook", "FailedPostStartHook") == "PostStartHook failed"
    assert terminated(pod)["exitCode"] == 0


async def test_a_stubborn_container_is_killed_when_its_grace_period_is_over(here: Node) -> None:
    stubborn = {**shell(""), "command": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"]}
    await here.create("stubborn", stubborn)
    pod = await here.running("stubborn")
    pid = pid_of(here, pod)
    await here.delete("stubborn", grace_period_seconds=3600)
    terminating = await here.get("stubborn")
    assert terminating is not None and terminating["metadata"]["deletionGracePeriodSeconds"] == 3600
    await here.delete("stubborn", grace_period_seconds=1)
    await here.wait_gone("stubborn")
    assert not Path(f"/proc/{pid}").exists()


async def test_a_pod_that_is_forced_out_of_the_api_is_killed_too(here: Node) -> None:
    await here.create("forced", shell(FOREVER))
    pod = await here.running("forced")
    pid = pid_of(here, pod)
    await here.delete("forced", grace_period_seconds=0)
    await here.create("forced-next", shell("exit 0"), restartPolicy="Never")
    await here.phase("forced-next", "Succeeded")
    await here.eventually(lambda: not Path(f"/proc/{pid}").exists())


async def test_a_pod_past_its_deadline_fails(here: Node) -> None:
    await here.create("late", shell(FOREVER), activeDeadlineSeconds=1)
    pod = await here.phase("late", "Failed")
    assert pod["status"]["reason"] == "DeadlineExceeded"
    assert pod["status"]["message"] == "Pod was active on the node longer than the specified deadline"
    assert terminated(await here.wait_for("late", terminated))["exitCode"] == 0


async def test_a_container_over_its_memory_limit_is_oom_killed_and_restarted(here: Node) -> None:
    hungry = {**shell(""), "resources": {"limits": {"memory": "48Mi"}}}
    hungry["command"] = ["python3", "-c", "b = bytearray(200 << 20)"]
    await here.create("hungry", hungry)
    pod = await here.wait_for("hungry", lambda pod: get_path(statuses(pod).get("web"), "lastState", "terminated"))
    last = statuses(pod)["web"]["lastState"]["terminated"]
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)
    await here.delete("hungry", grace_period_seconds=1)
    await here.wait_gone("hungry")


async def test_a_fork_bomb_stops_at_the_pods_limit(here: Node) -> None:
    bomb = {**shell(""), "command": ["python3", "-c", FORKS]}
    await here.create("bomb", bomb, restartPolicy="Never")
    pod = await here.phase("bomb", "Succeeded")
    assert 0 < int(here.output(pod)) < PIDS_MAX


async def test_limits_stand_in_the_containers_own_cgroup(here: Node) -> None:
    script = (
        "cat /sys/fs/cgroup/cpu.max || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us"
    )
    limited = shell(f"({script}) 2>/dev/null | xargs", resources={"limits": {"cpu": "250m", "memory": "64Mi"}})
    await here.create("limited", limited, restartPolicy="Never")
    pod = await here.phase("limited", "Succeeded")
    assert here.output(pod) == "25000 100000\n"
    assert pod["status"]["qosClass"] == "Guaranteed"


async def test_a_pod_that_does_not_fit_is_refused(here: Node) -> None:
    await here.create("huge", shell(FOREVER, resources={"requests": {"cpu": "1000"}}))
    pod = await here.phase("huge", "Failed")
    assert pod["status"]["reason"] == "OutOfcpu"
    assert pod["status"]["message"].startswith("Pod was rejected: Node didn't have enough resource: cpu, requested")


async def test_security_contexts_hold(here: Node) -> None:
    script = (
        "id -u; id -g; id -G; grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status; touch /x 2>&- || echo read-only"
    )
    context = {
        "runAsUser": 1000,
        "runAsGroup": 2000,
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    await here.create(
        "secure",
        shell(script, securityContext=context),
        restartPolicy="Never",
        securityContext={"supplementalGroups": [3000]},
    )
    lines = here.output(await here.phase("secure", "Succeeded")).splitlines()
    assert lines[:3] == ["1000", "2000", "2000 3000"]
    facts = dict(line.split(":\t") for line in lines if ":\t" in line)
    assert facts == {"NoNewPrivs": "1", "CapEff": "0" * 16, "Seccomp": "2"}
    assert lines[-1] == "read-only"


async def test_who_must_not_be_root_is_not_started_as_root(here: Node) -> None:
    await here.create("rootless", shell(FOREVER, securityContext={"runAsNonRoot": True}))
    pod = await here.wait_for(
        "rootless", lambda pod: get_path(statuses(pod).get("web"), "state", "waiting", "message")
    )
    waiting = statuses(pod)["web"]["state"]["waiting"]
    assert waiting["reason"] == "CreateContainerConfigError"
    assert waiting["message"].startswith("container has runAsNonRoot and image will run as root")


async def test_a_pod_may_be_on_the_nodes_own_network(here: Node) -> None:
    await here.create("on-node", shell(f"ls /sys/class/net; {FOREVER}"), hostNetwork=True)
    pod = await here.running("on-node")
    assert pod["status"]["podIP"] == "127.0.0.1"
    await here.eventually(lambda: "wherry0" in here.output(pod).split())


async def test_part_of_a_volume_can_be_mounted_and_no_link_leads_out_of_it(here: Node) -> None:
    host = here.agent.folder / "parts"
    (host / "inside").mkdir(parents=True)
    (host / "inside" / "file").write_text("mine\n")
    (host / "trap").symlink_to("/etc")
    volumes = [{"name": "v", "hostPath": {"path": str(host)}}]
    good = shell("cat /v/file", volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "inside"}])
    await here.create("part", good, volumes=volumes, restartPolicy="Never")
    assert here.output(await here.phase("part", "Succeeded")) == "mine\n"
    bad = shell("ls /v", volumeMounts=[{"name": "v", "mountPath": "/v", "subPath": "trap"}])
    await here.create("trapped", bad, volumes=volumes, restartPolicy="Never")
    pod = await here.wait_for(
        "trapped",
        lambda pod: (
            pod["status"].get("containerStatuses")
            and (terminated(pod) or get_path(statuses(pod)["web"], "state", "waiting", "message"))
        ),
    )
    output = here.output(pod) if terminated(pod) else ""
    assert "passwd" not in output
    await here.delete("trapped", grace_period_seconds=0)


async def test_containers_of_a_pod_may_share_their_processes(here: Node) -> None:
    other = {**shell("", "other"), "command": ["sleep", "12345"]}
    main = shell(f"sleep 1; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; {FOREVER}")
    await here.create("shared", main, other, shareProcessNamespace=True, terminationGracePeriodSeconds=0)
    pod = await here.running("shared")
    await here.eventually(lambda: "sleep 12345" in here.output(pod))


async def test_an_image_that_is_changed_in_place_restarts_its_container(here: Node) -> None:
    await here.create("edited", shell(FOREVER))
    await here.running("edited")
    patch = {"spec": {"containers": [{"name": "web", "image": "localhost/host:latest"}]}}
    await here.client.patch(PODS, "edited", patch, "default", kind="strategic")
    await here.wait_for("edited", lambda pod: statuses(pod)["web"]["restartCount"] == 1)
    assert await here.event("edited", "Killing") == "Container web definition changed, will be restarted"


async def test_the_node_is_registered_with_what_it_can_give(here: Node) -> None:
    assert (await here.get_node(NODE))["status"]["allocatable"]["pods"] == "110"
