"""What can be seen of a container's start without making one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_nothing_can_be_imported_once_a_process_is_on_its_way_into_a_container(tmp_path: Path) -> None:
    """An image's own module would else run with all rights that the process has yet to give up."""
    (tmp_path / "planted.py").write_text("print('ran')\n")
    program = (
        "import sys\n"
        "from kubelet.runtime import launch\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "launch.import_nothing_more()\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "for name in ('planted', 'traceback', 'encodings.idna'):\n"
        "    try:\n"
        "        __import__(name)\n"
        "    except ImportError:\n"
        "        print('refused')\n"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["refused"] * 3, done.stdout + done.stderr
