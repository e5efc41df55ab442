"""Pods whose images come from a registry, on a whole cluster: secrets, policies, failures, what is told of them."""

from __future__ import annotations

import base64
import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.layers import entry, image, oci_layout, tar
from tests.support.registry import PASSWORD, USER, LyingRegistry, Registry, lying_registry, need, registry, run
from tests.support.whole_cluster import WholeCluster, whole_cluster

BUSYBOX = Path("/bin/busybox")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and bridges"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="needs /bin/busybox (Debian: apt install busybox-static)"),
    pytest.mark.timeout(400),
]
WAIT_SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    need("docker-registry", "skopeo")
    with whole_cluster(1) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(cluster: WholeCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry with a password and a certificate, at the host's address on the node network."""
    folder = tmp_path_factory.mktemp("registry")
    address = json.loads((cluster.data_dir / "cluster.json").read_text())["node_network"].rpartition(".")[0] + ".1"
    Authority().issue(folder / "tls", "server", "registry", address=address)
    tls = (folder / "tls/server.crt", folder / "tls/server.key", folder / "tls/ca.crt")
    with registry(folder / "registry", address=address, tls=tls, htpasswd=True) as running:
        base = tar(entry("bin", None), entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755), entry("tmp", None))
        for tag in ("1", "2"):
            layers = [base, tar(entry("version", tag.encode()))]
            layout = oci_layout(folder / tag, image(layers, run={"Cmd": ["/bin/busybox", "sleep", "1000"]}), "i")
            target = f"docker://{running.host}/team/app:{tag}"
            flags = ("--quiet", "--dest-tls-verify=false", f"--dest-creds={USER}:{PASSWORD}")
            run("skopeo", "copy", *flags, f"oci:{layout}:i", target)
        config = {"configs": {running.host: {"tls": {"ca_file": str(tls[2])}}}}
        (cluster.data_dir / "images").mkdir(exist_ok=True)
        (cluster.data_dir / "images" / "registries.yaml").write_text(json.dumps(config))
        secret(cluster, "default", "pull", running.host, PASSWORD)
        secret(cluster, "default", "wrong", running.host, "not it")
        yield running


def secret(cluster: WholeCluster, namespace: str, name: str, host: str, password: str) -> None:
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    data = base64.b64encode(json.dumps({"auths": {host: {"auth": auth}}}).encode()).decode()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": data},
    }
    cluster.apply(json.dumps(body))


def pod(
    cluster: WholeCluster, name: str, image: str, *secrets: str, namespace: str = "default", **fields: Any
) -> None:
    container = {"name": "c", "image": image, **fields}
    spec: dict[str, Any] = {"terminationGracePeriodSeconds": 0, "containers": [container]}
    spec["imagePullSecrets"] = [{"name": secret} for secret in secrets]
    metadata = {"name": name, "namespace": namespace}
    cluster.apply(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}))


def events(cluster: WholeCluster, name: str) -> list[tuple[str, str]]:
    found = cluster.get("events", "-A")
    return [(entry["reason"], entry["message"]) for entry in found if entry["involvedObject"]["name"] == name]


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.1)
    return found


def waiting(cluster: WholeCluster, name: str, reason: str, namespace: str = "default") -> str:
    """Wait until a pod's container waits for this reason; returns the message."""

    def look() -> str:
        status = cluster.get("pod", name, "-n", namespace)["status"].get("containerStatuses") or [{}]
        state = (status[0].get("state") or {}).get("waiting") or {}
        return state.get("message") or "" if state.get("reason") == reason else ""

    return str(until(look, f"{name} to wait for {reason}: {events(cluster, name)}"))


def test_a_pod_gets_its_image_with_its_secret_and_is_told_of_in_kubernetes_words(
    cluster: WholeCluster, guarded: Registry
) -> None:
    name = f"{guarded.host}/team/app:1"
    pod(cluster, "first", name, "pull")
    cluster.wait("pod/first", "condition=Ready")
    [status] = cluster.get("pod", "first")["status"]["containerStatuses"]
    assert status["image"] == name and status["imageID"].startswith(f"{guarded.host}/team/app@sha256:")
    told = until(lambda: [m for r, m in events(cluster, "first") if r == "Pulled"], "the event")
    assert ("Pulling", f'Pulling image "{name}"') in events(cluster, "first")
    words = r'Successfully pulled image "\S+" in [\d.]+m?s \([\d.]+m?s including waiting\)\. Image size: \d+ bytes\.'
    assert re.fullmatch(words, told[0])
    assert cluster.kctl("exec", "first", "--", "/bin/busybox", "cat", "/version") == "1"
    [node] = cluster.get("nodes")
    assert any(name in entry["names"] for entry in node["status"]["images"])


def test_a_pod_without_the_secret_does_not_get_what_another_has_pulled_with_it(
    cluster: WholeCluster, guarded: Registry
) -> None:
    name = f"{guarded.host}/team/app:1"
    pod(cluster, "owner", name, "pull", imagePullPolicy="IfNotPresent")
    cluster.wait("pod/owner", "condition=Ready")
    pod(cluster, "stranger", name, imagePullPolicy="IfNotPresent")
    assert "no basic auth credentials" in waiting(cluster, "stranger", "ErrImagePull")
    pod(cluster, "never", name, imagePullPolicy="Never")
    message = f'Container image "{name}" is not present with pull policy of Never'
    assert waiting(cluster, "never", "ErrImageNeverPull") == message
    pod(cluster, "friend", name, "pull", imagePullPolicy="IfNotPresent")
    cluster.wait("pod/friend", "condition=Ready")
    words = "already present on machine and can be accessed by the pod"
    wanted = ("Pulled", f'Container image "{name}" {words}')
    until(lambda: wanted in events(cluster, "friend"), "the event of an image that is there")
    cluster.kctl("delete", "pod/stranger", "pod/never")


def test_a_wrong_password_backs_off_and_the_next_one_comes_through(cluster: WholeCluster, guarded: Registry) -> None:
    name = f"{guarded.host}/team/app:2"
    pod(cluster, "late", name, "wrong", "missing")
    told = waiting(cluster, "late", "ErrImagePull")
    assert told.startswith(
        f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": pull acc'
    )
    backing = waiting(cluster, "late", "ImagePullBackOff")
    assert backing.startswith(f'Back-off pulling image "{name}": ErrImagePull: failed to pull and unpack image')
    reasons = {reason for reason, _ in events(cluster, "late")}
    assert {"Failed", "BackOff", "FailedToRetrieveImagePullSecret"} <= reasons
    secret(cluster, "default", "wrong", guarded.host, PASSWORD)
    cluster.wait("pod/late", "condition=Ready", timeout="60s")


def test_always_asks_the_registry_and_takes_what_stands_there_now(cluster: WholeCluster, guarded: Registry) -> None:
    name = f"{guarded.host}/team/moving:latest"
    flags = ("--quiet", "--dest-tls-verify=false", "--src-tls-verify=false")
    creds = (f"--dest-creds={USER}:{PASSWORD}", f"--src-creds={USER}:{PASSWORD}")

    def move(tag: str) -> None:
        run("skopeo", "copy", *flags, *creds, f"docker://{guarded.host}/team/app:{tag}", f"docker://{name}")

    versions = []
    for number in ("1", "2"):
        move(number)
        pod(cluster, f"always-{number}", name, "pull")
        cluster.wait(f"pod/always-{number}", "condition=Ready")
        versions.append(cluster.kctl("exec", f"always-{number}", "--", "/bin/busybox", "cat", "/version"))
    assert versions == ["1", "2"]
    ids = [cluster.get("pod", f"always-{n}")["status"]["containerStatuses"][0]["imageID"] for n in ("1", "2")]
    assert ids[0] != ids[1]


def test_an_image_in_use_is_not_removed_and_one_that_is_not_goes_with_its_layers(
    cluster: WholeCluster, guarded: Registry
) -> None:
    name = f"{guarded.host}/team/app:1"
    pod(cluster, "user", name, "pull")
    cluster.wait("pod/user", "condition=Ready")
    [status] = cluster.get("pod", "user")["status"]["containerStatuses"]
    images = ("image", "--data-dir", str(cluster.data_dir))
    done = cluster.try_kctl(*images, "rm", status["imageID"].rpartition("@")[0] + ":1")
    assert done.returncode == 1 and "is used by a running container" in done.stderr
    cluster.kctl(*images, "prune", "--all")
    assert name in cluster.kctl(*images, "ls")
    names = [pod["metadata"]["name"] for pod in cluster.get("pods")]
    cluster.kctl("delete", *(f"pod/{name}" for name in names))
    until(lambda: not cluster.get("pods"), "all pods to be gone")
    until(lambda: name not in (cluster.kctl(*images, "prune", "--all"), cluster.kctl(*images, "ls"))[1], "it to go")
    layers = cluster.data_dir / "images" / "layers"
    assert list(layers.iterdir()) == []


def test_the_node_itself_may_have_credentials_for_all_its_pods(cluster: WholeCluster, guarded: Registry) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    path = cluster.data_dir / "images" / "config.json"
    path.write_text(json.dumps({"auths": {guarded.host: {"auth": auth}}}))
    try:
        for name in ("with-node", "again"):
            pod(cluster, name, f"{guarded.host}/team/app:2", imagePullPolicy="IfNotPresent")
            cluster.wait(f"pod/{name}", "condition=Ready")
    finally:
        path.unlink()


def test_an_image_that_was_built_on_this_machine_runs_on_its_nodes(cluster: WholeCluster, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text('FROM localhost/host\nCOPY hello /hello\nCMD ["sleep", "infinity"]\n')
    (tmp_path / "hello").write_text("built here")
    images = ("image", "--data-dir", str(cluster.data_dir))
    cluster.kctl(*images, "build", "-q", "-t", "localhost/built", str(tmp_path))
    # `Always`, which is the default for :latest: there is no registry behind the name, and nobody is asked.
    pod(cluster, "built", "localhost/built:latest", imagePullPolicy="Always")
    cluster.wait("pod/built", "condition=Ready")
    assert cluster.kctl("exec", "built", "--", "cat", "/hello") == "built here"
    cluster.kctl("delete", "pod/built")


def test_a_pull_that_nobody_waits_for_any_more_ends_and_leaves_nothing(
    cluster: WholeCluster, guarded: Registry
) -> None:
    """The first half of a layer comes at once, the second never."""
    address = guarded.host.rpartition(":")[0]
    images = cluster.data_dir / "images"
    with lying_registry(address) as slow:
        made = image([tar(entry("big", os.urandom(3 << 20)))])
        slow.add("app:1", made)
        gone = threading.Event()

        def hook(state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
            data = state.blobs.get(handler.path.rpartition("/")[2], b"")
            if len(data) < 1 << 20:
                return False
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data[: 1 << 20])
            gone.wait(WAIT_SECONDS_MAX)
            handler.close_connection = True
            return True

        slow.hook = hook
        settings = images / "registries.yaml"
        before = json.loads(settings.read_text())
        mirrors = {"mirrors": {slow.host: {"endpoint": [f"http://{slow.host}"]}}}
        settings.write_text(json.dumps({**before, **mirrors}))
        try:
            for name in ("waits", "waits-too"):
                pod(cluster, name, f"{slow.host}/app:1")
            until(lambda: list((images / "incoming").glob("*/fs/big")), "half of a layer")
            assert len(slow.paths(f"blobs/{json.loads(made.manifest)['layers'][0]['digest']}")) == 1
            cluster.kctl("delete", "pod/waits")
            assert list((images / "incoming").iterdir())
            cluster.kctl("delete", "pod/waits-too")
            until(lambda: not list((images / "incoming").iterdir()), "the pull to end")
        finally:
            gone.set()
            settings.write_text(json.dumps(before))
