"""Asks a container once, in the way that its probe says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.meta import Object
from kubelet.containers import handlers, http_action
from kubelet.containers.handlers import Answer, NoAnswer
from kubelet.pods.pod_spec import Container
from kubelet.probes.tally import Outcome
from kubelet.runtime import Runtime, RuntimeFailure

ATTEMPTS_MAX = 3
MESSAGE_CHARACTERS_MAX = 1024


async def ask(
    runtime: Runtime,
    pod: Object,
    container: Container,
    container_id: str,
    probe: Mapping[str, Any],
    *,
    host: str,
    timeout_seconds: float,
) -> tuple[Outcome, str]:
    """(outcome, what to say of it). What the runtime could not ask is tried twice more before it is unknown."""
    problem = ""
    for _ in range(ATTEMPTS_MAX):
        try:
            return await _ask(runtime, pod, container, container_id, probe, host, timeout_seconds)
        except RuntimeFailure as error:
            problem = error.message
            if error.reason in ("ContainerNotFound", "SandboxNotFound"):
                break
    return Outcome.UNKNOWN, problem


async def _ask(
    runtime: Runtime,
    pod: Object,
    container: Container,
    container_id: str,
    probe: Mapping[str, Any],
    host: str,
    timeout_seconds: float,
) -> tuple[Outcome, str]:
    try:
        if action := probe.get("exec"):
            argv = action.get("command") or []
            answer = await handlers.run_command(
                runtime, pod["metadata"]["uid"], container_id, argv, timeout_seconds=timeout_seconds
            )
            return (Outcome.SUCCESS if answer.code == 0 else Outcome.FAILURE), answer.text[:MESSAGE_CHARACTERS_MAX]
        if action := probe.get("httpGet"):
            answer = await http_action.http_get(
                action,
                container,
                host=host,
                timeout_seconds=timeout_seconds,
                user_agent=http_action.PROBE_USER_AGENT,
            )
            return _http_outcome(answer)
        if action := probe.get("tcpSocket"):
            await handlers.tcp_connect(action, container, host=host, timeout_seconds=timeout_seconds)
            return Outcome.SUCCESS, ""
        if action := probe.get("grpc"):
            from kubelet.probes import grpc_health

            try:
                await grpc_health.check(
                    host,
                    int(action["port"]),
                    action.get("service") or "",
                    timeout_seconds=timeout_seconds,
                    user_agent=http_action.PROBE_USER_AGENT,
                )
            except grpc_health.Unhealthy as unhealthy:
                return Outcome.FAILURE, str(unhealthy)[:MESSAGE_CHARACTERS_MAX]
            return Outcome.SUCCESS, ""
    except NoAnswer as error:
        return Outcome.FAILURE, str(error)[:MESSAGE_CHARACTERS_MAX]
    return Outcome.UNKNOWN, f"missing probe handler for {pod['metadata']['name']}:{container['name']}"


def _http_outcome(answer: Answer) -> tuple[Outcome, str]:
    """A redirect that led to another host was not followed, and is as good as an answer."""
    if 300 <= answer.code < 400:
        text = f"Probe terminated redirects, Response body: {answer.text}"
        return Outcome.WARNING, text[:MESSAGE_CHARACTERS_MAX]
    if 200 <= answer.code < 300:
        return Outcome.SUCCESS, ""
    return Outcome.FAILURE, f"HTTP probe failed with statuscode: {answer.code}"
