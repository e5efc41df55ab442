"""Prometheus' text form. Pure. Source: https://prometheus.io/docs/instrumenting/exposition_formats/"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, float]


def family(name: str, kind: str, words: str, samples: Iterable[Sample], *, time: float | None = None) -> str:
    """All samples of one name; "" if there are none. `time` is when they were taken, in seconds since 1970."""
    stamp = "" if time is None else f" {int(time * 1000)}"
    lines = [f"{name}{shown(labels)} {number(value)}{stamp}\n" for labels, value in samples]
    return "".join((f"# HELP {name} {words}\n# TYPE {name} {kind}\n", *lines)) if lines else ""


def shown(labels: Labels) -> str:
    """`{a="1",b="2"}`, in the order of the names."""
    if not labels:
        return ""
    pairs = (f'{key}="{_escaped(labels[key])}"' for key in sorted(labels))
    return "{" + ",".join(pairs) + "}"


def number(value: float) -> str:
    """A number as it is written; whole ones without a point."""
    return str(int(value)) if value == int(value) and abs(value) < 1 << 53 else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
