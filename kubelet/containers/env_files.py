"""Environment files (`fileKeyRef`): variables that an earlier container of the pod has written into a volume.

A strict subset of what a shell reads: NAME='value', nothing in the value is special but the quote that ends it,
values may have several lines, and comments begin with `#`.

Source: https://kubernetes.io/docs/tasks/inject-data-application/define-environment-variable-via-file/
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from kubelet.runtime import syscalls

FILE_BYTES_MAX = 1 << 20
_BLANKS = " \t"


class InvalidFile(Exception):
    """The file can't be read as environment variables."""


def read(volume: Path, path: str) -> str:
    """The text of a file of a volume. Containers may have made anything of it: it is opened as if the volume were

    all that there is, and only as a regular file. Raises OSError, InvalidFile.
    """
    root = os.open(volume, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        descriptor = syscalls.openat2(root, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    finally:
        os.close(root)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidFile(f"{path} is not a file")
        content = file.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise InvalidFile(f"{path} has more than {FILE_BYTES_MAX} bytes")
    return content.decode(errors="surrogateescape")


def value_of(text: str, key: str) -> str:
    """The value of a variable, "" if it is not there. What stands behind it is not looked at. Raises InvalidFile."""
    lines = iter(enumerate(text.split("\n"), start=1))
    for number, line in lines:
        line = line.removesuffix("\r").lstrip(_BLANKS)
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals:
            raise _invalid(number, "missing '='")
        if not name.rstrip(_BLANKS):
            raise _invalid(number, "empty variable name")
        if name != name.rstrip(_BLANKS):
            raise _invalid(number, "whitespace before '=' is not allowed")
        if value != value.lstrip(_BLANKS):
            # As in a shell, `NAME= 'value'` sets NAME to nothing.
            if name == key:
                return ""
            continue
        if not value.startswith("'"):
            raise _invalid(number, "value must be enclosed in single quotes")
        collected, quote, rest = value[1:].partition("'")
        while not quote:
            following = next(lines, None)
            if following is None:
                raise InvalidFile(
                    f"invalid environment variable format starting at line {number}: unclosed single quote"
                )
            more, quote, rest = following[1].removesuffix("\r").partition("'")
            collected += f"\n{more}"
        if rest.lstrip(_BLANKS) and not rest.lstrip(_BLANKS).startswith("#"):
            raise _invalid(number, "unexpected content after closing quote")
        if name == key:
            return collected
    return ""


def _invalid(number: int, why: str) -> InvalidFile:
    return InvalidFile(f"invalid environment variable format at line {number}: {why}")
