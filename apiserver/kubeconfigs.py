"""Writes kubeconfig files: where the API server is, whom to trust, and a client certificate to be known by.

They are JSON, which every reader of YAML reads, and this project's own parts without a parser of YAML.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import json


def render(*, server: str, user: str, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> bytes:
    """A kubeconfig with one context; everything is in it, so that it may be copied anywhere."""
    context = f"{user}@wherry"
    cluster = {"server": server, "certificate-authority-data": _encoded(ca_pem)}
    identity = {"client-certificate-data": _encoded(certificate_pem), "client-key-data": _encoded(key_pem)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "wherry", "cluster": cluster}],
        "users": [{"name": user, "user": identity}],
        "contexts": [{"name": context, "context": {"cluster": "wherry", "user": user}}],
        "current-context": context,
    }
    return json.dumps(document, indent=2).encode() + b"\n"


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
