"""The node agent's own score, and a node that does not let it be set."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from kubelet.node import oom_score


def test_the_score_is_written(tmp_path: Path) -> None:
    file = tmp_path / "oom_score_adj"
    oom_score.set_own(-999, file)
    assert file.read_text() == "-999"


def test_a_node_that_does_not_allow_it_is_lived_with(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing:
        def write_text(self, _text: str) -> None:
            raise PermissionError

        def read_text(self) -> str:
            return "0\n"

    file: Any = Refusing()
    with caplog.at_level(logging.INFO):
        oom_score.set_own(-999, file)
    assert "CAP_SYS_RESOURCE is missing" in caplog.text


@pytest.mark.parametrize("text", ["-1001", "1001", "x"])
def test_a_score_that_the_kernel_would_not_take_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not between|invalid literal"):
        oom_score.parse_score(text)
