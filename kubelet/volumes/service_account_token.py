"""serviceAccountToken: a token of the pod's account as a file, renewed before it ends.

Who may read it: everybody in the pod's containers, unless it is known who they are. Then it is for the one user that
all of them run as, or for the pod's group.
Source: https://kubernetes.io/docs/concepts/storage/projected-volumes/#serviceaccounttoken
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path
from kubelet.volumes import projection
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

SECONDS_DEFAULT = 3600
OWNERS_MODE = 0o600


async def files(request: Request, source: Mapping[str, Any], default_mode: int | None) -> dict[str, File]:
    """The file with the token; the volume is set up again when the token is due."""
    audience, seconds = source.get("audience") or "", source.get("expirationSeconds") or SECONDS_DEFAULT
    try:
        token = await request.tokens.get(request.pod, audience, seconds)
    except ApiError as error:
        raise VolumeError(f"failed to fetch token: {error}") from error
    request.again_after(token.renew_in_seconds)
    user = only_user(request.pod)
    known = user is not None or request.fs_group is not None
    mode = OWNERS_MODE if known else projection.mode_of({}, default_mode)
    return {source["path"]: File(token.text.encode(), mode, user)}


def only_user(pod: Object) -> int | None:
    """The user that all containers of a pod run as, if the pod says so."""
    spec = pod["spec"]
    of_pod = get_path(spec, "securityContext", "runAsUser")
    users = {
        get_path(container, "securityContext", "runAsUser", default=of_pod)
        for kind in ("initContainers", "containers", "ephemeralContainers")
        for container in spec.get(kind) or ()
    }
    return users.pop() if len(users) == 1 else None
