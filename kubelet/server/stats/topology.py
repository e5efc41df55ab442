"""What the machine is made of, as far as figures tell it: cores, sockets, memory, the disk; proc_cpuinfo(5)."""

from __future__ import annotations

import os
from pathlib import Path

from kubelet.node import machine
from kubelet.server.stats.cadvisor import Node
from kubelet.server.stats.usage import of_machine


def node(folder: Path) -> Node:
    """This machine; `folder` is on the disk that counts as the node's."""
    found = os.statvfs(folder)
    packages, cores, threads = count(Path("/proc/cpuinfo").read_text())
    return Node(
        machine=machine.inspect(),
        cores=threads or os.cpu_count() or 1,
        physical_cores=cores,
        sockets=packages,
        swap_bytes=of_machine().swap_limit or 0,
        disk=(device(folder), found.f_blocks * found.f_frsize),
    )


def count(cpuinfo: str) -> tuple[int, int, int]:
    """(sockets, cores, threads); where nothing is said of sockets and cores, each thread is a core of one socket."""
    threads, cores, packages = 0, set[tuple[str, str]](), set[str]()
    package = ""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        match name.strip():
            case "processor":
                threads += 1
            case "physical id":
                package = value.strip()
                packages.add(package)
            case "core id":
                cores.add((package, value.strip()))
    return max(1, len(packages)), len(cores) or threads, threads


def device(folder: Path) -> str:
    """The device that a folder is on, as it was mounted; proc_pid_mountinfo(5)."""
    number = os.stat(folder).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == wanted:
            return after.split()[1]
    return ""
