"""What is wrong with a Dockerfile, or with what one of its steps did."""

from __future__ import annotations


class BuildError(ValueError):
    """A build that can't go on; `line` is that of the Dockerfile (from 1), 0 if it is about none."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
