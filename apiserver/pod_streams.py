"""What `log`, `exec`, `attach` and `portforward` of a pod ask of its node: which container, and how the node's agent
says it.

    …/pods/web/exec?command=ls&stdout=true   →   /exec/default/web/CONTAINER?command=ls&output=1
    …/pods/web/portforward?ports=80          →   /portForward/default/web?port=80

Pure; the words of the errors are those of k8s.io/kubernetes/pkg/registry/core/pod.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from multidict import MultiMapping

from apimachinery.errors import bad_request, invalid
from apimachinery.field import NOWHERE, FieldError, forbidden_field, invalid_value, not_supported
from apimachinery.meta import Object, name, namespace
from apimachinery.time import parse_rfc3339

LOG_STREAMS = ("All", "Stderr", "Stdout")
# What the API calls the streams, and what a node's agent does.
_STREAMS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
_TRUE, _FALSE = ("true", "True", "TRUE", "t", "T", "1"), ("false", "False", "FALSE", "f", "F", "0", "")
_LOG_FLAGS = ("follow", "previous", "timestamps")
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Location:
    """A request to a node's agent."""

    node: str
    path: str
    params: tuple[tuple[str, str], ...]


def log_location(pod: Object, query: MultiMapping[str]) -> Location | None:
    """Where a container's log is; None as long as the pod has no node. Raises ApiError 400 or 422."""
    params = _log_params(query)
    container = choose_container(pod, query.get("container", ""))
    node = node_of(pod)
    if not node:
        return None
    return Location(node, _path("containerLogs", pod, container), tuple(params))


def stream_location(pod: Object, kind: str, query: MultiMapping[str]) -> Location:
    """Where a command is run (`exec`), or a running one is joined (`attach`). Raises ApiError 400."""
    params = [(word, "1") for flag, word in _STREAMS.items() if _flag(query, flag)]
    if not any(word != "tty" for word, _ in params):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if kind == "exec":
        commands = [("command", word) for word in query.getall("command", ())]
        if not commands:
            raise bad_request("you must specify a command to run")
        params += commands
    container = choose_container(pod, query.get("container", ""))
    node = node_of(pod)
    if not node:
        raise bad_request(f"pod {name(pod)} does not have a host assigned")
    return Location(node, _path(kind, pod, container), tuple(params))


def port_location(pod: Object, port: int) -> Location:
    """Where a port of a pod is reached. Raises ApiError 400."""
    return _ports(pod, (("port", str(port)),))


def ports_location(pod: Object, query: MultiMapping[str]) -> Location:
    """Where all ports are reached that a query names. Raises ApiError 400."""
    words = [word for value in query.getall("ports", ()) for word in value.split(",")]
    for word in words:
        if not word.isascii() or not word.isdigit():
            raise bad_request(f'strconv.ParseInt: parsing "{word}": invalid syntax (ports)')
    return _ports(pod, tuple(("port", word) for word in words))


def _ports(pod: Object, params: tuple[tuple[str, str], ...]) -> Location:
    node = node_of(pod)
    if not node:
        raise bad_request(f"pod {name(pod)} does not have a host assigned")
    return Location(
        node, "/".join(["", "portForward", quote(namespace(pod), safe=""), quote(name(pod), safe="")]), params
    )


def node_of(pod: Object) -> str:
    """The node that a pod is bound to, or ""."""
    return (pod.get("spec") or {}).get("nodeName") or ""


def choose_container(pod: Object, wanted: str) -> str:
    """The container that is meant: the named one, or the only one. Raises ApiError 400."""
    spec: dict[str, Any] = pod.get("spec") or {}
    names = [container["name"] for kind in _CONTAINERS for container in spec.get(kind) or ()]
    if wanted:
        if wanted not in names:
            raise bad_request(f"container {wanted} is not valid for pod {name(pod)}")
        return wanted
    containers = spec.get("containers") or []
    if len(containers) == 1:
        return str(containers[0]["name"])
    raise bad_request(f"a container name must be specified for pod {name(pod)}, choose one of: [{' '.join(names)}]")


def _log_params(query: MultiMapping[str]) -> Iterator[tuple[str, str]]:
    """The parameters of a log. Raises ApiError 400 for what can't be read, 422 for what makes no sense."""
    params = [(flag, "true") for flag in _LOG_FLAGS if _flag(query, flag)]
    errors: list[FieldError] = []
    for path, minimum, why in (
        ("tailLines", 0, "must be greater than or equal to 0"),
        ("limitBytes", 1, "must be greater than 0"),
        ("sinceSeconds", 1, "must be greater than 0"),
    ):
        number = _number(query, path)
        if number is not None and number < minimum:
            errors.append(invalid_value(path, number, why))
        elif number is not None:
            params.append((path, str(number)))
    if since := query.get("sinceTime"):
        try:
            parse_rfc3339(since)
        except ValueError:
            raise bad_request(f'parsing time "{since}": it is no time of RFC 3339 (sinceTime)') from None
        params.append(("sinceTime", since))
        if "sinceSeconds" in query:
            errors.append(forbidden_field(NOWHERE, "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    if stream := query.get("stream"):
        if stream not in LOG_STREAMS:
            errors.append(not_supported("stream", stream, LOG_STREAMS))
        elif stream != "All" and "tailLines" in query:
            errors.append(
                forbidden_field(NOWHERE, "`tailLines` and specific `stream` are mutually exclusive for now")
            )
        params.append(("stream", stream))
    if errors:
        raise invalid("", "PodLogOptions", "", errors)
    return iter(params)


def _flag(query: MultiMapping[str], key: str) -> bool:
    value = query.get(key, "")
    if value not in (*_TRUE, *_FALSE):
        raise bad_request(f'strconv.ParseBool: parsing "{value}": invalid syntax ({key})')
    return value in _TRUE


def _number(query: MultiMapping[str], key: str) -> int | None:
    value = query.get(key)
    if not value:
        return None
    try:
        return int(value)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax ({key})') from None


def _path(kind: str, pod: Object, container: str) -> str:
    return "/".join(["", kind, *(quote(step, safe="") for step in (namespace(pod), name(pod), container))])
