"""Why a volume can't be had."""

from __future__ import annotations


class VolumeFailure(Exception):
    """A pod's volume could not be set up: `reason` is the event's, the message names the volume and says why."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class VolumeError(Exception):
    """What is wrong, in Kubernetes' words, not yet saying with which volume."""
