"""The one table of built-in resources.

Discovery, routing, OpenAPI, authorization, kctl and the tests all derive from it: a resource is added by adding
a line here (and, where it needs rules of its own, a strategy in the API server).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

STANDARD_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind of object that the API serves, and its names."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = STANDARD_VERBS
    # (group, version, kind) that its objects are stored as, where they are also served under another name.
    stored_as: tuple[str, str, str] | None = None
    # The kind of its lists, where that is not its own with "List" after it.
    list_name: str = ""
    # A deletion is answered with the object that is gone, and not only with a Status.
    returns_deleted: bool = False

    @property
    def list_kind(self) -> str:
        """`PodList`."""
        return self.list_name or f"{self.kind}List"

    @property
    def api_version(self) -> str:
        """`v1`, or `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """`pods`, or `deployments.apps`: how messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def key(self) -> tuple[str, str]:
        """(group, plural): what it is stored and looked up under."""
        return self.group, self.plural

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of the collection, of an object, or of a subresource."""
        path = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        if namespace and self.namespaced:
            path = f"{path}/namespaces/{namespace}"
        path = f"{path}/{self.plural}"
        if name:
            path = f"{path}/{name}"
        return f"{path}/{subresource}" if subresource else path


def _v1(group: str, kind: str, plural: str, *short: str, **more: object) -> Resource:
    return Resource(group, "v1", kind, plural, kind.lower(), short, **more)  # type: ignore[arg-type]


_core = partial(_v1, "")
_admission = partial(_v1, "admissionregistration.k8s.io", namespaced=False)
_apps = partial(_v1, "apps")
_authentication = partial(_v1, "authentication.k8s.io", namespaced=False, verbs=("create",))
_authorization = partial(_v1, "authorization.k8s.io", verbs=("create",))
_device = partial(_v1, "resource.k8s.io", returns_deleted=True)
_flow = partial(_v1, "flowcontrol.apiserver.k8s.io", namespaced=False, subresources=("status",))
_network = partial(_v1, "networking.k8s.io")
_rbac = partial(_v1, "rbac.authorization.k8s.io")
_storage = partial(_v1, "storage.k8s.io", namespaced=False)

ALL = ("all",)
API_EXTENSIONS = ("api-extensions",)
STATUS = ("status",)
SCALABLE = ("status", "scale")
# What is asked and answered, and stored nowhere.
ANSWERED = ("create",)

PODS = _core(
    "Pod",
    "pods",
    "po",
    categories=ALL,
    subresources=(
        *("status", "binding", "ephemeralcontainers", "eviction", "resize"),
        *("log", "exec", "attach", "portforward", "proxy"),
    ),
    returns_deleted=True,
)
BINDINGS = _core("Binding", "bindings", verbs=ANSWERED)
SERVICES = _core("Service", "services", "svc", categories=ALL, subresources=("status", "proxy"), returns_deleted=True)
ENDPOINTS = _core("Endpoints", "endpoints", "ep")
NODES = _core("Node", "nodes", "no", namespaced=False, subresources=("status", "proxy"))
NAMESPACES = _core(
    "Namespace",
    "namespaces",
    "ns",
    namespaced=False,
    subresources=("status", "finalize"),
    verbs=tuple(verb for verb in STANDARD_VERBS if verb != "deletecollection"),
)
CONFIGMAPS = _core("ConfigMap", "configmaps", "cm")
SECRETS = _core("Secret", "secrets")
SERVICEACCOUNTS = _core("ServiceAccount", "serviceaccounts", "sa", subresources=("token",), returns_deleted=True)
REPLICATIONCONTROLLERS = _core(
    "ReplicationController", "replicationcontrollers", "rc", categories=ALL, subresources=SCALABLE
)
PERSISTENTVOLUMES = _core(
    "PersistentVolume", "persistentvolumes", "pv", namespaced=False, subresources=STATUS, returns_deleted=True
)
PERSISTENTVOLUMECLAIMS = _core(
    "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subresources=STATUS, returns_deleted=True
)
EVENTS = _core("Event", "events", "ev")
LIMITRANGES = _core("LimitRange", "limitranges", "limits")
RESOURCEQUOTAS = _core("ResourceQuota", "resourcequotas", "quota", subresources=STATUS, returns_deleted=True)
PODTEMPLATES = _core("PodTemplate", "podtemplates", returns_deleted=True)
COMPONENTSTATUSES = _core("ComponentStatus", "componentstatuses", "cs", namespaced=False, verbs=("get", "list"))
DEPLOYMENTS = _apps("Deployment", "deployments", "deploy", categories=ALL, subresources=SCALABLE)
REPLICASETS = _apps("ReplicaSet", "replicasets", "rs", categories=ALL, subresources=SCALABLE)
STATEFULSETS = _apps("StatefulSet", "statefulsets", "sts", categories=ALL, subresources=SCALABLE)
DAEMONSETS = _apps("DaemonSet", "daemonsets", "ds", categories=ALL, subresources=STATUS)
CONTROLLERREVISIONS = _apps("ControllerRevision", "controllerrevisions")
JOBS = _v1("batch", "Job", "jobs", categories=ALL, subresources=STATUS)
CRONJOBS = _v1("batch", "CronJob", "cronjobs", "cj", categories=ALL, subresources=STATUS)
HORIZONTALPODAUTOSCALERS = Resource(
    "autoscaling",
    "v2",
    "HorizontalPodAutoscaler",
    "horizontalpodautoscalers",
    "horizontalpodautoscaler",
    ("hpa",),
    ALL,
    subresources=STATUS,
)
HORIZONTALPODAUTOSCALERS_V1 = replace(
    HORIZONTALPODAUTOSCALERS, version="v1", stored_as=("autoscaling", "v2", "HorizontalPodAutoscaler")
)
PODDISRUPTIONBUDGETS = _v1("policy", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", subresources=STATUS)
INGRESSES = _network("Ingress", "ingresses", "ing", subresources=STATUS)
INGRESSCLASSES = _network("IngressClass", "ingressclasses", namespaced=False)
NETWORKPOLICIES = _network("NetworkPolicy", "networkpolicies", "netpol")
IPADDRESSES = _network("IPAddress", "ipaddresses", "ip", namespaced=False)
SERVICECIDRS = _network("ServiceCIDR", "servicecidrs", namespaced=False, subresources=STATUS)
ENDPOINTSLICES = _v1("discovery.k8s.io", "EndpointSlice", "endpointslices")
EVENTS_EVENTS = _v1("events.k8s.io", "Event", "events", "ev", stored_as=("", "v1", "Event"))
LEASES = _v1("coordination.k8s.io", "Lease", "leases")
ROLES = _rbac("Role", "roles")
ROLEBINDINGS = _rbac("RoleBinding", "rolebindings")
CLUSTERROLES = _rbac("ClusterRole", "clusterroles", namespaced=False)
CLUSTERROLEBINDINGS = _rbac("ClusterRoleBinding", "clusterrolebindings", namespaced=False)
TOKENREVIEWS = _authentication("TokenReview", "tokenreviews")
SELFSUBJECTREVIEWS = _authentication("SelfSubjectReview", "selfsubjectreviews")
SUBJECTACCESSREVIEWS = _authorization("SubjectAccessReview", "subjectaccessreviews", namespaced=False)
SELFSUBJECTACCESSREVIEWS = _authorization("SelfSubjectAccessReview", "selfsubjectaccessreviews", namespaced=False)
SELFSUBJECTRULESREVIEWS = _authorization("SelfSubjectRulesReview", "selfsubjectrulesreviews", namespaced=False)
LOCALSUBJECTACCESSREVIEWS = _authorization("LocalSubjectAccessReview", "localsubjectaccessreviews")
CERTIFICATESIGNINGREQUESTS = _v1(
    "certificates.k8s.io",
    "CertificateSigningRequest",
    "certificatesigningrequests",
    "csr",
    namespaced=False,
    subresources=("status", "approval"),
)
VALIDATINGWEBHOOKCONFIGURATIONS = _admission(
    "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", categories=API_EXTENSIONS
)
MUTATINGWEBHOOKCONFIGURATIONS = _admission(
    "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", categories=API_EXTENSIONS
)
VALIDATINGADMISSIONPOLICIES = _admission(
    "ValidatingAdmissionPolicy", "validatingadmissionpolicies", categories=API_EXTENSIONS, subresources=STATUS
)
VALIDATINGADMISSIONPOLICYBINDINGS = _admission(
    "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", categories=API_EXTENSIONS
)
# These two are beta in Kubernetes still.
MUTATINGADMISSIONPOLICIES = replace(
    _admission("MutatingAdmissionPolicy", "mutatingadmissionpolicies", categories=API_EXTENSIONS), version="v1beta1"
)
MUTATINGADMISSIONPOLICYBINDINGS = replace(
    _admission("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", categories=API_EXTENSIONS),
    version="v1beta1",
)
CUSTOMRESOURCEDEFINITIONS = _v1(
    "apiextensions.k8s.io",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    *("crd", "crds"),
    categories=API_EXTENSIONS,
    namespaced=False,
    subresources=STATUS,
)
APISERVICES = _v1(
    "apiregistration.k8s.io",
    "APIService",
    "apiservices",
    categories=API_EXTENSIONS,
    namespaced=False,
    subresources=STATUS,
)
RUNTIMECLASSES = _v1("node.k8s.io", "RuntimeClass", "runtimeclasses", namespaced=False)
PRIORITYCLASSES = _v1("scheduling.k8s.io", "PriorityClass", "priorityclasses", "pc", namespaced=False)
# Alpha in Kubernetes still, and off there unless somebody asks for it.
WORKLOADS = replace(_v1("scheduling.k8s.io", "Workload", "workloads"), version="v1alpha1")
STORAGECLASSES = _storage("StorageClass", "storageclasses", "sc", returns_deleted=True)
CSIDRIVERS = _storage("CSIDriver", "csidrivers", returns_deleted=True)
CSINODES = _storage("CSINode", "csinodes", returns_deleted=True)
CSISTORAGECAPACITIES = _v1("storage.k8s.io", "CSIStorageCapacity", "csistoragecapacities")
VOLUMEATTACHMENTS = _storage("VolumeAttachment", "volumeattachments", subresources=STATUS, returns_deleted=True)
VOLUMEATTRIBUTESCLASSES = _storage("VolumeAttributesClass", "volumeattributesclasses", "vac", returns_deleted=True)
FLOWSCHEMAS = _flow("FlowSchema", "flowschemas")
PRIORITYLEVELCONFIGURATIONS = _flow("PriorityLevelConfiguration", "prioritylevelconfigurations")
RESOURCECLAIMS = _device("ResourceClaim", "resourceclaims", subresources=STATUS)
RESOURCECLAIMTEMPLATES = _device("ResourceClaimTemplate", "resourceclaimtemplates")
RESOURCESLICES = _device("ResourceSlice", "resourceslices", namespaced=False)
DEVICECLASSES = _device("DeviceClass", "deviceclasses", namespaced=False)

# All that is named above, in that order.
BUILTIN: tuple[Resource, ...] = tuple(found for found in globals().values() if isinstance(found, Resource))
# Each kind of object that is kept, once: without answers, and without second names.
STORED = tuple(resource for resource in BUILTIN if resource.stored_as is None and "watch" in resource.verbs)

_BY_VERSION = {(resource.group, resource.version, resource.plural): resource for resource in BUILTIN}
_BY_PLURAL = {resource.key: resource for resource in reversed(BUILTIN)}
_BY_KIND = {(resource.api_version, resource.kind): resource for resource in BUILTIN}
_BY_WORD = {
    word: resource
    for resource in reversed(BUILTIN)
    for word in (
        resource.kind.lower(),
        resource.singular,
        resource.plural,
        *resource.short_names,
        f"{resource.plural}.{resource.group}",
        f"{resource.singular}.{resource.group}",
        f"{resource.plural}.{resource.version}.{resource.group}",
    )
}


def by_plural(group: str, plural: str, version: str = "") -> Resource | None:
    """The resource that is served under this group and name, in the preferred version if none is said."""
    return _BY_VERSION.get((group, version, plural)) if version else _BY_PLURAL.get((group, plural))


def by_kind(api_version: str, kind: str) -> Resource | None:
    """The resource of an object's apiVersion and kind."""
    return _BY_KIND.get((api_version, kind))


def find(word: str) -> Resource | None:
    """What a user means by `po`, `pods`, `Deployment` or `deployments.apps`."""
    return _BY_WORD.get(word.lower())
