"""Timestamps and durations: reading, writing, and their parts.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#timestamps-and-durations
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from functools import lru_cache

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import as_duration, as_timestamp
from apimachinery.cel.types import DURATION, INT, STRING, TIMESTAMP
from apimachinery.cel.values import Duration, Timestamp

LIBRARY = Library()
_SECOND = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)
_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": _SECOND, "m": 60 * _SECOND}
_UNITS["h"] = 3600 * _SECOND
_PART = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([+-]?)((?:{_PART})+|0)", re.ASCII)


def parse_timestamp(text: str) -> Timestamp:
    """The moment of an RFC 3339 text. Raises ValueError, or CelEvaluationError outside of the years 1 to 9999."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    if year == 0:
        raise CelEvaluationError("timestamp overflow")
    since = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - _EPOCH
    seconds = since.days * 86400 + since.seconds
    offset = 0
    if match[8]:
        offset = (int(match[9]) * 3600 + int(match[10]) * 60) * (-1 if match[8] == "-" else 1)
    fraction = (match[7] or "")[:9]
    return as_timestamp((seconds - offset) * _SECOND + int(fraction.ljust(9, "0") or 0), offset)


def parse_date(text: str) -> Timestamp:
    """Midnight (UTC) of a date. Raises ValueError."""
    return parse_timestamp(f"{text}T00:00:00Z")


def format_timestamp(moment: Timestamp) -> str:
    """RFC 3339 with the offset that it was read with, and as many digits of the fraction as it has."""
    seconds, nanoseconds = divmod(moment.nanoseconds, _SECOND)
    try:
        text = (_EPOCH + timedelta(seconds=seconds + moment.offset_seconds)).replace(tzinfo=None).isoformat()
    except OverflowError:
        raise CelEvaluationError("timestamp overflow")
    fraction = f".{nanoseconds:09d}".rstrip("0") if nanoseconds else ""
    hours, minutes = divmod(abs(moment.offset_seconds) // 60, 60)
    sign = "-" if moment.offset_seconds < 0 else "+"
    return f"{text}{fraction}{f'{sign}{hours:02d}:{minutes:02d}' if moment.offset_seconds else 'Z'}"


def parse_duration(text: str) -> Duration:
    """The span of a text such as `1h30m` or `-1.5s`. Raises ValueError, or CelEvaluationError if it is too long."""
    match = _DURATION.fullmatch(text)
    if match is None or len(text) > 200:
        raise ValueError(f"{text!r} is no duration")
    total = sum(int(Decimal(number) * _UNITS[unit]) for number, unit in re.findall(_PART, match[2], re.ASCII))
    return as_duration(-total if match[1] == "-" else total)


def format_duration(span: Duration) -> str:
    """Seconds, such as `5400s` or `1.5s`."""
    seconds, nanoseconds = divmod(abs(span.nanoseconds), _SECOND)
    exact = Decimal(repr(seconds + nanoseconds / _SECOND)).normalize()
    return f"{'-' if span.nanoseconds < 0 else ''}{exact:f}s"


@LIBRARY.function("timestamp", STRING, result=TIMESTAMP)
def _timestamp(text: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except ValueError:
        raise CelEvaluationError("type conversion error from 'string' to 'google.protobuf.Timestamp'")


@LIBRARY.function("timestamp", INT, result=TIMESTAMP)
def _timestamp_of_seconds(seconds: int) -> Timestamp:
    return as_timestamp(seconds * _SECOND)


@LIBRARY.function("duration", STRING, result=DURATION)
def _duration(text: str) -> Duration:
    try:
        return parse_duration(text)
    except ValueError:
        raise CelEvaluationError("type conversion error from 'string' to 'google.protobuf.Duration'")


@LIBRARY.function("duration", INT, result=DURATION)
def _duration_of_nanoseconds(nanoseconds: int) -> Duration:
    return Duration(nanoseconds)


LIBRARY.function("timestamp", TIMESTAMP, result=TIMESTAMP)(lambda moment: moment)
LIBRARY.function("duration", DURATION, result=DURATION)(lambda span: span)


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    hours, colon, minutes = name.partition(":")
    try:
        if colon:
            offset = int(hours) * 60 + (-int(minutes) if name.startswith("-") else int(minutes))
            return timezone(timedelta(minutes=offset))
        if name in ("", "UTC"):
            return UTC
        from zoneinfo import ZoneInfo

        return ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        raise CelEvaluationError(f"unknown time zone {name}")


def _getter(name: str, part: Callable[[datetime], int]) -> None:
    @LIBRARY.method(name, TIMESTAMP, result=INT)
    def in_utc(moment: Timestamp) -> int:
        return part(_EPOCH + timedelta(seconds=moment.nanoseconds // _SECOND))

    @LIBRARY.method(name, TIMESTAMP, STRING, result=INT)
    def in_zone(moment: Timestamp, zone: str) -> int:
        try:
            return part((_EPOCH + timedelta(seconds=moment.nanoseconds // _SECOND)).astimezone(_zone(zone)))
        except OverflowError:
            raise CelEvaluationError("timestamp overflow")


_getter("getFullYear", lambda time: time.year)
_getter("getMonth", lambda time: time.month - 1)
_getter("getDayOfYear", lambda time: time.timetuple().tm_yday - 1)
_getter("getDate", lambda time: time.day)
_getter("getDayOfMonth", lambda time: time.day - 1)
_getter("getDayOfWeek", lambda time: time.isoweekday() % 7)
_getter("getHours", lambda time: time.hour)
_getter("getMinutes", lambda time: time.minute)
_getter("getSeconds", lambda time: time.second)


@LIBRARY.method("getMilliseconds", TIMESTAMP, result=INT)
def _milliseconds(moment: Timestamp) -> int:
    return moment.nanoseconds % _SECOND // 10**6


@LIBRARY.method("getMilliseconds", TIMESTAMP, STRING, result=INT)
def _milliseconds_in_zone(moment: Timestamp, zone: str) -> int:
    _zone(zone)
    return moment.nanoseconds % _SECOND // 10**6


def _total(name: str, unit: int) -> None:
    @LIBRARY.method(name, DURATION, result=INT)
    def in_unit(span: Duration) -> int:
        whole = abs(span.nanoseconds) // unit
        return -whole if span.nanoseconds < 0 else whole


_total("getHours", 3600 * _SECOND)
_total("getMinutes", 60 * _SECOND)
_total("getSeconds", _SECOND)
_total("getMilliseconds", 10**6)
