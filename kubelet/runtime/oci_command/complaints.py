"""How the engine that calls is told what went wrong: as runc tells it, on standard error and in the file of --log."""

from __future__ import annotations

import os
import sys

from kubelet.runtime.oci_command.arguments import Arguments
from kubelet.runtime.oci_command.state import now

NAME = "wherry-runtime"


def complain(given: Arguments, text: str, level: str = "error") -> None:
    """Tell the engine, and whoever reads standard error."""
    message = f"{given.command}: {text}" if level == "error" else text
    line = f'time="{now()}" level={level} msg={_quoted(message)}\n'
    path = given.value("log")
    if path:
        if given.value("log-format", "text") == "json":
            import json

            logged = json.dumps({"level": level, "msg": message, "time": now()}) + "\n"
        else:
            logged = line
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.write(fd, logged.encode())
        os.close(fd)
    if level == "error" or not path:
        sys.stderr.write(line if level != "error" else f"{NAME}: {message}\n")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
