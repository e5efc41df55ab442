"""What of a log is asked for: the query parameters of `…/log` and /containerLogs, checked in Kubernetes' words.

Source: https://kubernetes.io/docs/reference/generated/kubernetes-api/v1.35/#read-log-pod-v1-core
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apimachinery.errors import ApiError, bad_request
from apimachinery.time import parse_rfc3339

STREAMS = ("All", "Stdout", "Stderr")


@dataclass(frozen=True, slots=True)
class LogOptions:
    """The parts of a log that are wanted; None is no limit. `since` is in seconds since 1970."""

    follow: bool = False
    previous: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since: float | None = None
    timestamps: bool = False
    stream: str = "All"


def parse(query: Mapping[str, str], now: float) -> LogOptions:
    """Read the parameters. Raises ApiError 400 for what can't be read, 422 for what is not allowed."""
    tail, limit = _number(query, "tailLines"), _number(query, "limitBytes")
    seconds, stream = _number(query, "sinceSeconds"), query.get("stream") or "All"
    if tail is not None and tail < 0:
        raise _refused("tailLines: Invalid value: must be greater than or equal to 0")
    if limit is not None and limit < 1:
        raise _refused("limitBytes: Invalid value: must be greater than or equal to 1")
    if seconds is not None and seconds < 1:
        raise _refused("sinceSeconds: Invalid value: must be greater than or equal to 1")
    if seconds is not None and query.get("sinceTime"):
        raise _refused("at most one of `sinceTime` or `sinceSeconds` may be specified")
    if stream not in STREAMS:
        raise _refused(f"stream: Unsupported value: {stream!r}: supported values: {', '.join(STREAMS)}")
    if tail is not None and stream != "All":
        raise _refused("`tailLines` and specific `stream` are mutually exclusive for now")
    return LogOptions(
        follow=_truth(query, "follow"),
        previous=_truth(query, "previous"),
        tail_lines=tail,
        limit_bytes=limit,
        since=_time(query) if seconds is None else now - seconds,
        timestamps=_truth(query, "timestamps"),
        stream=stream,
    )


def _number(query: Mapping[str, str], name: str) -> int | None:
    text = query.get(name)
    if not text:
        return None
    try:
        return int(text)
    except ValueError as error:
        raise bad_request(f"{name}: {text!r} is no whole number") from error


def _truth(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "false").lower() not in ("false", "0", "")


def _time(query: Mapping[str, str]) -> float | None:
    text = query.get("sinceTime")
    if not text:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError as error:
        raise bad_request(f"sinceTime: {text!r} is no RFC 3339 time") from error


def _refused(message: str) -> ApiError:
    return ApiError(422, "Invalid", message)
