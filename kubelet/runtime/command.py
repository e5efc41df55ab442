"""What a container executes: the file, found as execvp(3) finds it, and its environment."""

from __future__ import annotations

import os

from kubelet.runtime import credentials

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class NotRunnable(Exception):
    """The command can't be executed; the message is what `kubectl describe` shows."""


def environment(env: Sequence[str], uid: int) -> dict[str, str]:
    """The environment, with HOME from the image's /etc/passwd unless it is given."""
    variables: dict[str, str] = {}
    for pair in env:
        key, _, value = pair.partition("=")
        variables[key] = value
    if not variables.get("HOME"):
        variables["HOME"] = credentials.home_of(uid)
    return variables


def find_executable(command: str, search_path: str) -> str:
    """The file to execute, found as execvp(3) does; NotRunnable in the words of Go's exec package."""
    if "/" in command:
        try:
            mode = os.stat(command).st_mode
        except OSError as error:
            raise NotRunnable(f'exec: "{command}": stat {command}: {reason_of(error)}') from None
        if mode & 0o170000 == 0o040000:
            raise NotRunnable(f'exec: "{command}": is a directory')
        if not mode & 0o111:
            raise NotRunnable(f'exec: "{command}": permission denied')
        return command
    for directory in search_path.split(":"):
        path = f"{directory or '.'}/{command}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    raise NotRunnable(f'exec: "{command}": executable file not found in $PATH')


def reason_of(error: OSError) -> str:
    """An errno in lower case, as programs of the container world spell them."""
    return (error.strerror or str(error)).lower()
