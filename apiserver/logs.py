"""Structured logs on standard error: a line for each thing that an operator would want to know, as key=value pairs.

2026-01-02T03:04:05.678Z info apiserver.server msg=listening address=127.0.0.1 port=6443
"""

from __future__ import annotations

import logging
import sys
import time

_LEVELS = {"WARNING": "warn", "CRITICAL": "error"}


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        level = _LEVELS.get(record.levelname, record.levelname.lower())
        text = f"{moment}.{int(record.msecs):03d}Z {level} {record.name} {record.getMessage()}"
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def setup(verbosity: int = 0) -> None:
    """Send this process's logs to standard error; 0 is for operators, 1 and more for finding faults."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbosity > 0 else logging.INFO)
    # Their lines tell of clients' manners (a connection cut short) and not of anything to be done here.
    for library in ("asyncio", "aiohttp"):
        logging.getLogger(library).setLevel(logging.WARNING)
    logging.getLogger("aiohttp.access").disabled = True


def kv(message: str, **fields: object) -> str:
    """A message and its fields as one line; values with spaces or quotes are quoted."""
    return " ".join([f"msg={_quoted(message)}", *(f"{key}={_quoted(str(value))}" for key, value in fields.items())])


def _quoted(text: str) -> str:
    if text and not any(c in text for c in ' "=\n\t'):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
