"""What conditions of CustomResourceDefinitions rest on. Apart from their other rules, which few servers ever need.

APIs in Kubernetes' own domains are to be approved by its makers; their conditions tell whether they are. A definition
whose objects a webhook converts is established only once there are certificates to trust that webhook by: installers
write a placeholder first.
"""

from __future__ import annotations

import base64
import ssl
from urllib.parse import urlsplit

from apimachinery.meta import Object, find_condition, get_path

APPROVED = "api-approved.kubernetes.io"
FINALIZER = "customresourcecleanup.apiextensions.k8s.io"
_PROTECTED = ("k8s.io", "kubernetes.io")
_SEE = "see https://github.com/kubernetes/enhancements/pull/1111"


def is_true(definition: Object, condition: str) -> bool:
    """Whether a condition of a definition holds."""
    found = find_condition(definition, condition)
    return found is not None and found["status"] == "True"


def approval(definition: Object) -> tuple[str, str]:
    """(whether Kubernetes' makers have approved an API in their domain, why not)."""
    said = (definition["metadata"].get("annotations") or {}).get(APPROVED) or ""
    needed = f'protected groups must have approval annotation "{APPROVED}"'
    if not said:
        return "missing", f"{needed}, {_SEE}"
    if said.startswith("unapproved"):
        return "bypassed", ""
    try:
        parts = urlsplit(said)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme and parts.netloc:
        return "approved", ""
    return "invalid", f'{needed} with either a URL or a reason starting with "unapproved", {_SEE}'


def is_protected(definition: Object) -> bool:
    group = get_path(definition, "spec", "group", default="")
    return any(group == one or group.endswith(f".{one}") for one in _PROTECTED)


def approval_condition(definition: Object) -> tuple[str, str, str] | None:
    """(status, reason, message) that tell whether an API in Kubernetes' domains is approved; None for others."""
    if not is_protected(definition):
        return None
    said = (definition["metadata"].get("annotations") or {}).get(APPROVED) or ""
    state, why = approval(definition)
    return {
        "missing": ("False", "MissingAnnotation", why),
        "invalid": ("False", "InvalidAnnotation", why),
        "bypassed": ("False", "UnapprovedAnnotation", f'not approved: "{said}"'),
        "approved": ("True", "ApprovedAnnotation", f"approved in {said}"),
    }[state]


def webhook_bundle(definition: Object) -> str:
    """The certificates (PEM, in base64) by which a webhook that converts is trusted; empty if there are none."""
    bundle: str = get_path(definition, "spec", "conversion", "webhook", "clientConfig", "caBundle") or ""
    return bundle


def bundle_problem(bundle: str) -> str:
    """Why a caBundle can't be used; empty if it can, or if it is empty itself."""
    if not bundle:
        return ""
    try:
        text = base64.b64decode(bundle).decode()
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        pem = "-----BEGIN CERTIFICATE-----" in base64.b64decode(bundle).decode(errors="replace")
        why = "failed to parse certificate" if pem else "unable to parse bytes as PEM block"
        return f"unable to load root certificates: {why}"
    return ""
