"""Keeps the node agent, and with it the supervisors of its pods, from being killed for others' want of memory.

Containers have scores of their own (kubelet/pods/qos.py). Source: proc_pid_oom_score_adj(5),
https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
"""

from __future__ import annotations

import logging
from pathlib import Path

from apiclient.logs import kv

logger = logging.getLogger(__name__)

DEFAULT_SCORE = -999
_FILE = Path("/proc/self/oom_score_adj")


def set_own(score: int, file: Path = _FILE) -> None:
    """Set the score of this process and of those that it forks from now on; said if this node does not allow it."""
    try:
        file.write_text(str(score))
    except PermissionError:
        found = file.read_text().strip()
        logger.info(
            kv("oom score not set", wanted=score, found=found, why="CAP_SYS_RESOURCE is missing on this node")
        )


def parse_score(text: str) -> int:
    """--oom-score-adj: from -1000 to 1000. Raises ValueError."""
    score = int(text)
    if not -1000 <= score <= 1000:
        raise ValueError(f"{score} is not between -1000 and 1000")
    return score
