"""Starts parts from processes that have imported what they run on: `python -m kctl.cluster.launch`.

Most of a part's start is importing. What all parts import is imported here once; then a process is forked for each
package, which goes on importing, and waits for the word; then it forks the parts, which share all of that memory.
None of these processes has threads or an event loop when it forks.

Standard input has a line with the parts, as the supervisor knows them, and then the names of those to start, a line
each; if it ends without any, nothing is started. `NAME PID` goes to descriptor 3 for each that was.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import sys
from typing import Any

REPORT = 3
SHARED = ("apiclient.events", "apiclient.informer", "apiclient.kubeconfig", "uvloop")
CLONE_NEWNET = 0x40000000

Spec = dict[str, Any]


def main() -> None:
    """Import, wait, fork, end."""
    with os.fdopen(0, "rb", closefd=False) as orders:
        specs: list[Spec] = json.loads(orders.readline())
        for module in SHARED:
            importlib.import_module(module)
        words: list[int] = []
        for package in dict.fromkeys(_package(spec) for spec in specs):
            words.append(_nursery(package, specs, words))
        names = orders.read()
    for word in words:
        with contextlib.suppress(BrokenPipeError):  # it could not import its package, and has said why
            os.write(word, names)
        os.close(word)


def _package(spec: Spec) -> str:
    """`kubelet` of `python -m kubelet …`."""
    package: str = spec["argv"][spec["argv"].index("-m") + 1]
    return package


def _nursery(package: str, specs: list[Spec], others: list[int]) -> int:
    """Fork a process that forks the parts of one package; returns where it waits for their names."""
    read, word = os.pipe()
    if os.fork():
        os.close(read)
        return word
    for descriptor in (word, *others):  # or those who read there would never see the end
        os.close(descriptor)
    importlib.import_module(f"{package}.__main__")
    gc.collect()
    gc.freeze()  # what there is stays, and the children's collectors need not touch it
    with os.fdopen(read, "rb") as orders:
        names = orders.read().decode().split()
    for spec in specs:
        if _package(spec) == package and spec["name"] in names:
            pid = os.fork()
            if not pid:
                _become(spec)
            os.write(REPORT, f"{spec['name']} {pid}\n".encode())
    os._exit(0)


def _become(spec: Spec) -> None:
    """Be this part, as if it had been started from scratch; does not return."""
    os.close(REPORT)
    os.setsid()
    os.chdir("/")
    for descriptor, path, flags in (
        (0, "/dev/null", os.O_RDONLY),
        (1, spec["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT),
    ):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    if spec["netns"]:
        _enter_network(f"/run/netns/{spec['netns']}")
    show_command_line(spec["argv"])
    package = _package(spec)
    sys.argv = spec["argv"][spec["argv"].index(package) :]
    del sys.modules[f"{package}.__main__"]
    runpy.run_module(package, run_name="__main__", alter_sys=True)
    sys.exit()


def _enter_network(path: str) -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    with open(path) as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), path)


def show_command_line(argv: list[str]) -> None:
    """Have `ps` show this command line (proc_pid_cmdline(5)); what has no room in the present one is cut off."""
    with open("/proc/self/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b"".join(word.encode() + b"\0" for word in argv)[: end - begin - 1]
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        memory.seek(begin)
        memory.write(text.ljust(end - begin, b"\0"))


if __name__ == "__main__":
    main()
