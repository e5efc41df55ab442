"""A pod's spec as a whole, in a pod and in the template of a workload.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidatePodSpec, ValidatePodTemplateSpec).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apimachinery.field import duplicate, forbidden_field, invalid_value, required, too_long
from apimachinery.pod_resources import REQUESTS, containers_total
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_annotations, validate_labels
from apiserver.registry.pod_containers import (
    PodContext,
    validate_containers,
    validate_ephemeral_containers,
    validate_init_containers,
)
from apiserver.registry.pod_scheduling import (
    validate_affinity,
    validate_gates,
    validate_spread,
    validate_tolerations,
    validate_workload_reference,
)
from apiserver.registry.pod_security import validate_host_users, validate_os, validate_pod_security
from apiserver.registry.pod_volumes import validate_volumes

RESTART_POLICIES = ("Always", "Never", "OnFailure")
DNS_POLICIES = ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None")
MIRROR = "kubernetes.io/config.mirror"
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_NAMESERVERS_MAX, _SEARCHES_MAX, _SEARCHES_CHARACTERS_MAX = 3, 32, 2048
_HOSTNAME_MAX = 64
_SEARCH = re.compile(r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*")


def validate_template(template: Fields, path: str, errors: Errors) -> None:
    """The template of a workload's pods."""
    metadata, spec = template.get("metadata") or {}, template.get("spec") or {}
    annotations = metadata.get("annotations") or {}
    validate_labels(metadata.get("labels") or {}, f"{path}.labels", errors)
    validate_annotations(annotations, f"{path}.annotations", errors)
    validate_pod_annotations(annotations, spec, f"{path}.annotations", errors)
    validate_pod_spec(spec, "", f"{path}.spec", errors, in_pod=False)
    if spec.get("ephemeralContainers"):
        why = "ephemeral containers not allowed in pod template"
        errors.append(forbidden_field(f"{path}.spec.ephemeralContainers", why))


def validate_pod_annotations(annotations: Mapping[str, Any], spec: Fields, path: str, errors: Errors) -> None:
    """Annotations that mean something to the control plane."""
    if not annotations:
        return
    if MIRROR in annotations and not spec.get("nodeName"):
        why = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid_value(f"{path}[{MIRROR}]", annotations[MIRROR], why))
    if DELETION_COST in annotations and not is_deletion_cost(annotations[DELETION_COST] or ""):
        errors.append(
            invalid_value(f"{path}[{DELETION_COST}]", annotations[DELETION_COST], "must be a 32bit integer")
        )


def is_deletion_cost(text: str) -> bool:
    """What a pod's deletion costs, by which a scaled down workload chooses: a number in its shortest form."""
    return bool(re.fullmatch(r"0|-?[1-9][0-9]{0,9}", text)) and -(2**31) <= int(text) < 2**31


def validate_pod_spec(spec: Fields, pod_name: str, path: str, errors: Errors, *, in_pod: bool) -> None:
    """All of a spec; a pod's own name is known, a template's pods' are not."""
    grace = spec.get("terminationGracePeriodSeconds")
    if grace is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    volumes = {}
    if spec.get("volumes"):
        volumes = validate_volumes(spec["volumes"], pod_name, f"{path}.volumes", errors, in_pod=in_pod)
    claims = spec.get("resourceClaims") or ()
    if claims:
        _validate_claims(claims, f"{path}.resourceClaims", errors)
    context = PodContext(
        volumes,
        {claim.get("name") for claim in claims if claim.get("name")},
        spec.get("restartPolicy") or "",
        grace,
        spec.get("hostUsers") is not False,
        (spec.get("os") or {}).get("name"),
    )
    containers = spec.get("containers") or ()
    validate_containers(containers, context, f"{path}.containers", errors)
    if spec.get("initContainers"):
        at = f"{path}.initContainers"
        validate_init_containers(spec["initContainers"], containers, context, at, errors)
    if spec.get("ephemeralContainers"):
        validate_ephemeral_containers(spec, context, f"{path}.ephemeralContainers", errors)
    if spec.get("resources"):
        _validate_pod_resources(spec, context, f"{path}.resources", errors)
    if spec.get("hostNetwork"):
        _validate_host_network(spec, f"{path}.containers", errors, in_pod=in_pod)
    checks.choice(spec.get("restartPolicy"), RESTART_POLICIES, f"{path}.restartPolicy", errors)
    checks.choice(spec.get("dnsPolicy"), DNS_POLICIES, f"{path}.dnsPolicy", errors)
    if spec.get("nodeSelector"):
        validate_labels(spec["nodeSelector"], f"{path}.nodeSelector", errors)
    if spec.get("securityContext") or spec.get("shareProcessNamespace"):
        validate_pod_security(spec, f"{path}.securityContext", errors)
    if spec.get("affinity"):
        validate_affinity(spec["affinity"], f"{path}.affinity", errors)
    if spec.get("dnsConfig") is not None or spec.get("dnsPolicy") == "None":
        _validate_dns(spec, f"{path}.dnsConfig", errors)
    for number, gate in enumerate(spec.get("readinessGates") or ()):
        at = f"{path}.readinessGates[{number}].conditionType"
        checks.qualified_name(gate.get("conditionType") or "", at, errors)
    if spec.get("schedulingGates"):
        validate_gates(spec["schedulingGates"], f"{path}.schedulingGates", errors)
    if spec.get("topologySpreadConstraints"):
        validate_spread(spec["topologySpreadConstraints"], f"{path}.topologySpreadConstraints", errors)
    validate_host_users(spec, path, errors)
    _validate_names(spec, path, errors)
    _validate_rest(spec, path, errors)


def _validate_names(spec: Fields, path: str, errors: Errors) -> None:
    override = spec.get("hostnameOverride")
    if override is not None:
        at = f"{path}.hostnameOverride"
        if spec.get("setHostnameAsFQDN"):
            errors.append(forbidden_field(at, "may not be specified when setHostnameAsFQDN is true"))
        if spec.get("hostNetwork"):
            errors.append(forbidden_field(at, "may not be specified when hostNetwork is true"))
        if len(override) > _HOSTNAME_MAX:
            errors.append(too_long(at, _HOSTNAME_MAX))
        checks.dns_subdomain(override, at, errors)
    if spec.get("serviceAccountName"):
        checks.dns_subdomain(spec["serviceAccountName"], f"{path}.serviceAccountName", errors)
    if spec.get("nodeName"):
        checks.dns_subdomain(spec["nodeName"], f"{path}.nodeName", errors)
    if spec.get("activeDeadlineSeconds") is not None:
        checks.in_range(spec["activeDeadlineSeconds"], 1, checks.INT32_MAX, f"{path}.activeDeadlineSeconds", errors)
    if spec.get("hostname"):
        checks.dns_label(spec["hostname"], f"{path}.hostname", errors)
    if spec.get("subdomain"):
        checks.dns_label(spec["subdomain"], f"{path}.subdomain", errors)
    if spec.get("workloadRef") is not None:
        validate_workload_reference(spec["workloadRef"], f"{path}.workloadRef", errors)


def _validate_rest(spec: Fields, path: str, errors: Errors) -> None:
    if spec.get("tolerations"):
        validate_tolerations(spec["tolerations"], f"{path}.tolerations", errors)
    for number, alias in enumerate(spec.get("hostAliases") or ()):
        at = f"{path}.hostAliases[{number}]"
        checks.ip_address(alias.get("ip") or "", f"{at}.ip", errors)
        for index, name in enumerate(alias.get("hostnames") or ()):
            checks.dns_subdomain(name, f"{at}.hostnames[{index}]", errors)
    if spec.get("priorityClassName"):
        checks.dns_subdomain(spec["priorityClassName"], f"{path}.priorityClassName", errors)
    if spec.get("runtimeClassName") is not None:
        checks.dns_subdomain(spec["runtimeClassName"], f"{path}.runtimeClassName", errors)
    policy = spec.get("preemptionPolicy")
    if policy is not None:
        checks.choice(policy, ("PreemptLowerPriority", "Never"), f"{path}.preemptionPolicy", errors)
    if spec.get("overhead"):
        amounts.requirements({"limits": spec["overhead"]}, (), f"{path}.overhead", errors)
    validate_os(spec, path, errors)


def _validate_claims(claims: Any, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for number, claim in enumerate(claims):
        at, name = f"{path}[{number}]", claim.get("name") or ""
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        else:
            checks.required_name(name, checks.dns_label, f"{at}.name", errors)
        if name:
            seen.add(name)
        sources = [claim.get("resourceClaimName"), claim.get("resourceClaimTemplateName")]
        if None not in sources:
            why = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"
            errors.append(invalid_value(at, claim, why))
        if sources == [None, None]:
            why = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"
            errors.append(invalid_value(at, claim, why))
        for field in ("resourceClaimName", "resourceClaimTemplateName"):
            if claim.get(field) is not None:
                checks.dns_subdomain(claim[field], f"{at}.{field}", errors)


def _validate_pod_resources(spec: Fields, context: PodContext, path: str, errors: Errors) -> None:
    """What the pod has as a whole, which its containers share."""
    resources = spec["resources"]
    if context.os == "windows":
        errors.append(forbidden_field(path, "may not be set for a windows pod"))
        return
    if resources.get("claims"):
        errors.append(forbidden_field(f"{path}.claims", "claims may not be set for Resources at pod-level"))
    amounts.requirements(resources, context.claims, path, errors, amounts.pod_resource_name)
    for name, together in containers_total(spec, REQUESTS).items():
        asked = amounts.amount((resources.get("requests") or {}).get(name, "x"))
        if asked is not None and together.nanos > asked.nanos:
            why = f"must be greater than or equal to aggregate container requests of {together}"
            errors.append(invalid_value(f"{path}.requests[{name}]", str(asked), why))
    for number, container in enumerate(spec.get("containers") or ()):
        for name, limit in ((container.get("resources") or {}).get("limits") or {}).items():
            mine, whole = amounts.amount(limit), amounts.amount((resources.get("limits") or {}).get(name, "x"))
            if mine is not None and whole is not None and mine.nanos > whole.nanos:
                at = f"{path}.containers[{number}][{name}].limits"
                why = f"must be less than or equal to pod limits of {whole}"
                errors.append(invalid_value(at, str(mine), why))


def _validate_host_network(spec: Fields, path: str, errors: Errors, *, in_pod: bool) -> None:
    for number, container in enumerate(spec.get("containers") or ()):
        for index, port in enumerate(container.get("ports") or ()):
            host = port.get("hostPort") or 0
            if (in_pod or host) and host != (port.get("containerPort") or 0):
                why = "must match `containerPort` when `hostNetwork` is true"
                errors.append(invalid_value(f"{path}[{number}].ports[{index}].hostPort", host, why))


def _validate_dns(spec: Fields, path: str, errors: Errors) -> None:
    config = spec.get("dnsConfig")
    if spec.get("dnsPolicy") == "None":
        if config is None:
            errors.append(required(path, "must provide `dnsConfig` when `dnsPolicy` is None"))
            return
        if not config.get("nameservers"):
            why = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            errors.append(required(f"{path}.nameservers", why))
            return
    config = config or {}
    servers, searches = config.get("nameservers") or [], config.get("searches") or []
    if len(servers) > _NAMESERVERS_MAX:
        why = f"must not have more than {_NAMESERVERS_MAX} nameservers"
        errors.append(invalid_value(f"{path}.nameservers", servers, why))
    for number, server in enumerate(servers):
        checks.ip_address(server, f"{path}.nameservers[{number}]", errors)
    if len(searches) > _SEARCHES_MAX:
        why = f"must not have more than {_SEARCHES_MAX} search paths"
        errors.append(invalid_value(f"{path}.searches", searches, why))
    if len(" ".join(searches)) > _SEARCHES_CHARACTERS_MAX:
        why = f"must not have more than {_SEARCHES_CHARACTERS_MAX} characters (including spaces) in the search list"
        errors.append(invalid_value(f"{path}.searches", searches, why))
    for number, search in enumerate(searches):
        name = search.removesuffix(".")
        if search != "." and (len(name) > 253 or not _SEARCH.fullmatch(name)):
            why = (
                "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', "
                "and must start and end with an alphanumeric character (e.g. 'example.com', regex used for "
                f"validation is '{_SEARCH.pattern}')"
            )
            errors.append(invalid_value(f"{path}.searches[{number}]", name, why))
    for number, option in enumerate(config.get("options") or ()):
        if not option.get("name"):
            errors.append(required(f"{path}.options[{number}]", "must not be empty"))
