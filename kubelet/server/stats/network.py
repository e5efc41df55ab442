"""What has gone through the network interfaces of the node and of its pods; proc_pid_net(5), /proc/PID/net/dev."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kubelet.server.stats.groups import read

DEFAULT_INTERFACE = "eth0"
LOOPBACK = "lo"
_FIRST_SENT = 8
_DEFAULT_ROUTE = "00000000"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What one interface has counted, received and sent."""

    interface: str
    received_bytes: int
    received_packets: int
    received_errors: int
    received_dropped: int
    sent_bytes: int
    sent_packets: int
    sent_errors: int
    sent_dropped: int


def of_process(pid: int) -> list[Traffic]:
    """The interfaces of the network that a process is in; none if there is no such process."""
    return parse(read(f"/proc/{pid}/net/dev"))


def parse(text: str) -> list[Traffic]:
    """The lines of /proc/net/dev, all but of the loopback interface."""
    found = []
    for line in text.splitlines():
        name, colon, numbers = line.partition(":")
        if not colon or name.strip() == LOOPBACK:
            continue
        counts = list(map(int, numbers.split()))
        sent = counts[_FIRST_SENT:]
        found.append(Traffic(name.strip(), *counts[:4], *sent[:4]))
    return found


def default_interface(routes: Path = Path("/proc/net/route")) -> str:
    """The interface of the node's default route, "" if there is none."""
    for line in read(str(routes)).splitlines()[1:]:
        fields = line.split()
        if len(fields) > 1 and fields[1] == _DEFAULT_ROUTE:
            return fields[0]
    return ""
