"""Lifecycle hooks: what a container wants done right after its start and right before its end.

Source: https://kubernetes.io/docs/concepts/containers/container-lifecycle-hooks/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiclient.clock import Clock
from apimachinery.meta import Object
from kubelet.containers import handlers, http_action
from kubelet.containers.handlers import NoAnswer
from kubelet.containers.http_action import HOOK_USER_AGENT, NotTLS
from kubelet.pods import pod_spec
from kubelet.pods.pod_events import PodEvents
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
    events: PodEvents,
    clock: Clock,
    timeout_seconds: float = HOOK_TIMEOUT_SECONDS,
) -> None:
    """Run a hook to its end. Raises HookFailure."""
    whose = f'for Container "{container["name"]}" in Pod "{pod_spec.describe(pod)}" failed - error:'
    try:
        if action := hook.get("exec"):
            argv = action.get("command") or []
            answer = await handlers.run_command(
                runtime, pod["metadata"]["uid"], container_id, argv, timeout_seconds=timeout_seconds
            )
            if answer.code != 0:
                raise NoAnswer(f"command '{' '.join(argv)}' exited with {answer.code}: {answer.text}")
        elif action := hook.get("httpGet"):
            await _http_get(action, pod, container, host=host, events=events, timeout_seconds=timeout_seconds)
        elif action := hook.get("sleep"):
            await clock.sleep(float(action.get("seconds") or 0))
        else:
            # `tcpSocket` can be written down, and has never worked in a hook.
            raise HookFailure(f"Cannot run handler: invalid handler: {', '.join(hook)}")
    except NoAnswer as error:
        raise HookFailure(f"{_named(hook)} {whose} {error}") from error
    except RuntimeFailure as error:
        raise HookFailure(f"{_named(hook)} {whose} {error.message}") from error


async def _http_get(
    action: Mapping[str, Any],
    pod: Object,
    container: Container,
    *,
    host: str,
    events: PodEvents,
    timeout_seconds: float,
) -> None:
    """Any answer will do. A server that speaks no TLS is asked without, and then is not told any credentials."""
    how: dict[str, Any] = {"host": host, "timeout_seconds": timeout_seconds, "user_agent": HOOK_USER_AGENT}
    try:
        await http_action.http_get(action, container, **how)
    except NotTLS as not_tls:
        try:
            await http_action.http_get(action, container, **how, scheme="http", without=("Authorization",))
        except NoAnswer:
            raise not_tls from None
        address = handlers.joined(action.get("host") or host, handlers.port_number(action.get("port", ""), container))
        message = f"request to HTTPS lifecycle hook {address} got HTTP response, retry with HTTP succeeded"
        events.warning(pod, "LifecycleHTTPFallback", message)


def _named(hook: Mapping[str, Any]) -> str:
    if action := hook.get("exec"):
        return f"Exec lifecycle hook ([{' '.join(action.get('command') or [])}])"
    return f"HTTP lifecycle hook ({(hook.get('httpGet') or {}).get('path', '')})"
