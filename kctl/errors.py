"""What a user reads when something goes wrong: one line, no traceback."""

from __future__ import annotations


class CommandError(Exception):
    """A mistake or failure to be told in one line; `exit_status` is the process's."""

    def __init__(self, message: str, *, exit_status: int = 1) -> None:
        super().__init__(message)
        self.exit_status = exit_status
