"""Lifecycle hooks: what a container wants done right after its start and right before its end.

Source: https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiclient.clock import Clock
from apimachinery.meta import Object
from kubelet.containers import handlers
from kubelet.containers.handlers import NoAnswer
from kubelet.pods.pod_spec import Container
from kubelet.runtime import Runtime, RuntimeFailure

# A postStart hook has no limit of its own in Kubernetes; a pod's deletion ends it. This is for those that hang.
HOOK_TIMEOUT_SECONDS = 3600.0


class HookFailure(Exception):
    """A hook failed; the message may hold what it printed."""


async def run_hook(
    runtime: Runtime,
    pod: Object,
    container: Container,
    container_id: str,
    hook: Mapping[str, Any],
    *,
    host: str,
    clock: Clock,
    timeout_seconds: float = HOOK_TIMEOUT_SECONDS,
) -> None:
    """Run a hook to its end. Raises HookFailure."""
    try:
        if action := hook.get("exec"):
            argv = action.get("command") or []
            answer = await handlers.run_command(
                runtime, pod["metadata"]["uid"], container_id, argv, timeout_seconds=timeout_seconds
            )
            if answer.code != 0:
                text = f"command '{' '.join(argv)}' exited with {answer.code}: {answer.text}"
                raise HookFailure(f"Exec lifecycle hook failed - error: {text}")
        elif action := hook.get("httpGet"):
            await handlers.http_get(
                action,
                container,
                host=host,
                timeout_seconds=timeout_seconds,
                user_agent=handlers.HOOK_USER_AGENT,
            )
        elif action := hook.get("sleep"):
            await clock.sleep(float(action.get("seconds", 0)))
        elif action := hook.get("tcpSocket"):
            await handlers.tcp_connect(action, container, host=host, timeout_seconds=timeout_seconds)
    except NoAnswer as error:
        raise HookFailure(str(error)) from error
    except RuntimeFailure as error:
        raise HookFailure(error.message) from error
