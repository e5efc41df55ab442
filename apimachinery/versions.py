"""Versions of APIs, and which of them clients should want most."""

from __future__ import annotations

import re

_VERSION = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?", re.ASCII)
_STABILITY = {None: 0, "beta": 1, "alpha": 2}


def version_order(version: str) -> tuple[int, int, int, int, str]:
    """What sorts versions by how much clients should want them: v10, v2, v1, v1beta2, v1alpha1, then all others.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#version-priority
    """
    found = _VERSION.fullmatch(version)
    if found is None:
        return 1, 0, 0, 0, version
    return 0, _STABILITY[found[2]], -int(found[1]), -int(found[3] or 0), version
