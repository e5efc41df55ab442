"""Why a container could not be started, and when to try again."""

from __future__ import annotations


class StartFailure(Exception):
    """A container was not started: its waiting reason and message, and the time (unix seconds) of the next try.

    With `retry_at` None the run counts as one that has failed, and the restart policy says what follows.
    """

    def __init__(self, reason: str, message: str, *, retry_at: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


class PostStartFailure(StartFailure):
    """The container runs, but its postStart hook failed: it has to be ended."""

    def __init__(self, message: str, container_id: str) -> None:
        super().__init__("PostStartHookError", message)
        self.container_id = container_id
