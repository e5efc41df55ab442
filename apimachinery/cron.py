"""Cron schedules: `*/5 * * * 1-5`, `@hourly`, `@every 1h30m`.

Five fields: minute, hour, day of the month, month, day of the week (0 is Sunday). A field is a list of `*`, `a`,
`a-b`, each perhaps with `/step`; months and days of the week may be named by their first three letters.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax and
github.com/robfig/cron, which Kubernetes uses and whose words are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from apimachinery.duration import parse_duration

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NUMBER = re.compile(r"[+-]?[0-9]+")
_EVERY = "@every "


@dataclass(frozen=True, slots=True)
class _Field:
    low: int
    high: int
    names: Mapping[str, int]


_FIELDS = (
    _Field(0, 59, {}),
    _Field(0, 23, {}),
    _Field(1, 31, {}),
    _Field(1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    _Field(0, 6, {name: number for number, name in enumerate(_WEEKDAYS)}),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something happens: at the minutes that are in all five sets, or every so many seconds.

    A day matches if both of its fields do; if both say something (no `*`), it is enough that one does.
    """

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    any_weekday: bool = False
    every_seconds: int = 0


def parse(text: str) -> Schedule:
    """The schedule of a text. Raises ValueError."""
    if not text:
        raise ValueError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        # Older schedules name their own time zone; today a field of its own does.
        _, space, rest = text.partition(" ")
        if not space:
            raise ValueError("invalid schedule format: no schedule follows the time zone")
        text = rest.strip()
    if text.startswith("@"):
        return _described(text)
    words = text.split()
    if len(words) != len(_FIELDS):
        shown = f"[{' '.join(words)}]"
        raise ValueError(f"expected exactly {len(_FIELDS)} fields, found {len(words)}: {shown}")
    minutes, hours, days, months, weekdays = (
        _parsed(word, field) for word, field in zip(words, _FIELDS, strict=True)
    )
    return Schedule(minutes[0], hours[0], days[0], months[0], weekdays[0], days[1], weekdays[1])


def _described(text: str) -> Schedule:
    if text in _DESCRIPTORS:
        return parse(_DESCRIPTORS[text])
    if text.startswith(_EVERY):
        try:
            seconds = parse_duration(text.removeprefix(_EVERY))
        except ValueError as error:
            raise ValueError(f"failed to parse duration {text}: {error}") from None
        return Schedule(every_seconds=max(1, int(seconds)))
    raise ValueError(f"unrecognized descriptor: {text}")


def _parsed(word: str, field: _Field) -> tuple[frozenset[int], bool]:
    """(the numbers, whether all of them were meant)"""
    numbers: set[int] = set()
    star = False
    for part in filter(None, word.split(",")):
        found, every = _range(part, field)
        numbers.update(found)
        star = star or every
    return frozenset(numbers), star


def _range(part: str, field: _Field) -> tuple[range, bool]:
    bounds, *steps = part.split("/")
    low, *highs = bounds.split("-")
    star = low in ("*", "?")
    if star:
        start, end = field.low, field.high
    else:
        start = end = _number(low, field)
        if len(highs) > 1:
            raise ValueError(f"too many hyphens: {part}")
        if highs:
            end = _number(highs[0], field)
    step = 1
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {part}")
    if steps:
        step = _integer(steps[0])
        # `5/10` means from 5 on.
        end = field.high if not highs else end
        star = star and step <= 1
    if start < field.low:
        raise ValueError(f"beginning of range ({start}) below minimum ({field.low}): {part}")
    if end > field.high:
        raise ValueError(f"end of range ({end}) above maximum ({field.high}): {part}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {part}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {part}")
    return range(start, end + 1, step), star


def _number(word: str, field: _Field) -> int:
    named = field.names.get(word.lower())
    return _integer(word) if named is None else named


def _integer(word: str) -> int:
    if not _NUMBER.fullmatch(word):
        raise ValueError(f'failed to parse int from {word}: strconv.Atoi: parsing "{word}": invalid syntax')
    number = int(word)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {word}")
    return number
