"""What holds for all tests."""

from __future__ import annotations

import os

from hypothesis import settings

# The same examples every time, so that a run tells of the change at hand alone; WHERRY_RANDOM=1 looks for new ones.
# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("random", deadline=None)
settings.load_profile("random" if os.environ.get("WHERRY_RANDOM") else "repeatable")
