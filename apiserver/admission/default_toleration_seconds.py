"""DefaultTolerationSeconds: a pod stays for some seconds on a node that is lost, unless it says for how long.

Kubernetes' default is 300 seconds; here it is shorter, so that pods of a lost node soon run elsewhere.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#defaulttolerationseconds
"""

from __future__ import annotations

from apimachinery.resources import PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


def plugin(not_ready_seconds: int, unreachable_seconds: int) -> Plugin:
    """The plugin with these defaults."""
    defaults = ((NOT_READY, not_ready_seconds), (UNREACHABLE, unreachable_seconds))

    async def add_tolerations(attributes: Attributes, cluster: Cluster) -> None:
        pod = attributes.obj
        assert pod is not None
        spec = pod.setdefault("spec", {})
        tolerations = spec.get("tolerations") or []
        missing = [
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for key, seconds in defaults
            if not any(
                (toleration.get("key") or "") in (key, "") and (toleration.get("effect") or "") in ("NoExecute", "")
                for toleration in tolerations
            )
        ]
        if missing:
            spec["tolerations"] = [*tolerations, *missing]

    return Plugin("DefaultTolerationSeconds", (CREATE, UPDATE), mutate=add_tolerations, resources=(PODS.key,))
