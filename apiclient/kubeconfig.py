"""Reads kubeconfig files: where the API server is, whom to trust, and who we are.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class KubeconfigError(Exception):
    """There is no usable kubeconfig; the message says what is missing and where."""


@dataclass(frozen=True, slots=True)
class Config:
    """How to reach a cluster and as whom. Certificates and keys are PEM text."""

    server: str
    ca_pem: str | None = None
    client_cert_pem: str | None = None
    client_key_pem: str | None = None
    token: str | None = None
    namespace: str | None = None
    context: str = ""
    verify_tls: bool = True
    # Whom the server's certificate must name, if not the host of `server`.
    tls_server_name: str | None = None


def load(path: str | None = None, context: str | None = None) -> Config:
    """The named file's, $KUBECONFIG's or ~/.kube/config's context, or a pod's own. Raises KubeconfigError."""
    paths = _paths(path)
    documents = [_read(p) for p in paths if p.exists()]
    if not documents:
        if path is None and (SERVICE_ACCOUNT / "token").exists():
            return _in_cluster()
        where = ", ".join(map(str, paths))
        raise KubeconfigError(f"no kubeconfig at {where}; `kctl up` makes a cluster, --kubeconfig names a file")
    current = next((d["current-context"] for _, d in documents if d.get("current-context")), None)
    chosen = context or current
    if not chosen:
        raise KubeconfigError(f"{documents[0][0]}: no current-context is set; name one with --context")
    _, entry = _find(documents, "contexts", chosen)
    settings = entry.get("context") or {}
    cluster_dir, cluster = _find(documents, "clusters", settings.get("cluster", ""))
    user_dir, user = _find(documents, "users", settings.get("user", "")) if settings.get("user") else (Path(), {})
    cluster, user = cluster.get("cluster") or {}, user.get("user") or {}
    if not cluster.get("server"):
        raise KubeconfigError(f"cluster {settings.get('cluster')!r} has no server")
    token = user.get("token")
    if token is None and user.get("tokenFile"):
        token = _text(user_dir / user["tokenFile"]).strip()
    return Config(
        server=str(cluster["server"]).rstrip("/"),
        ca_pem=_material(cluster, "certificate-authority", cluster_dir),
        client_cert_pem=_material(user, "client-certificate", user_dir),
        client_key_pem=_material(user, "client-key", user_dir),
        token=token,
        namespace=settings.get("namespace"),
        context=chosen,
        verify_tls=not cluster.get("insecure-skip-tls-verify", False),
        tls_server_name=cluster.get("tls-server-name"),
    )


def _paths(path: str | None) -> list[Path]:
    if path is not None:
        return [Path(path)]
    named = [Path(p) for p in os.environ.get("KUBECONFIG", "").split(os.pathsep) if p]
    return named or [Path.home() / ".kube" / "config"]


def _read(path: Path) -> tuple[Path, dict[str, Any]]:
    text = _text(path)
    try:
        # What this project writes is JSON, and so is read without the parser of YAML.
        document = orjson.loads(text)
    except ValueError:
        document = _read_yaml(path, text)
    if not isinstance(document, dict):
        raise KubeconfigError(f"{path} is no kubeconfig")
    return path, document


def _read_yaml(path: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path}: {error}") from error


def _find(documents: list[tuple[Path, dict[str, Any]]], section: str, name: str) -> tuple[Path, dict[str, Any]]:
    for path, document in documents:
        for entry in document.get(section) or ():
            if entry.get("name") == name:
                return path.parent, entry
    known = ", ".join(e.get("name", "") for _, d in documents for e in d.get(section) or ())
    raise KubeconfigError(f"{documents[0][0]}: no {section[:-1]} {name!r}; there are: {known or 'none'}")


def _material(entry: dict[str, Any], key: str, folder: Path) -> str | None:
    if data := entry.get(f"{key}-data"):
        try:
            return base64.b64decode(data, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise KubeconfigError(f"{key}-data is not base64: {error}") from error
    return _text(folder / entry[key]) if entry.get(key) else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"{path} is no text: {error}") from error


def _in_cluster() -> Config:
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise KubeconfigError("KUBERNETES_SERVICE_HOST is not set, though this is a pod with a service account")
    return Config(
        server=f"https://{host}:{port}",
        ca_pem=_text(SERVICE_ACCOUNT / "ca.crt"),
        token=_text(SERVICE_ACCOUNT / "token").strip(),
        namespace=_text(SERVICE_ACCOUNT / "namespace").strip(),
        context="in-cluster",
    )
