"""A pod that can't work is refused, in Kubernetes' words and with the field named."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.resources import PODS
from tests.unit.apiserver.registry.factories import container_pod, pod, problems

C = "spec.containers[0]"
LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation "
    "is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
PORT = "must be between 1 and 65535, inclusive"


def volume(kind: str, source: dict[str, Any]) -> Any:
    return pod(volumes=[{"name": "v", kind: source}])


def mounting(*mounts: dict[str, Any], **container: Any) -> Any:
    made = container_pod(volumeMounts=list(mounts), **container)
    made["spec"]["volumes"] = [{"name": "v", "emptyDir": {}}]
    return made


def node_affinity(**requirement: Any) -> Any:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [requirement]}]}
    return pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}})


REQUIRED_NODES = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


@pytest.mark.parametrize(
    "right",
    [
        pod(),
        pod(restartPolicy="Never", nodeSelector={"disk": "ssd"}, hostname="h", subdomain="s", priorityClassName="p"),
        container_pod(ports=[{"containerPort": 80, "name": "http"}, {"containerPort": 53, "protocol": "UDP"}]),
        container_pod(env=[{"name": "1.odd name", "value": "x"}, {"name": "A", "value": ""}]),
        container_pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}}]),
        container_pod(env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}}]),
        container_pod(resources={"limits": {"example.com/gpu": "1"}}),
        container_pod(resources={"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}}),
        container_pod(readinessProbe={"tcpSocket": {"port": "http"}}, livenessProbe={"exec": {"command": ["true"]}}),
        container_pod(lifecycle={"preStop": {"sleep": {"seconds": 5}}}),
        container_pod(securityContext={"runAsUser": 1000, "capabilities": {"drop": ["ALL"]}, "privileged": True}),
        mounting({"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/b", "subPath": "x/y"}),
        pod(
            initContainers=[
                {"name": "i", "image": "i", "restartPolicy": "Always", "livenessProbe": {"grpc": {"port": 1}}}
            ]
        ),
        pod(tolerations=[{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"}]),
        pod(dnsPolicy="None", dnsConfig={"nameservers": ["10.0.0.10"], "searches": ["a.b.", "_x.y"]}),
        pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["db.example"]}]),
        pod(securityContext={"sysctls": [{"name": "net.ipv4.tcp_syncookies", "value": "1"}], "fsGroup": 0}),
        volume("hostPath", {"path": "/var/log", "type": "DirectoryOrCreate"}),
        volume("projected", {"sources": [{"configMap": {"name": "c"}}, {"secret": {"name": "s"}}]}),
        node_affinity(key="zone", operator="In", values=["a"]),
        node_affinity(key="cores", operator="Gt", values=["4"]),
    ],
)
def test_what_is_right_is_taken(right):
    assert problems(PODS, right) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (pod(containers=[]), "spec.containers: Required value"),
        (pod(containers=[{"image": "i"}]), f"{C}.name: Required value"),
        (pod(containers=[{"name": "Web", "image": "i"}]), f'{C}.name: Invalid value: "Web": {LABEL}'),
        (pod(containers=[{"name": "a.b", "image": "i"}]), f'{C}.name: Invalid value: "a.b": must not contain dots'),
        (pod(containers=[{"name": "web"}]), f"{C}.image: Required value"),
        (
            pod(containers=[{"name": "web", "image": " nginx"}]),
            f'{C}.image: Invalid value: " nginx": must not have leading or trailing whitespace',
        ),
        (
            pod(containers=[{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]),
            'spec.containers[1].name: Duplicate value: "a"',
        ),
        (
            pod(initContainers=[{"name": "web", "image": "i"}]),
            'spec.initContainers[0].name: Duplicate value: "web"',
        ),
        (
            container_pod(imagePullPolicy="Sometimes"),
            f'{C}.imagePullPolicy: Unsupported value: "Sometimes": '
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            pod(restartPolicy="Often"),
            'spec.restartPolicy: Unsupported value: "Often": supported values: "Always", "Never", "OnFailure"',
        ),
        (
            pod(dnsPolicy="Magic"),
            'spec.dnsPolicy: Unsupported value: "Magic": supported values: '
            '"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"',
        ),
        (pod(dnsPolicy="None"), "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"),
        # Ports.
        (container_pod(ports=[{}]), f"{C}.ports[0].containerPort: Required value"),
        (
            container_pod(ports=[{"containerPort": 70000}]),
            f"{C}.ports[0].containerPort: Invalid value: 70000: {PORT}",
        ),
        (
            container_pod(ports=[{"containerPort": 80, "name": "a-very-long-port-name"}]),
            f'{C}.ports[0].name: Invalid value: "a-very-long-port-name": must be no more than 15 characters',
        ),
        (
            container_pod(ports=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
            f'{C}.ports[1].name: Duplicate value: "a"',
        ),
        (
            container_pod(ports=[{"containerPort": 80, "protocol": "HTTP"}]),
            f'{C}.ports[0].protocol: Unsupported value: "HTTP": supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            container_pod(ports=[{"containerPort": 80, "hostPort": 1}, {"containerPort": 81, "hostPort": 1}]),
            f'{C}.ports[1].hostPort: Duplicate value: "TCP//1"',
        ),
        (
            pod(
                hostNetwork=True,
                containers=[{"name": "a", "image": "i", "ports": [{"containerPort": 1, "hostPort": 2}]}],
            ),
            f"{C}.ports[0].hostPort: Invalid value: 2: must match `containerPort` when `hostNetwork` is true",
        ),
        # Environment.
        (container_pod(env=[{"value": "x"}]), f"{C}.env[0].name: Required value"),
        (
            container_pod(env=[{"name": "a=b"}]),
            f'{C}.env[0].name: Invalid value: "a=b": '
            "a valid environment variable name must consist only of printable ASCII characters other than '='",
        ),
        (
            container_pod(env=[{"name": "A", "valueFrom": {}}]),
            f'{C}.env[0].valueFrom: Invalid value: "": must specify one of: '
            "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        (
            container_pod(
                env=[{"name": "A", "value": "x", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}]
            ),
            f'{C}.env[0].valueFrom: Invalid value: "": may not be specified when `value` is not empty',
        ),
        (
            container_pod(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "c", "key": "a b"}}}]),
            f'{C}.env[0].valueFrom.secretKeyRef.key: Invalid value: "a b": a valid config key must consist of '
            "alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used "
            "for validation is '[-._a-zA-Z0-9]+')",
        ),
        (
            container_pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.color"}}}]),
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.color": '
            "error converting fieldPath: field label not supported: spec.color",
        ),
        (
            container_pod(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]),
            f'{C}.env[0].valueFrom.fieldRef.fieldPath: Unsupported value: "metadata.labels": supported values: '
            '"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", '
            '"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
        ),
        (
            container_pod(
                env=[{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "2"}}}]
            ),
            f'{C}.env[0].valueFrom.resourceFieldRef.divisor: Invalid value: "limits.cpu": '
            "only divisor's values 1m and 1 are supported with the cpu resource",
        ),
        (
            container_pod(envFrom=[{"prefix": "X"}]),
            f'{C}.envFrom: Invalid value: "": must specify one of: `configMapRef` or `secretRef`',
        ),
        # Resources.
        (
            container_pod(resources={"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            f'{C}.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            container_pod(resources={"requests": {"cpu": "-1"}}),
            f'{C}.resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
        ),
        (
            container_pod(resources={"requests": {"example.com/gpu": "1"}}),
            f"{C}.resources.limits: Required value: Limit must be set for non overcommitable resources",
        ),
        (
            container_pod(resources={"limits": {"hugepages-2Mi": "2Mi"}}),
            f"{C}.resources: Forbidden: HugePages require cpu or memory",
        ),
        (
            pod(
                resources={"requests": {"cpu": "1"}},
                containers=[{"name": "a", "image": "i", "resources": {"requests": {"cpu": "2"}}}],
            ),
            'spec.resources.requests[cpu]: Invalid value: "1": '
            "must be greater than or equal to aggregate container requests of 2",
        ),
        # Probes and hooks.
        (container_pod(livenessProbe={}), f"{C}.livenessProbe: Required value: must specify a handler type"),
        (
            container_pod(livenessProbe={"exec": {"command": ["a"]}, "grpc": {"port": 1}}),
            f"{C}.livenessProbe.grpc: Forbidden: may not specify more than 1 handler type",
        ),
        (
            container_pod(livenessProbe={"exec": {"command": ["a"]}, "successThreshold": 2}),
            f"{C}.livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            container_pod(readinessProbe={"httpGet": {"port": 0}}),
            f"{C}.readinessProbe.httpGet.port: Invalid value: 0: {PORT}",
        ),
        (
            container_pod(readinessProbe={"tcpSocket": {"port": 1}, "periodSeconds": -1}),
            f"{C}.readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            container_pod(readinessProbe={"exec": {}}),
            f"{C}.readinessProbe.exec.command: Required value",
        ),
        (
            container_pod(readinessProbe={"tcpSocket": {"port": 1}, "terminationGracePeriodSeconds": 3}),
            f"{C}.readinessProbe.terminationGracePeriodSeconds: Invalid value: 3: "
            "must not be set for readinessProbes",
        ),
        (
            container_pod(lifecycle={"preStop": {"sleep": {"seconds": 31}}}),
            f"{C}.lifecycle.preStop.sleep: Invalid value: 31: "
            "must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        (
            pod(initContainers=[{"name": "i", "image": "i", "readinessProbe": {"tcpSocket": {"port": 1}}}]),
            "spec.initContainers[0].readinessProbe: Forbidden: "
            "may not be set for init containers without restartPolicy=Always",
        ),
        # Volumes and mounts.
        (pod(volumes=[{"name": "v"}, {"name": "v"}]), 'spec.volumes[1].name: Duplicate value: "v"'),
        (pod(volumes=[{"emptyDir": {}}]), "spec.volumes[0].name: Required value"),
        (
            pod(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (volume("hostPath", {}), "spec.volumes[0].hostPath.path: Required value"),
        (
            volume("hostPath", {"path": "/a/../b"}),
            "spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
        ),
        (
            volume("hostPath", {"path": "/x", "type": "Folder"}),
            'spec.volumes[0].hostPath.type: Unsupported value: "Folder": supported values: "", "BlockDevice", '
            '"CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"',
        ),
        (volume("configMap", {}), "spec.volumes[0].configMap.name: Required value"),
        (volume("secret", {}), "spec.volumes[0].secret.secretName: Required value"),
        (
            volume("secret", {"secretName": "s", "defaultMode": 0o1000}),
            "spec.volumes[0].secret.defaultMode: Invalid value: 512: "
            "must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            volume("configMap", {"name": "c", "items": [{"key": "k", "path": "../x"}]}),
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            volume("configMap", {"name": "c", "items": [{"key": "k", "path": "/x"}]}),
            'spec.volumes[0].configMap.items[0].path: Invalid value: "/x": must be a relative path',
        ),
        (volume("persistentVolumeClaim", {}), "spec.volumes[0].persistentVolumeClaim.claimName: Required value"),
        (
            volume("nfs", {"server": "s", "path": "x"}),
            'spec.volumes[0].nfs.path: Invalid value: "x": must be an absolute path',
        ),
        (
            volume("emptyDir", {"sizeLimit": "-1"}),
            "spec.volumes[0].emptyDir.sizeLimit: Forbidden: SizeLimit field must be a valid resource quantity",
        ),
        (
            volume(
                "projected",
                {
                    "sources": [
                        {"secret": {"name": "s", "items": [{"key": "a", "path": "p"}, {"key": "b", "path": "p"}]}}
                    ]
                },
            ),
            'spec.volumes[0].projected: Invalid value: "s": conflicting duplicate paths',
        ),
        (volume("image", {}), "spec.volumes[0].image.reference: Required value"),
        (
            volume("ephemeral", {"volumeClaimTemplate": {"spec": {"resources": {"requests": {"storage": "1Gi"}}}}}),
            "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Required value: "
            "at least 1 access mode is required",
        ),
        (mounting({"name": "x", "mountPath": "/a"}), f'{C}.volumeMounts[0].name: Not found: "x"'),
        (mounting({"name": "v"}), f"{C}.volumeMounts[0].mountPath: Required value"),
        (
            mounting({"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a"}),
            f'{C}.volumeMounts[1].mountPath: Invalid value: "/a": must be unique',
        ),
        (
            mounting({"name": "v", "mountPath": "/a", "subPath": "/x"}),
            f'{C}.volumeMounts[0].subPath: Invalid value: "/x": must be a relative path',
        ),
        (
            mounting({"name": "v", "mountPath": "/a", "mountPropagation": "Bidirectional"}),
            f"{C}.volumeMounts[0].mountPropagation: Forbidden: "
            "Bidirectional mount propagation is available only to privileged containers",
        ),
        (
            container_pod(volumeDevices=[{"name": "x", "devicePath": "/dev/x"}]),
            f'{C}.volumeDevices[0].name: Not found: "x"',
        ),
        # Security.
        (
            container_pod(securityContext={"runAsUser": -1}),
            f"{C}.securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            container_pod(securityContext={"privileged": True, "allowPrivilegeEscalation": False}),
            f'{C}.securityContext: Invalid value: {{"privileged":true,"allowPrivilegeEscalation":false}}: '
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
        (
            container_pod(securityContext={"seccompProfile": {"type": "Localhost"}}),
            f"{C}.securityContext.seccompProfile.localhostProfile: Required value: "
            "must be set when seccomp type is Localhost",
        ),
        (
            container_pod(securityContext={"seccompProfile": {"type": "Strict"}}),
            f'{C}.securityContext.seccompProfile.type: Unsupported value: "Strict": '
            'supported values: "Localhost", "RuntimeDefault", "Unconfined"',
        ),
        (
            container_pod(securityContext={"procMount": "Unmasked"}),
            f'{C}.securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`',
        ),
        (
            pod(securityContext={"sysctls": [{"name": "kernel.shmmax", "value": "1"}]}, hostIPC=True),
            'spec.securityContext.sysctls[0].name: Invalid value: "kernel.shmmax": '
            "may not be specified when 'hostIPC' is true",
        ),
        (
            pod(shareProcessNamespace=True, hostPID=True),
            "spec.securityContext.shareProcessNamespace: Invalid value: true: "
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ),
        (pod(hostUsers=False, hostNetwork=True), "spec.hostNetwork: Forbidden: when `hostUsers` is false"),
        (pod(os={"name": "plan9"}), 'spec.os: Unsupported value: "plan9": supported values: "linux", "windows"'),
        # Scheduling.
        (pod(nodeSelector={"disk": "a b"}), f'spec.nodeSelector: Invalid value: "a b": {LABEL_VALUE}'),
        (
            pod(tolerations=[{"key": "a", "operator": "Exists", "value": "b"}]),
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (
            pod(tolerations=[{"operator": "Equal"}]),
            'spec.tolerations[0].operator: Invalid value: "Equal": operator must be Exists when `key` is empty, '
            'which means "match all values and all keys"',
        ),
        (
            pod(tolerations=[{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]),
            'spec.tolerations[0].effect: Invalid value: "": '
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            pod(tolerations=[{"key": "a", "operator": "Exists", "effect": "Never"}]),
            'spec.tolerations[0].effect: Unsupported value: "Never": '
            'supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"',
        ),
        (
            node_affinity(key="zone", operator="In"),
            f"{REQUIRED_NODES}[0].matchExpressions[0].values: Required value: "
            "must be specified when `operator` is 'In' or 'NotIn'",
        ),
        (
            node_affinity(key="zone", operator="Like", values=["a"]),
            f'{REQUIRED_NODES}[0].matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator',
        ),
        (
            pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
            f"{REQUIRED_NODES}: Required value: must have at least one node selector term",
        ),
        (
            pod(
                affinity={
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"labelSelector": {}, "topologyKey": "a b"}
                        ]
                    }
                }
            ),
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: "
            "Invalid value: \"a b\": name part must consist of alphanumeric characters, '-', '_' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used "
            "for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        ),
        (
            pod(topologySpreadConstraints=[{"maxSkew": 0, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            pod(nodeName="n1", schedulingGates=[{"name": "g"}]),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            pod(ephemeralContainers=[{"name": "debug", "image": "i"}]),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        # Names and the rest.
        (pod(hostname="a.b"), 'spec.hostname: Invalid value: "a.b": must not contain dots'),
        (pod(serviceAccountName="A"), f'spec.serviceAccountName: Invalid value: "A": {SUBDOMAIN}'),
        (
            pod(activeDeadlineSeconds=0),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            pod(hostAliases=[{"ip": "host"}]),
            'spec.hostAliases[0].ip: Invalid value: "host": '
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            pod(preemptionPolicy="Always"),
            'spec.preemptionPolicy: Unsupported value: "Always": supported values: "Never", "PreemptLowerPriority"',
        ),
        (
            {**pod(), "metadata": {"name": "Web", "namespace": "default"}},
            f'metadata.name: Invalid value: "Web": {SUBDOMAIN}',
        ),
        (
            {**pod(), "metadata": {"name": "web", "namespace": "default", "labels": {"app": "-"}}},
            f'metadata.labels: Invalid value: "-": {LABEL_VALUE}',
        ),
    ],
)
def test_what_is_wrong_is_named_in_kubernetes_words(wrong, told):
    assert problems(PODS, wrong) == [told]


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (
            {"disk": "1"},
            [
                'Invalid value: "disk": must be a standard resource type or fully qualified',
                'Invalid value: "disk": must be a standard resource for containers',
            ],
        ),
        ({"pods": "1"}, ['Invalid value: "pods": must be a standard resource for containers']),
        ({"example.com/gpu": "500m"}, ['Invalid value: "500m": must be an integer']),
        (
            {"hugepages-2Mi": "3Mi", "cpu": "1"},
            ['Invalid value: "3Mi": 3Mi is not positive integer multiple of hugepages-2Mi'],
        ),
    ],
)
def test_what_is_wrong_with_a_limit_is_wrong_with_the_request_that_follows_from_it(limits, told):
    name = next(iter(limits))
    places = (f"{C}.resources.{kind}[{name}]" for kind in ("limits", "requests"))
    wrong = container_pod(resources={"limits": limits})
    assert problems(PODS, wrong) == [f"{place}: {text}" for place in places for text in told]


def test_all_that_is_wrong_is_told_in_the_order_of_the_spec():
    wrong = pod(
        volumes=[{"name": "v", "hostPath": {}}],
        containers=[{"name": "web"}, {"image": "i"}],
        restartPolicy="Often",
        tolerations=[{"key": "a", "operator": "Like"}],
    )
    assert [told.partition(":")[0] for told in problems(PODS, wrong)] == [
        "spec.volumes[0].hostPath.path",
        "spec.containers[0].image",
        "spec.containers[1].name",
        "spec.restartPolicy",
        "spec.tolerations[0].operator",
    ]
