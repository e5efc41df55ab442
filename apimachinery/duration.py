"""Durations as Go writes them: `1h30m`, `1.5s`, `300ms`.

Source: https://pkg.go.dev/time#ParseDuration
"""

from __future__ import annotations

import re

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?")
_PART = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]+)?")


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total = 0.0
    if not rest:
        raise ValueError(f'time: invalid duration "{text}"')
    while rest:
        match = _PART.match(rest)
        if match is None or not (match[1] or (match[2] or "")[1:]):
            raise ValueError(f'time: invalid duration "{text}"')
        if not match[3]:
            raise ValueError(f'time: missing unit in duration "{text}"')
        if match[3] not in _UNITS:
            raise ValueError(f'time: unknown unit "{match[3]}" in duration "{text}"')
        total += float(f"{match[1] or 0}{match[2] or ''}") * _UNITS[match[3]]
        rest = rest[match.end() :]
    return -total if text.startswith("-") else total


def parse_seconds(text: str) -> float:
    """Seconds as command lines take them: a duration or a plain number, not below 0. Raises ValueError."""
    try:
        seconds = float(text) if _NUMBER.fullmatch(text) else parse_duration(text)
    except ValueError:
        seconds = -1.0
    if seconds < 0:
        raise ValueError(f"{text!r} is no duration such as 30s or 1m30s")
    return seconds


def duration_text(seconds: float) -> str:
    """As Go writes it, to the millisecond: `0s`, `300ms`, `1.5s`, `2m0s`, `4h0m0s`."""
    millis = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 and millis else ""
    if 0 < millis < 1000:
        return f"{sign}{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    text = f"{rest / 1000:g}s"
    if minutes >= 60:
        return f"{sign}{minutes // 60}h{minutes % 60}m{text}"
    return f"{sign}{minutes}m{text}" if minutes else sign + text
