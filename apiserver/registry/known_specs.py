"""Specs of pods that were found to be right: of the hundreds of pods that a workload makes, one is looked at.

They have one spec, but for the name of the volume with their token, which admission draws anew for each
(`kube-api-access-x7k2p`). No rule goes by which characters are drawn, so that is left out of the comparison.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import orjson

from apiserver.registry.checks import Errors, Fields

# Together 4 MiB at most.
SPECS_MAX, SPEC_BYTES_MAX = 256, 16 << 10
_DRAWN_NAME = re.compile(rb'"kube-api-access-[a-z0-9]{5}"')
# No JSON has a NUL in it, so that this is no name that somebody could give.
_ANY_DRAWN_NAME = b'"\0"'
# The one that was met last comes last.
_known: dict[bytes, None] = {}


def check_once(spec: Fields, check: Callable[[], Errors]) -> Errors:
    """What is wrong with a spec: nothing if an equal one was found right before, else what `check` says."""
    key = _key(spec)
    if key is None:
        return check()
    if key in _known:
        del _known[key]
    elif errors := check():
        return errors
    _known[key] = None
    if len(_known) > SPECS_MAX:
        del _known[next(iter(_known))]
    return []


def _key(spec: Fields) -> bytes | None:
    """What equal specs have in common; None for one that is too long, or whose rules go by the pod's own name."""
    raw = orjson.dumps(spec)
    if len(raw) > SPEC_BYTES_MAX or b'"ephemeral"' in raw:
        return None
    drawn = _DRAWN_NAME.search(raw)
    return raw.replace(drawn.group(), _ANY_DRAWN_NAME) if drawn is not None else raw
