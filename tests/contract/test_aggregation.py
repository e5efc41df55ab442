"""APIs that other servers serve: a small extension API server behind a real API server, and stock kubectl."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from apiclient.kubeconfig import load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition
from apimachinery.resources import (
    APISERVICES,
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    ENDPOINTSLICES,
    NAMESPACES,
    SERVICES,
)
from tests.support.apiserver import ApiServerProcess, free_port, own_address, running
from tests.support.certificates import client_context
from tests.support.clients import kubectl_current
from tests.support.extension_server import (
    DEFINITION,
    GROUP,
    GROUP_VERSION,
    NAME,
    NAMESPACE,
    PATH,
    SERVICE,
    SERVICE_OBJECT,
    VERSION,
    ExtensionServer,
    extension_server,
)
from tests.support.kubectl import Kubectl
from tests.support.manager import managing

SECONDS_MAX = 60
FLUNDERS = f"{PATH}/namespaces/default/flunders"
FLUNDER = {"apiVersion": GROUP_VERSION, "kind": "Flunder", "metadata": {"name": "one"}, "size": 3}
USERS = 'admin,root,,"system:masters"\njane,jane,7,"developers"\njim,jim,8,"developers"\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    folder = tmp_path_factory.mktemp("aggregation")
    (folder / "tokens.csv").write_text(USERS)
    with running(folder, ["--token-auth-file", str(folder / "tokens.csv")]) as started:
        asyncio.run(started.wait_ready())
        asyncio.run(prepare(started))
        yield started


async def prepare(server: ApiServerProcess) -> None:
    async with await server.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        rule = {"apiGroups": [GROUP], "resources": ["flunders"], "verbs": ["get", "list", "watch"]}
        await client.create(CLUSTERROLES, {"metadata": {"name": "flunders"}, "rules": [rule]})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flunders"}
        jane = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}
        binding = {"metadata": {"name": "flunders"}, "roleRef": role, "subjects": [jane]}
        await client.create(CLUSTERROLEBINDINGS, binding)


@pytest.fixture
async def client(server: ApiServerProcess) -> AsyncIterator[Client]:
    async with await server.client() as made:
        yield made
        for resource, name, namespace in (
            (APISERVICES, NAME, ""),
            (ENDPOINTSLICES, "api-1", NAMESPACE),
            (SERVICES, SERVICE, NAMESPACE),
        ):
            with contextlib.suppress(ApiError):
                await made.delete(resource, name, namespace)


@pytest.fixture
async def extension(server: ApiServerProcess, client: Client, tmp_path: Path) -> AsyncIterator[ExtensionServer]:
    proxies = server.data_dir / "pki" / "front-proxy-ca.crt"
    async with extension_server(tmp_path, proxies=proxies, address=own_address()) as made:
        yield made


@pytest.fixture
async def registered(client: Client, extension: ExtensionServer) -> ExtensionServer:
    """The server with its APIService, available and discovered."""
    await register(client, extension)
    await discovered(client)
    return extension


@pytest.fixture
async def session(server: ApiServerProcess) -> AsyncIterator[aiohttp.ClientSession]:
    tls = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    headers = {"Authorization": "Bearer admin"}
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as made:
        yield made


@pytest.fixture
def kubectl(server: ApiServerProcess, tmp_path: Path) -> Callable[..., Awaitable[str]]:
    run = Kubectl(kubectl_current(), server.kubeconfig, "default", tmp_path)

    async def kubectl(*arguments: str, **more: Any) -> str:
        return await asyncio.to_thread(run, *arguments, **more)

    return kubectl


async def register(client: Client, extension: ExtensionServer, **spec: Any) -> None:
    await client.create(SERVICES, SERVICE_OBJECT, NAMESPACE)
    await client.create(ENDPOINTSLICES, extension.endpoint_slice(own_address()), NAMESPACE)
    await client.create(APISERVICES, extension.api_service(**spec))
    await condition(client, "True")


async def read(client: Client, path: str, **headers: str) -> Any:
    """The document at a path."""
    _, _, body = await client.request("GET", path, headers=headers)
    return orjson.loads(body)


async def until(found: Callable[[], Awaitable[Any]]) -> Any:
    """What is found in the end."""
    deadline = time.monotonic() + SECONDS_MAX
    while not (result := await found()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return result


async def condition(client: Client, status: str, reason: str = "") -> Object:
    async def found() -> Object | None:
        now = find_condition(await client.get(APISERVICES, NAME), "Available")
        return now if now is not None and now["status"] == status and reason in ("", now["reason"]) else None

    result: Object = await until(found)
    return result


async def aggregated(client: Client) -> Object | None:
    """What aggregated discovery tells of the extension server's version of its group."""
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    document = await read(client, "/apis", Accept=accept)
    groups = [item for item in document["items"] if item["metadata"].get("name") == GROUP]
    return groups[0]["versions"][0] if groups else None


async def discovered(client: Client, freshness: str = "Current") -> Object:
    async def found() -> Object | None:
        version = await aggregated(client)
        return version if version is not None and version["freshness"] == freshness else None

    result: Object = await until(found)
    return result


async def status_of(session: aiohttp.ClientSession, path: str, method: str = "GET", **more: Any) -> int:
    async with session.request(method, path, **more) as answer:
        await answer.read()
        return answer.status


@pytest.mark.usefixtures("registered")
async def test_kubectl_finds_and_uses_what_another_server_serves(kubectl: Callable[..., Awaitable[str]]) -> None:
    listed = [line.split() for line in (await kubectl("get", "apiservices")).splitlines()]
    assert listed[0] == ["NAME", "SERVICE", "AVAILABLE", "AGE"]
    assert [line[:3] for line in listed if line[0] in (NAME, "v1.apps")] == [
        ["v1.apps", "Local", "True"],
        [NAME, f"{NAMESPACE}/{SERVICE}", "True"],
    ]
    listed = [line.split() for line in (await kubectl("api-resources", "--api-group", GROUP)).splitlines()]
    assert listed[1] == ["flunders", "fl", GROUP_VERSION, "true", "Flunder"]
    assert GROUP_VERSION in (await kubectl("api-versions")).splitlines()
    await kubectl("create", "-f", "-", stdin=json.dumps(FLUNDER))
    assert "one" in await kubectl("get", f"flunders.{VERSION}.{GROUP}")
    assert await kubectl("get", "fl", "one", "-o", "jsonpath={.size}") == "3"
    assert "How large it is." in await kubectl("explain", "flunders.size")
    assert "deleted" in await kubectl("delete", "fl", "one")
    assert "NotFound" in await kubectl("get", f"flunders.{GROUP}", "one", fails=True)


async def test_the_server_is_told_who_asks_by_the_front_proxy(
    registered: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": "Bearer jane", "X-Remote-User": "root", "X-Remote-Group": "system:masters"}
    headers |= {"X-Remote-Extra-Scopes": "all", "X-Mine": "kept"}
    assert await status_of(session, FLUNDERS, headers=headers) == 200
    sent = registered.asked(FLUNDERS)[-1].headers
    assert sent.getall("X-Remote-User") == ["jane"] and sent["X-Remote-Uid"] == "7"
    assert sent.getall("X-Remote-Group") == ["developers", "system:authenticated"]
    assert "Authorization" not in sent and "X-Remote-Extra-Scopes" not in sent
    assert sent["X-Mine"] == "kept" and sent["Host"] == f"{SERVICE}.{NAMESPACE}.svc:443"
    assert (("commonName", "front-proxy-client"),) in registered.peers[-1]["subject"]


async def test_roles_decide_before_the_server_is_asked(
    registered: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    jane, jim = ({"Authorization": f"Bearer {name}"} for name in ("jane", "jim"))
    assert await status_of(session, FLUNDERS, headers=jim) == 403
    assert await status_of(session, FLUNDERS, "POST", json=FLUNDER, headers=jane) == 403
    assert not registered.asked(FLUNDERS)
    assert await status_of(session, FLUNDERS, headers=jane) == 200
    assert await status_of(session, FLUNDERS, headers={**jane, "Impersonate-User": "jim"}) == 403


async def test_whoever_may_act_as_somebody_is_that_one_to_the_server(
    registered: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    assert await status_of(session, FLUNDERS, headers={"Impersonate-User": "jane"}) == 200
    sent = registered.asked(FLUNDERS)[-1].headers
    assert sent["X-Remote-User"] == "jane" and "Impersonate-User" not in sent


async def test_watches_are_passed_on(registered: ExtensionServer, session: aiohttp.ClientSession) -> None:
    async with session.get(FLUNDERS, params={"watch": "1"}) as watch:
        assert await status_of(session, FLUNDERS, "POST", json=FLUNDER) == 201
        async with asyncio.timeout(SECONDS_MAX):
            event = orjson.loads(await watch.content.readline())
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "one")


@pytest.mark.usefixtures("registered")
async def test_connections_are_upgraded(session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(f"{FLUNDERS}/one/console") as console:
        await console.send_str("hello")
        assert await console.receive_str(timeout=SECONDS_MAX) == "HELLO"


@pytest.mark.usefixtures("registered")
async def test_nobody_is_led_elsewhere(session: aiohttp.ClientSession) -> None:
    async with session.get(f"{PATH}/redirect", allow_redirects=False) as answer:
        assert answer.status == 502 and "not permitted" in (await answer.json())["message"]


async def test_discovery_tells_of_it_in_all_forms(
    registered: ExtensionServer, client: Client, session: aiohttp.ClientSession
) -> None:
    version = await discovered(client)
    assert [one["resource"] for one in version["resources"]] == ["flunders"]
    groups = [group["name"] for group in (await read(client, "/apis"))["groups"]]
    # Its priority is below those of what is built in, and above that of custom resources and of figures.
    assert groups[0] == "apiregistration.k8s.io" and groups[-2:] == [GROUP, "metrics.k8s.io"]
    group = await read(client, f"/apis/{GROUP}")
    assert group["preferredVersion"] == {"groupVersion": GROUP_VERSION, "version": VERSION}
    assert (await read(client, PATH))["kind"] == "APIResourceList"
    assert registered.asked(PATH)[-1].headers["X-Remote-User"] == "kubernetes-admin"
    assert PATH in (await read(client, "/"))["paths"]


async def test_a_server_that_knows_the_old_forms_only_is_served_as_well(
    client: Client, extension: ExtensionServer, kubectl: Callable[..., Awaitable[str]]
) -> None:
    extension.modern = False
    await register(client, extension)
    version = await discovered(client)
    (flunders,) = version["resources"]
    assert flunders["shortNames"] == ["fl"] and flunders["scope"] == "Namespaced"
    assert [one["subresource"] for one in flunders["subresources"]] == ["console"]

    async def indexed() -> Any:
        return (await read(client, "/openapi/v3"))["paths"].get(PATH[1:])

    document = await read(client, (await until(indexed))["serverRelativeURL"])
    assert document["components"]["schemas"][DEFINITION]["properties"]["size"]["type"] == "integer"
    assert "How large it is." in await kubectl("explain", "fl.size")


async def test_schemas_of_all_servers_are_in_one_document(
    registered: ExtensionServer, client: Client, session: aiohttp.ClientSession
) -> None:
    async def merged() -> Any:
        document = await read(client, "/openapi/v2")
        return document if DEFINITION in document["definitions"] else None

    document = await until(merged)
    (path,) = [path for path in document["paths"] if path.startswith(PATH)]
    assert document["paths"][path]["get"]["parameters"][0]["name"] == "name"
    # What everybody shares is as we have it, and what others serve elsewhere is theirs.
    assert "properties" in document["definitions"]["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]
    assert "/apis/other.example.com/v1/x" not in document["paths"]
    assert "com.example.Unused" not in document["definitions"]
    accept = {"Accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    async with session.get("/openapi/v2", headers=accept) as answer:
        assert DEFINITION.encode() in await answer.read()
    index = (await read(client, "/openapi/v3"))["paths"]
    assert index["apis/apps/v1"]["serverRelativeURL"].startswith("/openapi/v3/apis/apps/v1?hash=")
    own = await read(client, index[PATH[1:]]["serverRelativeURL"])
    assert own["info"]["title"] == "wardle"
    assert registered.asked(f"/openapi/v3{PATH}")[-1].headers["X-Remote-User"] == "kubernetes-admin"


async def test_only_the_right_certificate_is_trusted(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession, server: ApiServerProcess
) -> None:
    await register(client, extension, caBundle=None, insecureSkipTLSVerify=True)
    assert await status_of(session, FLUNDERS) == 200
    strange = {"caBundle": extension.api_service()["spec"]["caBundle"], "insecureSkipTLSVerify": None}
    service = {"namespace": NAMESPACE, "name": "other"}
    renamed = {**SERVICE_OBJECT, "metadata": {"name": "other"}}
    slice_ = extension.endpoint_slice(own_address())
    slice_["metadata"] = {"name": "other-1", "labels": {"kubernetes.io/service-name": "other"}}
    await client.create(SERVICES, renamed, NAMESPACE)
    await client.create(ENDPOINTSLICES, slice_, NAMESPACE)
    await client.patch(APISERVICES, NAME, {"spec": {**strange, "service": service}})

    async def refused() -> str:
        async with session.get(FLUNDERS) as answer:
            return (await answer.json())["message"] if answer.status == 503 else ""

    assert "tls: failed to verify certificate" in await until(refused)


async def test_why_a_server_is_not_available_is_told(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    await client.create(APISERVICES, extension.api_service(service={"namespace": NAMESPACE, "name": SERVICE}))
    found = await condition(client, "False", "ServiceNotFound")
    assert found["message"] == f'service/{SERVICE} in "{NAMESPACE}" is not present'
    assert await status_of(session, FLUNDERS) == 503
    await client.create(SERVICES, SERVICE_OBJECT, NAMESPACE)
    await condition(client, "False", "EndpointsNotFound")
    slice_ = extension.endpoint_slice(own_address(), free_port())
    await client.create(ENDPOINTSLICES, {**slice_, "endpoints": []}, NAMESPACE)
    await condition(client, "False", "MissingEndpoints")
    await client.patch(ENDPOINTSLICES, "api-1", {"endpoints": slice_["endpoints"]}, NAMESPACE)
    found = await condition(client, "False", "FailedDiscoveryCheck")
    assert "connection refused" in found["message"] and f"{PATH}" in found["message"]
    ports = extension.endpoint_slice(own_address())["ports"]
    await client.patch(ENDPOINTSLICES, "api-1", {"ports": ports}, NAMESPACE)
    found = await condition(client, "True", "Passed")
    assert found["message"] == "all checks passed"
    assert await status_of(session, FLUNDERS) == 200


async def test_a_name_outside_of_the_cluster_is_asked_too(
    client: Client, extension: ExtensionServer, session: aiohttp.ClientSession
) -> None:
    outside = {"metadata": {"name": SERVICE}, "spec": {"type": "ExternalName", "externalName": own_address()}}
    await client.create(SERVICES, outside, NAMESPACE)
    service = {"namespace": NAMESPACE, "name": SERVICE, "port": extension.port}
    await client.create(APISERVICES, extension.api_service(service=service))
    await condition(client, "True", "Passed")
    assert await status_of(session, FLUNDERS) == 200


async def test_what_is_handed_back_is_gone(
    registered: ExtensionServer, client: Client, session: aiohttp.ClientSession
) -> None:
    await client.delete(APISERVICES, NAME)
    assert await status_of(session, FLUNDERS) == 404
    assert await aggregated(client) is None
    assert GROUP not in [group["name"] for group in (await read(client, "/apis"))["groups"]]
    assert PATH[1:] not in (await read(client, "/openapi/v3"))["paths"]


async def schemas(client: Client) -> str:
    """What is published of the other server's objects, a moment from now."""
    await asyncio.sleep(0.1)
    try:
        return (await client.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}"))[2].decode()
    except ApiError as error:
        assert error.code == 404
        return ""


async def test_an_api_server_may_stand_behind_another(
    server: ApiServerProcess,
    client: Client,
    session: aiohttp.ClientSession,
    tmp_path: Path,
    kubectl: Callable[..., Awaitable[str]],
) -> None:
    """Ours is an extension API server like any other: it believes the front proxy, and decides by its own roles."""
    flags = ["--bind-address", own_address(), "--advertise-address", own_address()]
    flags += ["--tls-san", f"{SERVICE}.{NAMESPACE}.svc"]
    flags += ["--requestheader-client-ca-file", str(server.data_dir / "pki" / "front-proxy-ca.crt")]
    with running(tmp_path / "behind", flags) as behind:
        await behind.wait_ready()
        async with await behind.client() as other:
            await other.create(CUSTOMRESOURCEDEFINITIONS, definition(GROUP, VERSION, "flunders", "Flunder"))
        bundle = base64.b64encode((behind.data_dir / "pki" / "ca.crt").read_bytes()).decode()
        extension = ExtensionServer(b"")
        extension.bundle, extension.port = bundle, behind.port
        await register(client, extension)
        assert [one["resource"] for one in (await discovered(client))["resources"]] == ["flunders"]
        applied = await kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(FLUNDER))
        assert "serverside-applied" in applied
        assert "one" in await kubectl("get", f"flunders.{GROUP}")
        # The other server's schemas may have been read before it had any; they are read again within a minute.
        while "How large it is." not in await schemas(client):
            pass
        assert "How large it is." in await kubectl("explain", "flunders.size")
        async with await behind.client() as other:
            assert (await read(other, f"{FLUNDERS}/one"))["size"] == 3
        # The roles here let her in, and those there do not.
        async with session.get(FLUNDERS, headers={"Authorization": "Bearer jane"}) as answer:
            assert answer.status == 403
            assert 'User "jane" cannot list resource "flunders"' in (await answer.json())["message"]


def definition(group: str, version: str, plural: str, kind: str) -> Object:
    size = {"type": "integer", "description": "How large it is."}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"size": size}}}
    return {
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "names": {"plural": plural, "kind": kind},
            "scope": "Namespaced",
            "versions": [{"name": version, "served": True, "storage": True, "schema": schema}],
        },
    }


async def test_controllers_delete_what_other_servers_hold(
    server: ApiServerProcess, client: Client, extension: ExtensionServer
) -> None:
    """Their servers are found while controllers run: with a namespace goes all that is in it."""
    with managing(server):
        await client.create(NAMESPACES, {"metadata": {"name": "full"}})
        await register(client, extension)
        path = f"{PATH}/namespaces/full/flunders"
        await client.request("POST", path, body=orjson.dumps(FLUNDER), headers={"Content-Type": "application/json"})
        await client.delete(NAMESPACES, "full")
        await until(lambda: gone(client, "full"))
    assert extension.objects == {}


async def test_a_server_that_is_gone_keeps_a_namespace_and_not_what_is_in_it(
    server: ApiServerProcess, client: Client, tmp_path: Path
) -> None:
    proxies = server.data_dir / "pki" / "front-proxy-ca.crt"
    async with extension_server(tmp_path, proxies=proxies, address=own_address()) as extension:
        await register(client, extension)
        await discovered(client)
    await client.create(NAMESPACES, {"metadata": {"name": "held"}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "inside"}}, "held")
    await client.delete(NAMESPACES, "held")

    async def told() -> Object | None:
        conditions = (await client.get(NAMESPACES, "held"))["status"].get("conditions")
        found = find_condition(conditions, "NamespaceDeletionDiscoveryFailure")
        return found if found is not None and found["status"] == "True" else None

    with managing(server):
        assert f"{GROUP_VERSION}: stale GroupVersion discovery: {GROUP_VERSION}" in (await until(told))["message"]
        assert not [one for one in await names(client, "held") if one == "inside"]
        await client.delete(APISERVICES, NAME)
        await until(lambda: gone(client, "held"))


async def names(client: Client, namespace: str) -> list[str]:
    return [one["metadata"]["name"] for one in (await client.list(CONFIGMAPS, namespace))["items"]]


async def gone(client: Client, namespace: str) -> bool:
    try:
        await client.get(NAMESPACES, namespace)
    except ApiError as error:
        return error.code == 404
    return False


async def test_definitions_have_apiservices_that_are_kept(client: Client) -> None:
    name, plural = "v1.crd.example.com", "things"

    async def there(*, gone: bool = False) -> Object | bool:
        try:
            found: Object = await client.get(APISERVICES, name)
        except ApiError:
            return gone
        return not gone and found

    await client.create(CUSTOMRESOURCEDEFINITIONS, definition("crd.example.com", "v1", plural, "Thing"))
    made = await until(there)
    assert made["metadata"]["labels"] == {"kube-aggregator.kubernetes.io/automanaged": "true"}
    assert made["spec"] == {
        "group": "crd.example.com",
        "version": "v1",
        "groupPriorityMinimum": 1000,
        "versionPriority": 100,
    }
    assert made["status"]["conditions"][0]["reason"] == "Local"
    await client.delete(APISERVICES, name)
    assert (await until(there))["metadata"]["uid"] != made["metadata"]["uid"]
    await client.delete(CUSTOMRESOURCEDEFINITIONS, f"{plural}.crd.example.com")
    await until(lambda: there(gone=True))


async def test_extension_servers_find_by_what_to_know_this_one(server: ApiServerProcess, client: Client) -> None:
    keys = server.data_dir / "pki"

    async def found() -> Object | None:
        try:
            data: Object = (await client.get(CONFIGMAPS, "extension-apiserver-authentication", "kube-system"))["data"]
        except ApiError:
            return None
        return data

    data = await until(found)
    assert data["client-ca-file"] == (keys / "ca.crt").read_text()
    assert data["requestheader-client-ca-file"] == (keys / "front-proxy-ca.crt").read_text()
    assert json.loads(data["requestheader-allowed-names"]) == ["front-proxy-client"]
    await client.delete(CONFIGMAPS, "extension-apiserver-authentication", "kube-system")
    assert await until(found) == data


async def test_a_front_proxy_names_users_and_nobody_else_does(server: ApiServerProcess, tmp_path: Path) -> None:
    keys, named = server.data_dir / "pki", {"X-Remote-User": "jane", "X-Remote-Group": "developers"}

    async def who(certificate: str, key: str, headers: dict[str, str]) -> tuple[int, Any]:
        tls = client_context(keys, keys)
        tls.load_cert_chain(keys / certificate, keys / key)
        connector = aiohttp.TCPConnector(ssl=tls)
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        path = f"{server.url}/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(path, json=review, headers=headers) as answer,
        ):
            return answer.status, (await answer.json()).get("status")

    status, found = await who("front-proxy-client.crt", "front-proxy-client.key", named)
    assert status == 201
    assert found["userInfo"] == {"username": "jane", "groups": ["developers", "system:authenticated"]}
    assert (await who("front-proxy-client.crt", "front-proxy-client.key", {}))[0] == 401
    admin = load(str(server.kubeconfig))
    (tmp_path / "admin.crt").write_text(admin.client_cert_pem or "")
    (tmp_path / "admin.key").write_text(admin.client_key_pem or "")
    _, found = await who(str(tmp_path / "admin.crt"), str(tmp_path / "admin.key"), named)
    assert found["userInfo"]["username"] == "kubernetes-admin"


async def test_a_session_that_is_taken_up_again_is_good_for_what_it_was(
    server: ApiServerProcess, tmp_path: Path
) -> None:
    """Old TLS does not verify a certificate again, whose authority then is the one of the first time."""
    keys, admin = server.data_dir / "pki", load(str(server.kubeconfig))
    (tmp_path / "admin.crt").write_text(admin.client_cert_pem or "")
    (tmp_path / "admin.key").write_text(admin.client_key_pem or "")

    def statuses(certificate: Path, key: Path, header: str) -> list[tuple[bool | None, bytes]]:
        tls = ssl.create_default_context(cafile=str(keys / "ca.crt"))
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
        tls.load_cert_chain(certificate, key)
        found, session = [], None
        for _ in range(2):
            with (
                socket.create_connection(("127.0.0.1", server.port), SECONDS_MAX) as plain,
                tls.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as secure,
            ):
                secure.sendall(f"GET /api HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n".encode())
                answer = b"".join(iter(lambda: secure.recv(4096), b""))
                found.append((secure.session_reused, answer[:12]))
                session = secure.session
        return found

    proxy = (keys / "front-proxy-client.crt", keys / "front-proxy-client.key")
    for certificate, key, header, status in (
        (tmp_path / "admin.crt", tmp_path / "admin.key", "", b"HTTP/1.1 200"),
        (*proxy, "X-Remote-User: jane\r\n", b"HTTP/1.1 200"),
        (*proxy, "", b"HTTP/1.1 401"),
    ):
        found = await asyncio.to_thread(statuses, certificate, key, header)
        assert found == [(False, status), (True, status)]
