"""How many seats a request takes: one, or more for a list of many objects. Pure.

Source: k8s.io/apiserver/pkg/util/flowcontrol/request/list_work_estimator.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from apiserver.request_info import RequestInfo

OBJECTS_PER_SEAT = 100
# Longer numbers are not looked at: what is wrong with a limit is told once it is its turn.
_LIMIT = re.compile(r"[1-9][0-9]{0,18}")


def objects_listed(info: RequestInfo, query: Mapping[str, str], count: int) -> int:
    """How many objects a list, or the start of a watch, goes through, out of so many that there are."""
    if info.selected_name:
        return 1
    if info.verb == "watch" and not _begins_with_list(query):
        return 0
    limit = query.get("limit", "")
    selects = "labelSelector" in query or "fieldSelector" in query
    if _LIMIT.fullmatch(limit) and not selects:
        return min(int(limit), count)
    return count


def _begins_with_list(query: Mapping[str, str]) -> bool:
    return query.get("sendInitialEvents") in ("true", "1") or query.get("resourceVersion", "") in ("", "0")


def width(objects: int, width_max: int) -> int:
    """The seats for going through so many objects."""
    return max(1, min(math.ceil(objects / OBJECTS_PER_SEAT), width_max))
