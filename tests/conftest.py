"""What holds for all tests."""

from __future__ import annotations

import os
import sys

from hypothesis import settings

# Some machines tell Python to keep no bytecode. Here that would cost every process that a test starts half a second
# of compiling what the one before it has compiled.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# The same examples every time, so that a run tells of the change at hand alone; WHERRY_RANDOM=1 looks for new ones.
# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("WHERRY_RANDOM") else "repeatable")
