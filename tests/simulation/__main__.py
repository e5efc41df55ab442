"""`python -m tests.simulation SEED`: tells what happens in a history; `FIRST-LAST`: what breaks in many of them."""

from __future__ import annotations

import sys
import time

from tests.simulation.histories import run_history


def main(which: str, *flags: str) -> int:
    first, _, last = which.partition("-")
    broken = 0
    begun = time.process_time()
    for seed in range(int(first), int(last or first) + 1):
        history = run_history(seed, tell_writes=bool(flags))
        if not last:
            print("\n".join(history.told))
        if history.broken:
            broken += 1
            print(f"seed {seed}: {len(history.broken)} broken", *history.broken[:6], sep="\n    ")
        if not last:
            print(f"{history.seconds:.0f} s, {history.writes} writes, {history.digest}")
    histories = int(last or first) - int(first) + 1
    print(f"{histories} histories, {broken} broken; {time.process_time() - begun:.1f} s of CPU")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
