"""Whole clusters under virtual time: what their users do and what goes wrong comes out of a seed, and so all else.

WHERRY_HISTORIES=1000 pytest tests/simulation/test_histories.py     that many seeds
WHERRY_SEED=17 pytest -s tests/simulation/test_histories.py         one of them, told from its beginning
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.histories import run_history

HISTORIES = int(os.environ.get("WHERRY_HISTORIES", "8"))
SEED = os.environ.get("WHERRY_SEED")
SEEDS = range(HISTORIES) if SEED is None else [int(SEED)]


@pytest.mark.parametrize("seed", SEEDS)
def test_what_must_always_hold_holds_at_every_write(seed: int) -> None:
    history = run_history(seed, tell_writes=SEED is not None)
    if SEED is not None:
        print("\n".join(history.told))
    assert history.broken == [], f"WHERRY_SEED={seed} replays this:\n" + "\n".join(history.told)


def test_a_seed_has_one_history_whatever_the_hashes_of_strings() -> None:
    def digest(hash_seed: str) -> str:
        code = "from tests.simulation.histories import run_history; print(run_history(3).digest)"
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=110
        )
        return done.stdout.decode()

    assert digest("1") == digest("2")
