"""The command: `wherry-runtime [GLOBAL OPTION…] COMMAND [OPTION…] [ID] [ARGUMENT…]`.

Mistakes are told as runc tells them, which engines read: a line on standard error, and where --log names a file one
in there, as text or as JSON. The exit code is 1 then.
"""

from __future__ import annotations

import os
import sys

from kubelet.runtime.oci_command.arguments import Arguments, UsageError, parse
from kubelet.runtime.oci_command.complaints import NAME, complain
from kubelet.runtime.oci_command.state import DEFAULT_ROOT, Failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = "0.1.0"
SPEC_VERSION = "1.2.0"
_ABOUT = ("state", "list", "ps", "features", "spec")
_RESOURCES = ("pause", "resume", "update", "events")


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit status."""
    try:
        given = parse(sys.argv[1:] if words is None else words)
    except UsageError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    if given.flag("version"):
        print(f"{NAME} version {VERSION}\nspec: {SPEC_VERSION}")
        return 0
    if not given.command:
        from kubelet.runtime.oci_command.about import usage

        print(usage())
        return 0
    try:
        return _run(given)
    except (Failed, UsageError) as error:
        text = str(error)
    except OSError as error:
        text = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    complain(given, text)
    return 255 if given.command == "exec" else 1


def _run(given: Arguments) -> int:
    if given.flag("systemd-cgroup"):
        raise Failed("--systemd-cgroup: cgroups are made by this runtime itself (use the cgroupfs manager)")
    root = os.path.abspath(given.value("root", DEFAULT_ROOT))
    if given.command in _ABOUT:
        from kubelet.runtime.oci_command.about import COMMANDS as about

        return about[given.command](root, given)
    if given.command in _RESOURCES:
        from kubelet.runtime.oci_command.resources import COMMANDS as resources

        return resources[given.command](root, given)
    if given.command == "exec":
        from kubelet.runtime.oci_command.further_process import run

        return run(root, given)
    from kubelet.runtime.oci_command.lifecycle import COMMANDS as lifecycle

    return lifecycle[given.command](root, given)
