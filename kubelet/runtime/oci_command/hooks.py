"""Hooks: programs that the config wants run at certain moments, with the container's state on standard input.

Source: https://github.com/opencontainers/runtime-spec/blob/main/config.md#posix-platform-hooks
"""

from __future__ import annotations

import json
import os
import select
import signal

from kubelet.runtime.oci_command.state import Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Hook = Mapping[str, Any]

OUTPUT_BYTES_MAX = 4096


def run(kind: str, hooks: Sequence[Hook], state: Mapping[str, Any]) -> None:
    """Run hooks one after the other. Raises Failed with what the first that fails has to say."""
    for number, hook in enumerate(hooks):
        try:
            problem = _run(hook, state)
        except OSError as error:
            problem = f"{hook['path']}: {error.strerror}"
        if problem:
            raise Failed(f"error running {kind} hook #{number}: {problem}")


def _run(hook: Hook, state: Mapping[str, Any]) -> str:
    """Run a hook to its end; what is wrong, or ""."""
    reads, writes = os.pipe2(os.O_CLOEXEC)
    says, hears = os.pipe2(os.O_CLOEXEC)
    environment = dict(pair.partition("=")[::2] for pair in hook.get("env") or ())
    actions = [(os.POSIX_SPAWN_DUP2, reads, 0), (os.POSIX_SPAWN_DUP2, hears, 1), (os.POSIX_SPAWN_DUP2, hears, 2)]
    try:
        pid = os.posix_spawn(
            hook["path"], list(hook.get("args") or [hook["path"]]), environment, file_actions=actions
        )
    finally:
        os.close(reads)
        os.close(hears)
    pidfd = os.pidfd_open(pid)
    try:
        # A pipe holds more than any state: this does not wait.
        os.write(writes, json.dumps(state).encode())
    except BrokenPipeError:
        pass  # it does not care
    finally:
        os.close(writes)
    timeout = hook.get("timeout")
    ended = select.select([pidfd], [], [], timeout if timeout else None)[0]
    if not ended:
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(pidfd)
    os.set_blocking(says, False)
    try:
        output = os.read(says, OUTPUT_BYTES_MAX).decode(errors="replace").strip()
    except BlockingIOError:
        output = ""
    os.close(says)
    if not ended:
        return f"hook ran past specified timeout of {timeout}s"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}, stdout and stderr: {output}" if code else ""
