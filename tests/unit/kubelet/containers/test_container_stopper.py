"""How signals are named by containers and images."""

from __future__ import annotations

import signal

import pytest

from kubelet.containers.container_stopper import signal_number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("SIGQUIT", signal.SIGQUIT),
        ("QUIT", signal.SIGQUIT),
        ("10", 10),
        ("SIGRTMIN", signal.SIGRTMIN),
        ("SIGRTMIN+3", signal.SIGRTMIN + 3),
        ("SIGRTMAX-1", signal.SIGRTMAX - 1),
        ("SIGNOTHING", None),
        ("SIGRTMAX+1", None),
        ("0", None),
        ("", None),
        (None, None),
    ],
)
def test_a_stop_signal_is_named_or_numbered(name: str | None, number: int | None) -> None:
    assert signal_number(name) == number
