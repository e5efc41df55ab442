"""The terminal of `kctl exec -it`: what was typed ahead is meant for the command, and in the end all is as it was."""

from __future__ import annotations

import os
import select
import termios
from collections.abc import Iterator
from io import TextIOWrapper

import pytest

from kctl.remote import raw_terminal


@pytest.fixture
def keyboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The other end of a terminal that is standard input."""
    keyboard, terminal = os.openpty()
    with os.fdopen(terminal, "r") as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        yield keyboard
    os.close(keyboard)


def stdin() -> TextIOWrapper:
    import sys

    assert isinstance(sys.stdin, TextIOWrapper)
    return sys.stdin


def test_what_was_typed_ahead_reaches_the_command(keyboard: int) -> None:
    os.write(keyboard, b"ls\n")
    # The line has arrived in the terminal, and nobody has read it.
    assert select.select([stdin()], [], [], 10)[0]
    with raw_terminal(True):
        assert select.select([stdin()], [], [], 10)[0], "it is still there"
        assert os.read(stdin().fileno(), 100) == b"ls\n"


def test_keys_are_passed_on_as_they_are_and_the_terminal_is_put_back(keyboard: int) -> None:
    before = termios.tcgetattr(stdin())
    with raw_terminal(True):
        os.write(keyboard, b"\x03")
        assert select.select([stdin()], [], [], 10)[0]
        assert os.read(stdin().fileno(), 100) == b"\x03"
    assert termios.tcgetattr(stdin()) == before


def test_without_a_terminal_nothing_is_touched() -> None:
    with raw_terminal(False):
        pass
