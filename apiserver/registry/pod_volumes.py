"""The volumes of a pod, and of a PersistentVolume as far as both have the same kinds.

Of the kinds that belong to a vendor or that Kubernetes gives up only the fields that must be set are checked.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateVolumes, validateVolumeSource).
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.field import duplicate, forbidden_field, invalid_value, required, too_long
from apiserver.registry import checks, claims
from apiserver.registry.amounts import amount
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.pod_env import VOLUME_FIELDS, validate_field, validate_resource_field

# In the order in which Kubernetes looks at them; what comes after the first is one too many.
KINDS = (
    *("emptyDir", "hostPath", "gitRepo", "gcePersistentDisk", "awsElasticBlockStore", "secret", "nfs", "iscsi"),
    *("glusterfs", "flocker", "persistentVolumeClaim", "rbd", "cinder", "cephfs", "quobyte", "downwardAPI", "fc"),
    *("flexVolume", "configMap", "azureFile", "vsphereVolume", "photonPersistentDisk", "portworxVolume"),
    *("azureDisk", "storageos", "projected", "scaleIO", "csi", "ephemeral", "image"),
)
_ORDER = {kind: number for number, kind in enumerate(KINDS)}
REQUIRED_FIELDS: dict[str, tuple[str, ...]] = {
    "gitRepo": ("repository",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "iscsi": ("targetPortal", "iqn"),
    "glusterfs": ("endpoints", "path"),
    "rbd": ("monitors", "image"),
    "cinder": ("volumeID",),
    "cephfs": ("monitors",),
    "quobyte": ("registry", "volume"),
    "flexVolume": ("driver",),
    "azureFile": ("secretName", "shareName"),
    "vsphereVolume": ("volumePath",),
    "photonPersistentDisk": ("pdID",),
    "portworxVolume": ("volumeID",),
    "azureDisk": ("diskName", "diskURI"),
    "storageos": ("volumeName",),
    "scaleIO": ("gateway", "system", "volumeName"),
}
HOST_PATH_TYPES = (
    *("", "DirectoryOrCreate", "Directory", "FileOrCreate", "File", "Socket", "CharDevice", "BlockDevice"),
)
PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_KEY_TYPES = ("RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")
_TOKEN_SECONDS_MIN, _TOKEN_SECONDS_MAX = 600, 2**32
_ONE_KIND = "may not specify more than 1 volume type"


def validate_volumes(
    volumes: Sequence[Fields], pod_name: str, path: str, errors: Errors, *, in_pod: bool
) -> dict[str, Fields]:
    """All volumes of a pod (with its name) or of a template (without); returns those that are right, by name."""
    made = {f"{pod_name}-{volume.get('name')}" for volume in volumes if "ephemeral" in volume and pod_name}
    right: dict[str, Fields] = {}
    for number, volume in enumerate(volumes):
        at, name = f"{path}[{number}]", volume.get("name") or ""
        before = len(errors)
        _validate_kinds(volume, at, errors, in_pod=in_pod)
        if pod_name and name and volume.get("ephemeral") is not None:
            for why in checks.subdomain_problems(f"{pod_name}-{name}"):
                errors.append(invalid_value(f"{at}.name", name, f'PVC name "{pod_name}-{name}": {why}'))
        checks.required_name(name, checks.dns_label, f"{at}.name", errors)
        if name in right:
            errors.append(duplicate(f"{at}.name", name))
        if len(errors) == before:
            right[name] = volume
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim in made:
            why = "must not reference a PVC that gets created for an ephemeral volume"
            errors.append(invalid_value(f"{at}.persistentVolumeClaim.claimName", claim, why))
    return right


def _validate_kinds(volume: Fields, path: str, errors: Errors, *, in_pod: bool) -> None:
    set_here = sorted(
        (kind for kind in volume if kind in _ORDER and volume[kind] is not None), key=_ORDER.__getitem__
    )
    if not set_here:
        errors.append(required(path, "must specify a volume type"))
        return
    first = set_here[0]
    validate_source(first, volume[first], f"{path}.{first}", errors, in_pod=in_pod)
    errors += [forbidden_field(f"{path}.{kind}", _ONE_KIND) for kind in set_here[1:]]


def validate_source(kind: str, source: Fields, path: str, errors: Errors, *, in_pod: bool) -> None:
    """What a volume is made of."""
    for field in REQUIRED_FIELDS.get(kind, ()):
        if not source.get(field):
            errors.append(required(f"{path}.{field}"))
    match kind:
        case "emptyDir":
            size = source.get("sizeLimit")
            found = amount(size) if size is not None else None
            if found is not None and found.nanos < 0:
                why = "SizeLimit field must be a valid resource quantity"
                errors.append(forbidden_field(f"{path}.sizeLimit", why))
        case "hostPath":
            validate_host_path(source, path, errors)
        case "gitRepo":
            checks.relative_path(source.get("directory") or "", f"{path}.directory", errors)
        case "secret" | "configMap":
            name_field = "secretName" if kind == "secret" else "name"
            if not source.get(name_field):
                errors.append(required(f"{path}.{name_field}"))
            checks.file_mode(source.get("defaultMode"), f"{path}.defaultMode", errors)
            _validate_keys(source.get("items") or (), f"{path}.items", errors)
        case "nfs":
            validate_nfs(source, path, errors)
        case "persistentVolumeClaim":
            if not source.get("claimName"):
                errors.append(required(f"{path}.claimName"))
        case "downwardAPI":
            checks.file_mode(source.get("defaultMode"), f"{path}.defaultMode", errors)
            for file in source.get("items") or ():
                _validate_file(file, path, errors)
        case "projected":
            checks.file_mode(source.get("defaultMode"), f"{path}.defaultMode", errors)
            _validate_projections(source.get("sources") or (), path, errors)
        case "csi":
            validate_driver(source.get("driver") or "", f"{path}.driver", errors)
            secret = source.get("nodePublishSecretRef")
            if secret is not None:
                name = secret.get("name")
                checks.required_name(name, checks.dns_subdomain, f"{path}.nodePublishSecretRef.name", errors)
        case "ephemeral":
            template = source.get("volumeClaimTemplate")
            if template is None:
                errors.append(required(f"{path}.volumeClaimTemplate"))
            else:
                claims.validate_claim_template(template, f"{path}.volumeClaimTemplate", errors)
        case "image":
            if in_pod and not source.get("reference"):
                errors.append(required(f"{path}.reference"))
            checks.choice(source.get("pullPolicy"), PULL_POLICIES, f"{path}.pullPolicy", errors)


def validate_host_path(source: Fields, path: str, errors: Errors) -> None:
    """A path of the node."""
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
        return
    checks.no_backsteps(source["path"], f"{path}.path", errors)
    checks.optional_choice(source.get("type"), HOST_PATH_TYPES, f"{path}.type", errors)


def validate_nfs(source: Fields, path: str, errors: Errors) -> None:
    """A share of an NFS server."""
    if not source.get("server"):
        errors.append(required(f"{path}.server"))
    if not source.get("path"):
        errors.append(required(f"{path}.path"))
    if not (source.get("path") or "").startswith("/"):
        errors.append(invalid_value(f"{path}.path", source.get("path") or "", "must be an absolute path"))


def validate_driver(name: str, path: str, errors: Errors) -> None:
    """The name of a CSI driver."""
    if not name:
        errors.append(required(path))
    if len(name) > 63:
        errors.append(too_long(path, 63))
    errors += [invalid_value(path, name, why) for why in checks.subdomain_problems(name.lower())]


def _validate_keys(items: Sequence[Fields], path: str, errors: Errors) -> None:
    for number, item in enumerate(items):
        at, file = f"{path}[{number}]", item.get("path") or ""
        if not item.get("key"):
            errors.append(required(f"{at}.key"))
        if not file:
            errors.append(required(f"{at}.path"))
        checks.file_in_volume(file, f"{at}.path", errors)
        checks.file_mode(item.get("mode"), f"{at}.mode", errors)


def _validate_file(file: Fields, path: str, errors: Errors) -> None:
    if not file.get("path"):
        errors.append(required(f"{path}.path"))
    checks.file_in_volume(file.get("path") or "", f"{path}.path", errors)
    if file.get("fieldRef") is not None:
        validate_field(file["fieldRef"], VOLUME_FIELDS, f"{path}.fieldRef", errors)
        if file.get("resourceFieldRef") is not None:
            why = "fieldRef and resourceFieldRef can not be specified simultaneously"
            errors.append(invalid_value(path, "resource", why))
    elif file.get("resourceFieldRef") is not None:
        validate_resource_field(file["resourceFieldRef"], f"{path}.resourceFieldRef", errors, in_volume=True)
    else:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    checks.file_mode(file.get("mode"), f"{path}.mode", errors)


def _validate_projections(sources: Sequence[Fields], path: str, errors: Errors) -> None:
    files: set[str] = set()

    def claim(file: str | None, shown: str) -> None:
        if file and file in files:
            errors.append(invalid_value(path, shown, "conflicting duplicate paths"))
        files.add(file or "")

    for number, source in enumerate(sources):
        at = f"{path}.sources[{number}]"
        for kind in ("secret", "configMap"):
            projected = source.get(kind)
            if projected is not None:
                if not projected.get("name"):
                    errors.append(required(f"{at}.{kind}.name"))
                _validate_keys(projected.get("items") or (), f"{at}.{kind}.items", errors)
                for item in projected.get("items") or ():
                    claim(item.get("path"), projected.get("name") or "")
        if source.get("downwardAPI") is not None:
            for file in source["downwardAPI"].get("items") or ():
                _validate_file(file, f"{at}.downwardAPI", errors)
                claim(file.get("path"), file.get("path") or "")
        if source.get("serviceAccountToken") is not None:
            _validate_token(source["serviceAccountToken"], path, f"{at}.serviceAccountToken", errors)
        if source.get("clusterTrustBundle") is not None:
            bundle = source["clusterTrustBundle"]
            _validate_trust_bundle(bundle, f"{at}.clusterTrustBundle", errors)
            claim(bundle.get("path"), bundle.get("path") or "")
        if source.get("podCertificate") is not None:
            certificate = source["podCertificate"]
            _validate_certificate(certificate, f"{at}.podCertificate", errors)
            for field in ("credentialBundlePath", "keyPath", "certificateChainPath"):
                claim(certificate.get(field), certificate.get(field) or "")
        if sum(projected is not None for projected in source.values()) > 1:
            errors.append(forbidden_field(at, "may not specify more than 1 volume type per source"))


def _validate_token(token: Fields, volume_path: str, path: str, errors: Errors) -> None:
    seconds = token.get("expirationSeconds") or 0
    at = f"{path}.expirationSeconds"
    if seconds < _TOKEN_SECONDS_MIN:
        errors.append(invalid_value(at, seconds, "may not specify a duration less than 10 minutes"))
    if seconds > _TOKEN_SECONDS_MAX:
        errors.append(invalid_value(at, seconds, "may not specify a duration larger than 2^32 seconds"))
    if token.get("path"):
        checks.file_in_volume(token["path"], f"{volume_path}.path", errors)
    else:
        errors.append(required(f"{volume_path}.path"))


def _validate_trust_bundle(bundle: Fields, path: str, errors: Errors) -> None:
    name, signer = bundle.get("name"), bundle.get("signerName")
    if name is not None and signer is not None:
        errors.append(invalid_value(path, bundle, "only one of name and signerName may be used"))
    elif name is not None:
        if not name:
            errors.append(required(f"{path}.name", "must be a valid object name"))
        selector = bundle.get("labelSelector")
        if selector is not None:
            why = "labelSelector must be unset if name is specified"
            errors.append(invalid_value(f"{path}.labelSelector", selector, why))
    elif signer is not None:
        if not signer:
            errors.append(required(f"{path}.signerName", "must be a valid signer name"))
        validate_label_selector(bundle.get("labelSelector"), f"{path}.labelSelector", errors)
    else:
        errors.append(required(path, "either name or signerName must be specified"))
    if not bundle.get("path"):
        errors.append(required(f"{path}.path"))
    checks.file_in_volume(bundle.get("path") or "", f"{path}.path", errors)


def _validate_certificate(certificate: Fields, path: str, errors: Errors) -> None:
    if not certificate.get("signerName"):
        errors.append(required(f"{path}.signerName"))
    checks.optional_choice(certificate.get("keyType") or "", _KEY_TYPES, f"{path}.keyType", errors)
    files = [certificate.get(field) for field in ("credentialBundlePath", "keyPath", "certificateChainPath")]
    if not any(files):
        why = "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"
        errors.append(required(path, why))
    for field in ("credentialBundlePath", "keyPath", "certificateChainPath"):
        checks.file_in_volume(certificate.get(field) or "", f"{path}.{field}", errors)
