"""Nothing that a client may send makes the server fail or keeps the client waiting.

These are few requests, and always the same; `scripts/fuzz.py` sends as many as one likes.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.apiserver import running
from tests.support.fuzz import TOKEN, Fuzzer, write_token_file

START = 35
OPERATIONS = 12
MUTATIONS = 12


def test_made_up_requests_are_answered(tmp_path: Path) -> None:
    flags = ["--token-auth-file", str(write_token_file(tmp_path))]
    with running(tmp_path, flags) as server:
        asyncio.run(server.wait_ready())
        authority = server.data_dir / "pki" / "ca.crt"
        fuzzer = Fuzzer(server.url, TOKEN, authority, start=START, examples=1, operations_max=OPERATIONS)
        fuzzer.mutate(MUTATIONS)
        found = fuzzer.run()
        assert found.failures == [], "\n".join([*found.failures, server.log()])
        assert found.count > OPERATIONS
        asyncio.run(server.wait_ready())
