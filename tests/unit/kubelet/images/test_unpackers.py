"""What the template of unpacking processes does when its owner is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked in a chroot")

WAIT_SECONDS_MAX = 60
# Unpacks half of an archive, says so, and waits to be killed.
OWNER = """
import os, sys, time
from kubelet.images.unpackers import LayerError, Unpackers
with Unpackers() as unpackers:
    folder = sys.argv[1]
    os.mkdir(folder)
    job = unpackers.start(sys.stdin.fileno(), folder, os.open(folder, os.O_RDONLY))
    try:
        job.wait()
    except LayerError:
        template = f"/proc/{unpackers._pid}/task/{unpackers._pid}/children"
        while open(template).read():
            time.sleep(0.01)
        print("ended", flush=True)
    time.sleep(1000)
"""


def test_folders_of_a_killed_owner_go_whether_their_layers_have_ended_or_not(tmp_path: Path) -> None:
    folder = tmp_path / "incoming"
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdin is not None and owner.stdout is not None
        owner.stdin.write(b"x" * 100)
        owner.stdin.close()
        assert owner.stdout.readline() == b"ended\n"
        assert folder.exists()
        owner.kill()
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while folder.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
