"""What a pod may learn of itself: the values of `fieldRef` and `resourceFieldRef`, in environments and volumes.

Pure. Source: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from apimachinery import meta, quantity
from apimachinery.meta import Object, get_path

_SUBSCRIPTED = re.compile(r"(.+?)\['(.*)'\]", re.DOTALL)
_SUBSCRIPTABLE = ("metadata.labels", "metadata.annotations")
# What a container gets as its limit when neither it nor its pod has one: all that the node can give.
_DEFAULTED_TO_NODE = ("cpu", "memory", "ephemeral-storage")
_GO_ESCAPES = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    '"': r"\"",
    "\\": r"\\",
}


class UnknownField(Exception):
    """The reference names something that the downward API does not offer; the message is Kubernetes'."""


def field_value(pod: Object, path: str, *, pod_ip: str = "", host_ip: str = "") -> str:
    """The text of a pod's field, such as `metadata.labels['app']`. Raises UnknownField."""
    if match := _SUBSCRIPTED.fullmatch(path):
        if match[1] not in _SUBSCRIPTABLE:
            raise UnknownField(f"field label does not support subscript: {path}")
        values = meta.labels(pod) if match[1] == "metadata.labels" else meta.annotations(pod)
        return values.get(match[2], "")
    match path:
        case "metadata.labels":
            return format_map(meta.labels(pod))
        case "metadata.annotations":
            return format_map(meta.annotations(pod))
        case "metadata.name" | "metadata.namespace" | "metadata.uid" | "spec.nodeName" | "spec.serviceAccountName":
            return str(get_path(pod, *path.split("."), default=""))
        case "status.podIP" | "status.podIPs":
            return pod_ip
        case "status.hostIP" | "status.hostIPs":
            return host_ip
    raise UnknownField(f"field label not supported: {path}")


def resource_value(
    pod: Object, reference: Mapping[str, Any], *, container: Object | None, allocatable: Mapping[str, str]
) -> str:
    """A container's request or limit in units of the divisor, rounded up. Raises UnknownField.

    `container` is meant where the reference names none; `allocatable` is what the node can give.
    """
    if named := reference.get("containerName"):
        container = find_container(pod, named)
        if container is None:
            raise UnknownField(f"container {named} not found")
    side, _, resource = str(reference["resource"]).partition(".")
    known = resource in _DEFAULTED_TO_NODE or resource.startswith("hugepages-")
    if side not in ("limits", "requests") or not known or container is None:
        raise UnknownField(f"unsupported container resource : {reference['resource']}")
    amount = quantity.parse(get_path(container, "resources", side, resource, default="0"))
    if side == "limits" and amount.nanos == 0 and resource in _DEFAULTED_TO_NODE:
        of_pod = get_path(pod, "spec", "resources", "limits", resource)
        amount = quantity.parse(of_pod or allocatable.get(resource, "0"))
    divisor = quantity.parse(reference.get("divisor") or "1")
    if divisor.nanos == 0:
        divisor = quantity.parse("1")
    if resource == "cpu":
        return str(-(-amount.milli_value() // divisor.milli_value()))
    return str(-(-amount.value() // divisor.value()))


def find_container(pod: Object, name: str) -> Object | None:
    """The container or init container of this name."""
    spec = pod["spec"]
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        if container["name"] == name:
            found: Object = container
            return found
    return None


def format_map(values: Mapping[str, str]) -> str:
    """Labels or annotations as lines of `key="value"`, sorted, the values quoted as Go does."""
    return "\n".join(f"{key}={_go_quoted(values[key])}" for key in sorted(values))


def _go_quoted(text: str) -> str:
    return '"' + "".join(_go_escaped(character) for character in text) + '"'


def _go_escaped(character: str) -> str:
    if escaped := _GO_ESCAPES.get(character):
        return escaped
    if character.isprintable():
        return character
    code = ord(character)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
