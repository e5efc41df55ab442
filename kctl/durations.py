"""How long, as people write it on a command line."""

from __future__ import annotations

import argparse

from apimachinery.duration import parse_seconds


def duration(text: str) -> float:
    """For argparse: the seconds of `30s`, `5m`, `1h30m` or a plain number."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
