"""What admission changes in a write, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    NAMESPACES,
    NODES,
    PODS,
    PRIORITYCLASSES,
    SERVICEACCOUNTS,
    SERVICES,
    Resource,
)
from apiserver.admission import (
    DELETE,
    UPDATE,
    Chain,
    Settings,
    mutate,
    namespace_lifecycle,
    plugins,
    pod_topology_labels,
    priority,
    service_account,
    service_addresses,
    taint_nodes_by_condition,
    validate,
)
from apiserver.admission.default_toleration_seconds import plugin as default_toleration_seconds
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.registry import strategy
from apiserver.webhook_client import WebhookClient
from tests.support.access import Objects, authorizer_of
from tests.support.admission import FakeCluster
from tests.unit.apiserver.admission.writes import admitted, named, refused, write

# Namespaces

LIFECYCLE = namespace_lifecycle.PLUGIN
ACTIVE = (NAMESPACES, {"metadata": {"name": "default"}, "status": {"phase": "Active"}})
TERMINATING = (NAMESPACES, {"metadata": {"name": "default"}, "status": {"phase": "Terminating"}})


async def test_objects_are_made_in_namespaces_that_exist():
    await admitted(LIFECYCLE, write(CONFIGMAPS, named()), FakeCluster(ACTIVE))
    error = await refused(LIFECYCLE, write(CONFIGMAPS, named()))
    assert (error.code, error.message) == (404, 'namespaces "default" not found')


async def test_nothing_new_comes_into_a_namespace_that_is_going():
    error = await refused(LIFECYCLE, write(CONFIGMAPS, named()), FakeCluster(TERMINATING))
    assert error.code == 403
    assert error.message == (
        'configmaps "x" is forbidden: unable to create new content in namespace default '
        "because it is being terminated"
    )
    assert error.details == {
        "name": "x",
        "kind": "configmaps",
        "causes": [
            {
                "reason": "NamespaceTerminating",
                "message": "namespace default is being terminated",
                "field": "metadata.namespace",
            }
        ],
    }
    await admitted(LIFECYCLE, write(CONFIGMAPS, named(), operation=UPDATE, old=named()), FakeCluster(TERMINATING))
    await admitted(LIFECYCLE, write(CONFIGMAPS, None, operation=DELETE, old=named()), FakeCluster())


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
async def test_the_first_namespaces_stay(name):
    error = await refused(LIFECYCLE, write(NAMESPACES, None, operation=DELETE, old={"metadata": {"name": name}}))
    assert error.message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'


@pytest.mark.parametrize(
    ("resource", "subresource"), [(PODS, "eviction"), (PODS, "binding"), (SERVICEACCOUNTS, "token")]
)
async def test_what_is_made_of_an_object_is_new_content_too(resource, subresource):
    made = write(resource, named(), subresource=subresource)
    error = await refused(LIFECYCLE, made, FakeCluster(TERMINATING))
    # Who drains a node goes on to the next pod by that.
    assert (error.details or {})["causes"][0]["reason"] == "NamespaceTerminating"
    await admitted(LIFECYCLE, made, FakeCluster(ACTIVE))


async def test_other_namespaces_can_be_deleted_and_made():
    other = {"metadata": {"name": "other"}}
    await admitted(LIFECYCLE, write(NAMESPACES, None, operation=DELETE, old=other))
    await admitted(LIFECYCLE, write(NAMESPACES, other))
    await admitted(LIFECYCLE, write(NODES, other))


# Accounts

ACCOUNTS = service_account.PLUGINS[0]


def account(name: str = "default", **fields: Any) -> tuple[Resource, Object]:
    return SERVICEACCOUNTS, named(name, **fields)


async def test_a_pod_acts_as_the_default_account_of_its_namespace():
    cluster = FakeCluster(account(imagePullSecrets=[{"name": "registry"}]))
    pod = await admitted(ACCOUNTS, write(PODS, named(spec={})), cluster)
    assert pod is not None
    assert pod["spec"] == {
        "serviceAccountName": "default",
        "serviceAccount": "default",
        "imagePullSecrets": [{"name": "registry"}],
    }
    assert cluster.waited == []


async def test_the_default_account_of_a_new_namespace_is_waited_for():
    cluster = FakeCluster(soon=account())
    pod = await admitted(ACCOUNTS, write(PODS, named(spec={})), cluster)
    assert pod is not None and pod["spec"]["serviceAccountName"] == "default"
    assert cluster.waited == [service_account.DEFAULT_ACCOUNT_WAIT_SECONDS]


async def test_a_pod_whose_account_does_not_exist_is_refused():
    cluster = FakeCluster(account())
    error = await refused(ACCOUNTS, write(PODS, named(spec={"serviceAccountName": "bob"})), cluster)
    assert error.message == (
        'pods "x" is forbidden: error looking up service account default/bob: serviceaccount "bob" not found'
    )
    assert cluster.waited == []


# Tolerations, priorities, taints


def toleration(key: str, seconds: int) -> dict[str, Any]:
    return {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}


NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
OWN = toleration(NOT_READY, 60)


@pytest.mark.parametrize(
    ("own", "stored"),
    [
        (None, [toleration(NOT_READY, 5), toleration(UNREACHABLE, 7)]),
        ([OWN], [OWN, toleration(UNREACHABLE, 7)]),
        ([{"operator": "Exists"}], [{"operator": "Exists"}]),
        (
            [{"operator": "Exists", "effect": "NoSchedule"}],
            [{"operator": "Exists", "effect": "NoSchedule"}, toleration(NOT_READY, 5), toleration(UNREACHABLE, 7)],
        ),
    ],
)
async def test_a_pod_stays_on_a_lost_node_for_some_seconds(own, stored):
    spec = {} if own is None else {"tolerations": own}
    pod = await admitted(default_toleration_seconds(5, 7), write(PODS, named(spec=spec)))
    assert pod is not None and pod["spec"]["tolerations"] == stored


CLASSES = [
    (PRIORITYCLASSES, {"metadata": {"name": name}, "value": value, "preemptionPolicy": "PreemptLowerPriority"})
    for name, value in (("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000))
]


@pytest.mark.parametrize(
    ("spec", "number"),
    [
        ({}, 0),
        ({"priority": 0}, 0),
        ({"priorityClassName": "system-cluster-critical"}, 2000000000),
        ({"priorityClassName": "system-node-critical", "priority": 2000001000}, 2000001000),
    ],
)
async def test_a_priority_class_becomes_a_number(spec, number):
    pod = await admitted(priority.PLUGIN, write(PODS, named(spec=spec)), FakeCluster(*CLASSES))
    assert pod is not None
    assert (pod["spec"]["priority"], pod["spec"]["preemptionPolicy"]) == (number, "PreemptLowerPriority")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"priorityClassName": "gold"}, "no PriorityClass with name gold was found"),
        (
            {"priority": 7},
            "the integer value of priority (7) must not be provided in pod spec; priority admission controller "
            "computed 0 from the given PriorityClass name",
        ),
        (
            {"preemptionPolicy": "Never"},
            "the string value of PreemptionPolicy (Never) must not be provided in pod spec; priority admission "
            "controller computed PreemptLowerPriority from the given PriorityClass name",
        ),
    ],
)
async def test_a_pod_does_not_choose_its_own_number(spec, why):
    error = await refused(priority.PLUGIN, write(PODS, named(spec=spec)), FakeCluster(*CLASSES))
    assert error.message == f'pods "x" is forbidden: {why}'


async def test_an_update_keeps_the_number_that_the_pod_has():
    old = named(spec={"priority": 9, "preemptionPolicy": "Never"})
    pod = await admitted(priority.PLUGIN, write(PODS, named(spec={}), operation=UPDATE, old=old))
    assert pod is not None and pod["spec"] == old["spec"]


async def test_a_new_node_takes_no_pods_yet():
    taint = {"key": NOT_READY, "effect": "NoSchedule"}
    for spec in ({}, {"taints": [taint]}):
        node = await admitted(
            taint_nodes_by_condition.PLUGIN, write(NODES, {"metadata": {"name": "n"}, "spec": spec})
        )
        assert node is not None and node["spec"]["taints"] == [taint]


# Topology

PLACE = {"topology.kubernetes.io/zone": "z", "topology.kubernetes.io/region": "r"}


async def test_a_pod_bears_the_zone_and_region_of_its_node():
    cluster = FakeCluster((NODES, {"metadata": {"name": "n1", "labels": {**PLACE, "disk": "ssd"}}}))
    binding = {"metadata": {"name": "x", "namespace": "default"}, "target": {"kind": "Node", "name": "n1"}}
    bound = await admitted(pod_topology_labels.PLUGIN, write(PODS, binding, subresource="binding"), cluster)
    assert bound is not None and bound["metadata"]["labels"] == PLACE
    placed = named(spec={"nodeName": "n1"})
    placed["metadata"]["labels"] = {"app": "a", "topology.kubernetes.io/zone": "made up"}
    pod = await admitted(pod_topology_labels.PLUGIN, write(PODS, placed), cluster)
    assert pod is not None and pod["metadata"]["labels"] == {"app": "a", **PLACE}


@pytest.mark.parametrize("spec", [{}, {"nodeName": "gone"}])
async def test_a_pod_without_a_node_is_nowhere(spec):
    pod = await admitted(pod_topology_labels.PLUGIN, write(PODS, named(spec=spec)))
    assert pod is not None and "labels" not in pod["metadata"]


# Services


def service(name: str = "x", **spec: Any) -> Object:
    made = named(name, spec={"ports": [{"port": 80}], **spec})
    strategy(SERVICES).default(made)
    return made


def numbered(*numbers: int) -> Any:
    """Chooses these, one after the other."""
    left = list(numbers)
    return lambda below: left.pop(0) % below


async def test_a_service_gets_an_address_and_a_family():
    made = await admitted(service_addresses.plugin("10.96.0.0/24", numbered(8)), write(SERVICES, service()))
    assert made is not None
    spec = made["spec"]
    assert (spec["clusterIP"], spec["clusterIPs"]) == ("10.96.0.10", ["10.96.0.10"])
    assert (spec["ipFamilies"], spec["ipFamilyPolicy"]) == (["IPv4"], "SingleStack")
    assert strategy(SERVICES).validate(made) == []


async def test_no_two_services_get_the_same_address_even_at_the_same_moment():
    plugin = service_addresses.plugin("10.96.0.0/28", lambda below: 0)
    stored = (SERVICES, named("old", "other", spec={"clusterIPs": ["10.96.0.2"]}))
    given = []
    for name in ("a", "b", "c"):
        made = await admitted(plugin, write(SERVICES, service(name)), FakeCluster(stored))
        assert made is not None
        given.append(made["spec"]["clusterIP"])
    assert given == ["10.96.0.3", "10.96.0.4", "10.96.0.5"]


async def test_a_range_that_is_full_is_said_to_be():
    plugin = service_addresses.plugin("10.96.0.0/30", lambda below: 0)
    await admitted(plugin, write(SERVICES, service("a")))
    error = await refused(plugin, write(SERVICES, service("b")))
    assert (error.code, error.message) == (500, "failed to allocate a serviceIP: range is full")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"clusterIP": "10.1.0.1"},
            'spec.clusterIPs: Invalid value: ["10.1.0.1"]: failed to allocate IP 10.1.0.1: the provided IP '
            "(10.1.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/24",
        ),
        (
            {"clusterIP": "10.96.0.2"},
            'spec.clusterIPs: Invalid value: ["10.96.0.2"]: failed to allocate IP 10.96.0.2: '
            "provided IP is already allocated",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            "spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid "
            "ports is 30000-32767",
        ),
        (
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]},
            "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
        ),
        (
            {"ipFamilyPolicy": "RequireDualStack"},
            'spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
            "this cluster is not configured for dual-stack services",
        ),
        (
            {"ipFamilies": ["IPv6"]},
            'spec.ipFamilies[0]: Invalid value: "IPv6": not configured on this cluster',
        ),
    ],
)
async def test_an_address_or_port_that_can_not_be_had_is_refused(spec, why):
    other = named("old", spec={"clusterIPs": ["10.96.0.2"], "ports": [{"port": 1, "nodePort": 30080}]})
    plugin = service_addresses.plugin("10.96.0.0/24")
    error = await refused(plugin, write(SERVICES, service(**spec)), FakeCluster((SERVICES, other)))
    assert (error.code, error.message) == (422, f'Service "x" is invalid: {why}')


async def test_node_ports_are_found_and_shared_between_protocols():
    ports = [
        {"port": 53, "name": "udp", "protocol": "UDP"},
        {"port": 53, "name": "tcp"},
        {"port": 9, "name": "other", "nodePort": 30001},
    ]
    plugin = service_addresses.plugin("10.96.0.0/24", numbered(0, 1, 2))
    made = await admitted(plugin, write(SERVICES, service(type="NodePort", ports=ports)))
    assert made is not None
    assert [port["nodePort"] for port in made["spec"]["ports"]] == [30002, 30002, 30001]


async def test_an_update_keeps_address_and_ports():
    plugin = service_addresses.plugin("10.96.0.0/24")
    old = await admitted(plugin, write(SERVICES, service(type="NodePort")))
    assert old is not None
    new = await admitted(
        plugin,
        write(SERVICES, service(type="NodePort", selector={"a": "b"}), operation=UPDATE, old=old),
        FakeCluster((SERVICES, old)),
    )
    assert new is not None
    assert new["spec"]["clusterIP"] == old["spec"]["clusterIP"]
    assert new["spec"]["ports"] == old["spec"]["ports"]


async def test_headless_services_and_names_have_no_address():
    plugin = service_addresses.plugin("10.96.0.0/24")
    headless = await admitted(plugin, write(SERVICES, service(clusterIP="None", selector={"a": "b"})))
    assert headless is not None
    assert (headless["spec"]["clusterIPs"], headless["spec"]["ipFamilies"]) == (["None"], ["IPv4"])
    name = await admitted(plugin, write(SERVICES, service(type="ExternalName", externalName="a.b")))
    assert name is not None and "clusterIP" not in name["spec"]


# All together


def table_over(cluster: FakeCluster) -> Chain:
    return plugins(Settings(), authorizer_of(Objects()), cluster, Served(Catalog()), WebhookClient(cluster))


async def test_a_usual_pod_passes_all_plugins():
    cluster = FakeCluster(ACTIVE, account())
    attributes = write(PODS, named(spec={"containers": [{"name": "c", "image": "i:1"}]}))
    strategy(PODS).default(attributes.obj or {})
    table = table_over(cluster)
    await mutate(table, attributes, cluster)
    await validate(table, attributes, cluster)
    assert attributes.obj is not None
    strategy(PODS).prepare_create(attributes.obj)
    assert strategy(PODS).validate(attributes.obj) == []
    assert attributes.obj["spec"]["priority"] == 0
    assert [one["tolerationSeconds"] for one in attributes.obj["spec"]["tolerations"]] == [5, 5]


def test_plugins_look_at_subresources_only_when_they_say_so():
    attributes = write(PODS, named(spec={}), subresource="binding")
    table = table_over(FakeCluster())
    handling = [plugin.name for plugin in table.plugins if plugin.handles(attributes)]
    assert handling == [
        "NamespaceLifecycle",
        "PodTopologyLabels",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionWebhook",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionWebhook",
    ]
