"""Times on the wire (RFC 3339, UTC) and as people read them.

Times inside Wherry are float seconds since 1970; the clock itself is passed in, never read here.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache


def rfc3339(unix_seconds: float) -> str:
    """`2026-01-02T03:04:05Z`: Kubernetes' Time, whole seconds."""
    return f"{_second(int(unix_seconds))}Z"


def rfc3339_micro(unix_seconds: float) -> str:
    """`2026-01-02T03:04:05.678901Z`: Kubernetes' MicroTime."""
    fraction, whole = math.modf(unix_seconds)
    # To the nearest, as datetime does; a second more or less if that is where it lies.
    more, micros = divmod(round(fraction * 1e6), 1_000_000)
    return f"{_second(int(whole) + more)}.{micros:06d}Z"


# Thousands of times a second the time is written down, and within a second nearly all of it is the same.
@lru_cache(maxsize=256)
def _second(unix_seconds: int) -> str:
    return datetime.fromtimestamp(unix_seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970 of either form. Raises ValueError."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()


@lru_cache(maxsize=4096)
def canonical_time(text: str) -> str:
    """The form in which Kubernetes keeps a Time: whole seconds in UTC. Raises ValueError."""
    return _canonical(text, rfc3339)


@lru_cache(maxsize=4096)
def canonical_micro_time(text: str) -> str:
    """The form in which Kubernetes keeps a MicroTime: microseconds in UTC. Raises ValueError."""
    return _canonical(text, rfc3339_micro)


def _canonical(text: str, form: Callable[[float], str]) -> str:
    try:
        return form(parse_rfc3339(text))
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(f"must be a time as of RFC 3339, such as 2026-01-02T03:04:05Z ({error})") from error


def human_duration(seconds: float) -> str:
    """An age as kubectl prints it: two units at most, fewer as it grows.

    Source: k8s.io/apimachinery/pkg/util/duration.
    """
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if days < 730:
        return f"{days}d"
    years = days // 365
    if years < 8:
        return f"{years}y{days % 365}d" if days % 365 else f"{years}y"
    return f"{years}y"
