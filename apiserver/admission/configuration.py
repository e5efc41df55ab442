"""What an operator's AdmissionConfiguration says to the plugins that take any: PodSecurity and ResourceQuota.

Source: https://kubernetes.io/docs/reference/config-api/apiserver-config.v1/#apiserver-config-k8s-io-v1-AdmissionConfiguration
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from apimachinery.errors import ApiError
from apiserver.admission import covering_quota, pod_security
from apiserver.admission.covering_quota import Limited

_KIND = ("apiserver.config.k8s.io/v1", "AdmissionConfiguration")
_POD_SECURITY, _RESOURCE_QUOTA = "PodSecurity", "ResourceQuota"

T = TypeVar("T")


class ConfigurationError(Exception):
    """A file that can't be used; the message says why."""


class Configuration(NamedTuple):
    """What plugins are told; by default nothing."""

    pod_security: pod_security.Configuration = pod_security.Configuration()
    limited: tuple[Limited, ...] = ()


def read(path: Path) -> Configuration:
    """Read a file and those that it names. Raises ConfigurationError."""
    document = _document(path)
    if (document.get("apiVersion"), document.get("kind")) != _KIND:
        raise ConfigurationError(f"{path}: must be of kind {_KIND[1]} in version {_KIND[0]}")
    said: dict[str, Any] = {}
    for plugin in document.get("plugins") or ():
        name = plugin.get("name") or ""
        if name not in (_POD_SECURITY, _RESOURCE_QUOTA):
            raise ConfigurationError(f'{path}: the plugin "{name}" takes no configuration')
        said[name] = plugin.get("configuration")
        if said[name] is None and plugin.get("path"):
            said[name] = _document(path.parent / plugin["path"])
    return Configuration(
        _parsed(path, said.get(_POD_SECURITY), pod_security.parse, pod_security.Configuration()),
        _parsed(path, said.get(_RESOURCE_QUOTA), covering_quota.parse, ()),
    )


def _document(path: Path) -> Mapping[str, Any]:
    from apiserver.rest import yaml_body  # few servers are told anything

    try:
        found, _ = yaml_body.parse(path.read_bytes())
    except (OSError, ApiError) as error:
        why = error.message if isinstance(error, ApiError) else error.strerror
        raise ConfigurationError(f"unable to read admission control configuration from {path}: {why}") from error
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path}: holds no object")
    return found


def _parsed(path: Path, document: Any, parse: Callable[[Mapping[str, Any]], T], default: T) -> T:
    if document is None:
        return default
    try:
        return parse(document)
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
