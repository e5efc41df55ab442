"""A process that runs pods through the runtime, for tests that kill it: FOLDER CGROUP_ROOT PODS SCRIPT [ENDLESS].

Prints one line of JSON for each container that runs, then waits to be killed; with ENDLESS it removes its pods
and starts over instead.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from tests.support.containers import Node


async def main() -> None:
    """Run until killed."""
    folder, cgroup_root, pods, script, *endless = sys.argv[1:]
    node = Node(Path(folder), cgroup_root)
    await node.start()
    while True:
        for _ in range(int(pods)):
            pod = await node.pod()
            started = await node.run(script, pod=pod)
            record = {"pod": pod.pod_uid, "id": started.id, "pid": started.pid, "supervisor": pod.supervisor_pid}
            print(json.dumps(record), flush=True)
        if not endless:
            await asyncio.Event().wait()
        for sandbox in await node.runtime.sandboxes():
            await node.runtime.remove_sandbox(sandbox.pod_uid)


if __name__ == "__main__":
    asyncio.run(main())
