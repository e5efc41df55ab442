"""Send made-up requests to an API server of its own, and tell what made it fail or wait.

.venv/bin/python scripts/fuzz.py --examples 20 --start 7 --documents apps/v1
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.support.apiserver import running
from tests.support.fuzz import TOKEN, Fuzzer, write_token_file


def main() -> int:
    """Returns 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=10, help="for each operation, allowed and not (%(default)s)")
    parser.add_argument("--mutations", type=int, default=100, help="of an object of every kind (%(default)s)")
    parser.add_argument("--start", type=int, default=1, help="the same number makes the same requests (%(default)s)")
    parser.add_argument("--documents", default="", help="only OpenAPI documents whose path contains this")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with running(folder, ["--token-auth-file", str(write_token_file(folder))]) as server:
            asyncio.run(server.wait_ready())
            authority = server.data_dir / "pki" / "ca.crt"
            fuzzer = Fuzzer(server.url, TOKEN, authority, start=options.start, examples=options.examples)
            fuzzer.mutate(options.mutations)
            found = fuzzer.run(options.documents)
            print(*found.failures, sep="\n\n")
            print(
                f"requests={found.count} failures={len(found.failures)} answers={dict(sorted(found.answers.items()))}"
            )
            if found.failures:
                print(server.log())
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
