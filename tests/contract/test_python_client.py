"""The official Python client against a real API server: typed objects, patches, watches, errors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess

kubernetes = pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")

NAMESPACE = "python-client"


@pytest.fixture(scope="module")
def core(server: ApiServerProcess) -> Any:
    kubernetes.config.load_kube_config(str(server.kubeconfig))
    core = kubernetes.client.CoreV1Api()
    core.create_namespace({"metadata": {"name": NAMESPACE}})
    core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "default"}})
    return core


def deployment(replicas: int) -> Any:
    client = kubernetes.client
    container = client.V1Container(name="c", image="web:1", ports=[client.V1ContainerPort(container_port=80)])
    template = client.V1PodTemplateSpec(
        metadata=client.V1ObjectMeta(labels={"app": "web"}), spec=client.V1PodSpec(containers=[container])
    )
    selector = client.V1LabelSelector(match_labels={"app": "web"})
    spec = client.V1DeploymentSpec(replicas=replicas, selector=selector, template=template)
    return client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=spec)


def test_typed_objects_go_there_and_back(core: Any) -> None:
    apps = kubernetes.client.AppsV1Api()
    made = apps.create_namespaced_deployment(NAMESPACE, deployment(2))
    assert (made.spec.replicas, made.spec.strategy.type, made.metadata.generation) == (2, "RollingUpdate", 1)
    made.spec.replicas = 3
    assert apps.replace_namespaced_deployment("web", NAMESPACE, made).spec.replicas == 3
    patched = apps.patch_namespaced_deployment("web", NAMESPACE, {"spec": {"replicas": 4}})
    assert patched.spec.replicas == 4
    scale = apps.read_namespaced_deployment_scale("web", NAMESPACE)
    assert (scale.spec.replicas, scale.status.selector) == (4, "app=web")
    listed = apps.list_namespaced_deployment(NAMESPACE, label_selector="app!=none")
    assert [item.metadata.name for item in listed.items] == ["web"]
    apps.delete_namespaced_deployment("web", NAMESPACE)
    assert apps.list_deployment_for_all_namespaces().items == []


def test_a_watch_goes_on_from_a_list(core: Any) -> None:
    version = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
    core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": "a"}, "data": {"x": "1"}})
    core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"x": "2"}})
    core.delete_namespaced_config_map("a", NAMESPACE)
    stream = kubernetes.watch.Watch().stream(
        core.list_namespaced_config_map, NAMESPACE, resource_version=version, timeout_seconds=2
    )
    seen = [(event["type"], event["object"].data) for event in stream]
    assert seen == [("ADDED", {"x": "1"}), ("MODIFIED", {"x": "2"}), ("DELETED", {"x": "2"})]


def test_pages_are_followed_by_their_tokens(core: Any) -> None:
    for number in range(5):
        core.create_namespaced_config_map(NAMESPACE, {"metadata": {"name": f"page-{number}"}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(NAMESPACE, limit=2, _continue=token)
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"page-{number}" for number in range(5)]
    core.delete_collection_namespaced_config_map(NAMESPACE)
    assert core.list_namespaced_config_map(NAMESPACE).items == []


def test_errors_are_statuses(core: Any) -> None:
    with pytest.raises(kubernetes.client.ApiException) as missing:
        core.read_namespaced_pod("none", NAMESPACE)
    assert missing.value.status == 404 and '"reason":"NotFound"' in missing.value.body
    with pytest.raises(kubernetes.client.ApiException) as wrong:
        core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": "a"}, "spec": {"containers": []}})
    assert wrong.value.status == 422 and "spec.containers" in wrong.value.body


def test_dynamic_clients_find_their_way(core: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(kubernetes.client.ApiClient())
    pods = dynamic.resources.get(api_version="v1", kind="Pod")
    spec = {"containers": [{"name": "c", "image": "i"}]}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "dynamic"}, "spec": spec}
    assert pods.create(body=body, namespace=NAMESPACE).spec.restartPolicy == "Always"
    assert [item.metadata.name for item in pods.get(namespace=NAMESPACE).items] == ["dynamic"]
    pods.delete(name="dynamic", namespace=NAMESPACE)


def test_configurations_are_applied_by_their_managers(core: Any) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(kubernetes.client.ApiClient())
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"x": "1"}}
    maps.server_side_apply(body=body, name="applied", namespace=NAMESPACE, field_manager="one")
    other = {**body, "data": {"x": "2"}}
    with pytest.raises(kubernetes.dynamic.exceptions.ConflictError) as refused:
        maps.server_side_apply(body=other, name="applied", namespace=NAMESPACE, field_manager="two")
    assert 'conflict with \\"one\\": .data.x' in refused.value.body
    maps.server_side_apply(body=other, name="applied", namespace=NAMESPACE, field_manager="two", force_conflicts=True)
    stored = core.read_namespaced_config_map("applied", NAMESPACE)
    assert (stored.data, [entry.manager for entry in stored.metadata.managed_fields]) == ({"x": "2"}, ["two"])
    core.delete_namespaced_config_map("applied", NAMESPACE)


def test_files_are_created_from(core: Any, tmp_path: Any) -> None:
    file = tmp_path / "some.yaml"
    file.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: of-file}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: of-file}\nspec: {ports: [{port: 80}]}\n"
    )
    kubernetes.utils.create_from_yaml(kubernetes.client.ApiClient(), str(file), namespace=NAMESPACE)
    assert core.read_namespaced_service("of-file", NAMESPACE).spec.ports[0].port == 80
    gone = core.delete_namespaced_service("of-file", NAMESPACE)
    assert (gone.kind, gone.metadata.name) == ("Service", "of-file")
    core.delete_namespaced_config_map("of-file", NAMESPACE)


def test_custom_objects_have_an_api_of_their_own(core: Any) -> None:
    extensions, custom = kubernetes.client.ApiextensionsV1Api(), kubernetes.client.CustomObjectsApi()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema, "subresources": {"status": {}}}
    names = {"plural": "gadgets", "singular": "gadget", "kind": "Gadget"}
    spec = {"group": "example.org", "scope": "Namespaced", "names": names, "versions": [version]}
    extensions.create_custom_resource_definition({"metadata": {"name": "gadgets.example.org"}, "spec": spec})
    established = kubernetes.watch.Watch().stream(
        extensions.list_custom_resource_definition,
        field_selector="metadata.name=gadgets.example.org",
        timeout_seconds=30,
    )
    for event in established:
        conditions = (event["object"].status and event["object"].status.conditions) or []
        if any(one.type == "Established" and one.status == "True" for one in conditions):
            break
    where = ("example.org", "v1", NAMESPACE, "gadgets")
    body = {"apiVersion": "example.org/v1", "kind": "Gadget", "metadata": {"name": "g"}, "size": 3}
    custom.create_namespaced_custom_object(*where, body)
    custom.patch_namespaced_custom_object_status(*where, "g", {"status": {"ready": True}})
    found = custom.list_namespaced_custom_object(*where)["items"][0]
    assert (found["size"], found["status"]) == (3, {"ready": True})
    custom.delete_namespaced_custom_object(*where, "g")
    extensions.delete_custom_resource_definition("gadgets.example.org")


def test_metadata_and_rights_are_asked_for(core: Any) -> None:
    review = kubernetes.client.AuthorizationV1Api().create_self_subject_access_review(
        {"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}}
    )
    assert review.status.allowed is True
    who = kubernetes.client.AuthenticationV1Api().create_self_subject_review({})
    assert who.status.user_info.username == "kubernetes-admin"
    token = core.create_namespaced_service_account_token("default", NAMESPACE, {"spec": {"audiences": ["x"]}})
    assert token.status.token.count(".") == 2
    assert kubernetes.client.VersionApi().get_code().minor == "35"
