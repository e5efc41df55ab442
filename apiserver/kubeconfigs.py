"""Writes kubeconfig files: where the API server is, whom to trust, and a client certificate to be known by.

Source: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/
"""

from __future__ import annotations

import base64
import json


def render(*, server: str, user: str, ca_pem: bytes, certificate_pem: bytes, key_pem: bytes) -> bytes:
    """A kubeconfig with one context; everything is in it, so that it may be copied anywhere."""
    text = f"""\
apiVersion: v1
kind: Config
clusters:
- name: wherry
  cluster:
    server: {_quoted(server)}
    certificate-authority-data: {_encoded(ca_pem)}
users:
- name: {_quoted(user)}
  user:
    client-certificate-data: {_encoded(certificate_pem)}
    client-key-data: {_encoded(key_pem)}
contexts:
- name: {_quoted(f"{user}@wherry")}
  context:
    cluster: wherry
    user: {_quoted(user)}
current-context: {_quoted(f"{user}@wherry")}
"""
    return text.encode()


def _quoted(text: str) -> str:
    return json.dumps(text)


def _encoded(pem: bytes) -> str:
    return base64.b64encode(pem).decode()
