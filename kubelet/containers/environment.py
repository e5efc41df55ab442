"""The environment of a container: env, envFrom, valueFrom, and `$(NAME)` references between them.

What is needed from the API and from files is fetched first, each once and all at the same time; what the environment
is then, is decided by pure functions.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from apiclient.logs import kv
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, namespace
from kubelet.containers import env_files
from kubelet.containers.downward_api import UnknownField, field_value, resource_value
from kubelet.objects import Objects

__all__ = ["EnvironmentFailure", "Objects", "Surroundings", "container_environment", "expand", "resolve"]

logger = logging.getLogger(__name__)

CONFIG_ERROR = "CreateContainerConfigError"
_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")

Kind = Literal["configmap", "secret"]
Sources = Mapping[tuple[Kind, str], Object | None]
# (volume, path) of environment files.
FileKey = tuple[str, str]


class EnvironmentFailure(Exception):
    """A container's environment can't be made; `reason` is its waiting reason, the message Kubernetes' words."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container may learn of where it runs; `services` are variables that say where services are.

    `files` are the environment files that it names, None for one that can't be read.
    """

    pod_ip: str
    host_ip: str
    allocatable: Mapping[str, str]
    services: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[FileKey, str | None] = field(default_factory=dict)


async def container_environment(
    pod: Object,
    container: Object,
    *,
    objects: Objects,
    pod_ip: str,
    host_ip: str,
    node: Object | None,
    services: Sequence[tuple[str, str]] = (),
    volumes: Mapping[str, Path] | None = None,
) -> list[tuple[str, str]]:
    """The variables of a container: as declared, then those of services. Raises EnvironmentFailure."""
    scope = namespace(pod)
    wanted = list(dict.fromkeys(_references(container)))
    fetches = [
        objects.config_map(scope, name) if kind == "configmap" else objects.secret(scope, name)
        for kind, name in wanted
    ]
    try:
        found = await asyncio.gather(*fetches)
    except ApiError as error:
        raise EnvironmentFailure(CONFIG_ERROR, error.message) from error
    allocatable = get_path(node, "status", "allocatable", default={})
    files = {key: await _read(key, volumes or {}) for key in _files(container)}
    around = Surroundings(pod_ip, host_ip, allocatable, dict(services), files)
    return resolve(pod, container, dict(zip(wanted, found, strict=True)), around)


def resolve(pod: Object, container: Object, sources: Sources, around: Surroundings) -> list[tuple[str, str]]:
    """The variables, given all objects that they are taken from. Raises EnvironmentFailure."""
    variables: dict[str, str] = {}
    # What the container declares wins over what is said of services.
    known = ChainMap(variables, dict(around.services))
    for entry in container.get("envFrom") or ():
        prefix = entry.get("prefix") or ""
        variables.update((prefix + key, value) for key, value in _all_of(entry, sources))
    for entry in container.get("env") or ():
        name = entry["name"]
        if entry.get("value"):
            variables[name] = _expanded(entry["value"], known)
            continue
        value = _value_from(pod, container, entry.get("valueFrom") or {}, sources, around)
        if value is not None:
            variables[name] = value
    variables.update((name, value) for name, value in around.services.items() if name not in variables)
    for name, value in variables.items():
        if "\0" in value:
            raise EnvironmentFailure(CONFIG_ERROR, f'environment variable "{name}" contains a null byte')
    return list(variables.items())


def expand(texts: Iterable[str], env: Sequence[tuple[str, str]]) -> list[str]:
    """A command or its arguments with `$(NAME)` replaced; `$$(NAME)` stays as `$(NAME)`, as do unknown names."""
    variables = dict(env)
    return [_expanded(text, variables) for text in texts]


def _expanded(text: str, variables: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        name = match[1]
        return "$" if name is None else variables.get(name, match[0])

    return _REFERENCE.sub(replace, text) if "$" in text else text


def _references(container: Object) -> Iterable[tuple[Kind, str]]:
    for entry in container.get("envFrom") or ():
        yield from _named(entry, "configMapRef", "secretRef")
    for entry in container.get("env") or ():
        if not entry.get("value"):
            yield from _named(entry.get("valueFrom") or {}, "configMapKeyRef", "secretKeyRef")


def _files(container: Object) -> set[FileKey]:
    wanted = [get_path(entry, "valueFrom", "fileKeyRef") for entry in container.get("env") or ()]
    return {(reference["volumeName"], reference["path"]) for reference in wanted if reference}


async def _read(key: FileKey, volumes: Mapping[str, Path]) -> str | None:
    """An environment file, None where there is none that can be read. Raises EnvironmentFailure."""
    volume, path = key
    if volume not in volumes:
        raise EnvironmentFailure(CONFIG_ERROR, f'cannot find the volume "{volume}" referenced by FileKeyRef')
    try:
        return await asyncio.to_thread(env_files.read, volumes[volume], path)
    except (OSError, env_files.InvalidFile) as error:
        logger.warning(kv("environment file not read", volume=volumes[volume], path=path, error=str(error)))
        return None


def _named(entry: Mapping[str, Any], config_map: str, secret: str) -> Iterable[tuple[Kind, str]]:
    if reference := entry.get(config_map):
        yield "configmap", reference.get("name") or ""
    if reference := entry.get(secret):
        yield "secret", reference.get("name") or ""


def _all_of(entry: Mapping[str, Any], sources: Sources) -> list[tuple[str, str]]:
    for kind, name in _named(entry, "configMapRef", "secretRef"):
        optional = get_path(entry, "configMapRef" if kind == "configmap" else "secretRef", "optional")
        obj = _source(kind, name, sources, optional=bool(optional))
        if obj is None:
            return []
        data = obj.get("data") or {}
        return [(key, _text(kind, data[key])) for key in sorted(data)]
    return []


def _value_from(
    pod: Object, container: Object, value_from: Mapping[str, Any], sources: Sources, around: Surroundings
) -> str | None:
    """The value of one source; None where it is optional and not there, so that the variable is not set."""
    try:
        if reference := value_from.get("fieldRef"):
            return field_value(pod, reference["fieldPath"], pod_ip=around.pod_ip, host_ip=around.host_ip)
        if reference := value_from.get("resourceFieldRef"):
            return resource_value(pod, reference, container=container, allocatable=around.allocatable)
    except UnknownField as error:
        raise EnvironmentFailure(CONFIG_ERROR, str(error)) from error
    if reference := value_from.get("fileKeyRef"):
        return _from_file(reference, around)
    for kind, name in _named(value_from, "configMapKeyRef", "secretKeyRef"):
        reference = value_from["configMapKeyRef" if kind == "configmap" else "secretKeyRef"]
        optional = bool(reference.get("optional"))
        obj = _source(kind, name, sources, optional=optional)
        if obj is None:
            return None
        value = get_path(obj, "data", reference["key"])
        if value is None and not optional:
            shown = "ConfigMap" if kind == "configmap" else "Secret"
            where = f"{shown} {namespace(pod)}/{name}"
            raise EnvironmentFailure(CONFIG_ERROR, f"couldn't find key {reference['key']} in {where}")
        return None if value is None else _text(kind, value)
    return ""


def _from_file(reference: Mapping[str, Any], around: Surroundings) -> str | None:
    """A variable of a file; what is wrong with the file is for the node's owner to read, who has it in the log."""
    volume, path, key = reference["volumeName"], reference["path"], reference["key"]
    text = around.files[volume, path]
    if text is None:
        raise EnvironmentFailure(CONFIG_ERROR, "couldn't parse env file")
    try:
        value = env_files.value_of(text, key)
    except env_files.InvalidFile as error:
        raise EnvironmentFailure(CONFIG_ERROR, "couldn't parse env file") from error
    if not value and not reference.get("optional"):
        raise EnvironmentFailure(CONFIG_ERROR, f'environment variable key "{key}" not found in file "{path}"')
    return value or None


def _source(kind: Kind, name: str, sources: Sources, *, optional: bool) -> Object | None:
    obj = sources[kind, name]
    if obj is None and not optional:
        raise EnvironmentFailure(CONFIG_ERROR, f'{kind} "{name}" not found')
    return obj


def _text(kind: Kind, value: str) -> str:
    """A Secret's bytes need not be text: those that are none survive as the kernel will get them (PEP 383)."""
    return base64.b64decode(value).decode(errors="surrogateescape") if kind == "secret" else value
