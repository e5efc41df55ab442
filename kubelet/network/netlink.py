"""The few rtnetlink messages that a pod network needs, encoded by hand.

A pod's start waits for its network, so what is sent here is sent in batches: all messages for one network
namespace leave in one write, and the kernel's acknowledgements are read back in order. All calls block (for
microseconds, or for milliseconds when the kernel's RTNL lock is held elsewhere), so callers run them in a
thread.

Sources: netlink(7), rtnetlink(7), veth(4), RFC 3549.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR = 20
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3

IFF_UP = 1
IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO, IFLA_NET_NS_FD = 3, 4, 10, 18, 28
IFLA_INFO_KIND, IFLA_INFO_DATA, VETH_INFO_PEER = 1, 2, 1
IFA_ADDRESS, IFA_LOCAL = 1, 2
RTA_DST, RTA_OIF, RTA_GATEWAY = 1, 4, 5
RT_TABLE_MAIN, RT_SCOPE_UNIVERSE, RTN_UNICAST = 254, 0, 1

# Marks our own routes, so that no other is ever removed (values over 4 are the user's, rtnetlink(7)).
ROUTE_PROTOCOL_WHERRY = 87

_REPLY_TIMEOUT_SECONDS = 10
_HEADER = struct.Struct("=IHHII")
_IFINFO = struct.Struct("=BxHiII")
_IFADDR = struct.Struct("=BBBBi")
_RTMSG = struct.Struct("=BBBBBBBBI")


@dataclass(frozen=True, slots=True)
class Message:
    """One request: its type, flags, body (header struct and attributes) and the errors to take as success."""

    type: int
    flags: int
    body: bytes
    ignore: frozenset[int] = frozenset()
    what: str = ""


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded to four bytes."""
    length = 4 + len(value)
    return struct.pack("=HH", length, kind) + value + b"\0" * (-length % 4)


def _text(value: str) -> bytes:
    return value.encode() + b"\0"


def _u32(value: int) -> bytes:
    return struct.pack("=I", value)


def add_bridge(name: str) -> Message:
    """A bridge, up; an existing one is left as it is."""
    body = _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP) + attribute(IFLA_IFNAME, _text(name))
    body += attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"bridge"))
    return Message(
        RTM_NEWLINK,
        NLM_F_CREATE | NLM_F_EXCL,
        body,
        frozenset({errno.EEXIST}),
        f"create bridge {name}",
    )


def add_veth(name: str, *, master: int, peer_name: str, peer_netns_fd: int, mtu: int) -> Message:
    """A veth pair: `name` here, up and on the bridge `master`; its peer in the namespace of the fd."""
    peer = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _text(peer_name))
    peer += attribute(IFLA_MTU, _u32(mtu)) + attribute(IFLA_NET_NS_FD, _u32(peer_netns_fd))
    info = attribute(IFLA_INFO_KIND, b"veth") + attribute(IFLA_INFO_DATA, attribute(VETH_INFO_PEER, peer))
    body = _IFINFO.pack(0, 0, 0, IFF_UP, IFF_UP) + attribute(IFLA_IFNAME, _text(name))
    body += attribute(IFLA_MTU, _u32(mtu)) + attribute(IFLA_LINKINFO, info)
    body += attribute(IFLA_MASTER, _u32(master))
    return Message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body, what=f"create veth {name}")


def set_up(index: int) -> Message:
    """Bring an interface up."""
    body = _IFINFO.pack(0, 0, index, IFF_UP, IFF_UP)
    return Message(RTM_NEWLINK, 0, body, what=f"bring interface {index} up")


def delete_link(name: str) -> Message:
    """Remove an interface by name; one that is gone already is no error."""
    body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _text(name))
    return Message(RTM_DELLINK, 0, body, frozenset({errno.ENODEV}), f"delete interface {name}")


def add_address(index: int, address: IPv4Interface) -> Message:
    """Give an interface an address; one that it has already is no error."""
    body = _IFADDR.pack(socket.AF_INET, address.network.prefixlen, 0, RT_SCOPE_UNIVERSE, index)
    body += attribute(IFA_LOCAL, address.packed) + attribute(IFA_ADDRESS, address.packed)
    return Message(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        body,
        frozenset({errno.EEXIST}),
        f"add address {address} to interface {index}",
    )


def add_route(destination: IPv4Network, gateway: IPv4Address) -> Message:
    """A route of ours, in place of any that leads to the same destination."""
    flags = NLM_F_CREATE | NLM_F_REPLACE
    return Message(RTM_NEWROUTE, flags, _route(destination, gateway), what=f"add route {destination} via {gateway}")


def delete_route(destination: IPv4Network, gateway: IPv4Address) -> Message:
    """Remove a route of ours; one that is gone already is no error."""
    ignore = frozenset({errno.ESRCH, errno.ENETUNREACH})
    return Message(RTM_DELROUTE, 0, _route(destination, gateway), ignore, f"delete route {destination}")


def _route(destination: IPv4Network, gateway: IPv4Address) -> bytes:
    body = _RTMSG.pack(
        socket.AF_INET,
        destination.prefixlen,
        0,
        0,
        RT_TABLE_MAIN,
        ROUTE_PROTOCOL_WHERRY,
        RT_SCOPE_UNIVERSE,
        RTN_UNICAST,
        0,
    )
    if destination.prefixlen:
        body += attribute(RTA_DST, destination.network_address.packed)
    return body + attribute(RTA_GATEWAY, gateway.packed)


class NetlinkSocket:
    """A route socket of the network namespace that the calling thread is in when it is made."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(_REPLY_TIMEOUT_SECONDS)
        self._sequence = 0

    def __enter__(self) -> NetlinkSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, *messages: Message) -> None:
        """Send a batch in one write and wait for each acknowledgement; OSError names the step that failed."""
        first = self._sequence + 1
        self._sequence += len(messages)
        self._socket.send(
            b"".join(_frame(message, sequence, NLM_F_ACK) for sequence, message in enumerate(messages, first))
        )
        waiting = set(range(first, self._sequence + 1))
        failure: OSError | None = None
        while waiting:
            for kind, sequence, body in _frames(self._socket.recv(65536)):
                if kind != NLMSG_ERROR or sequence not in waiting:
                    continue
                waiting.discard(sequence)
                code = -int.from_bytes(body[:4], "little", signed=True)
                message = messages[sequence - first]
                if code and code not in message.ignore and failure is None:
                    failure = OSError(code, f"{message.what}: {os.strerror(code)}")
        if failure is not None:
            raise failure

    def link_index(self, name: str) -> int | None:
        """The index of an interface of this namespace; None when there is none of that name."""
        self._sequence += 1
        body = _IFINFO.pack(0, 0, 0, 0, 0) + attribute(IFLA_IFNAME, _text(name))
        self._socket.send(_frame(Message(RTM_GETLINK, 0, body), self._sequence, 0))
        while True:
            for reply, sequence, payload in _frames(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if reply == RTM_NEWLINK:
                    return int(_IFINFO.unpack_from(payload)[2])
                code = -int.from_bytes(payload[:4], "little", signed=True)
                if code == errno.ENODEV:
                    return None
                raise OSError(code, f"look up interface {name}: {os.strerror(code)}")

    def link_names(self) -> list[str]:
        """The names of all interfaces of this namespace."""
        names = []
        for body in self._dump(RTM_GETLINK, _IFINFO.pack(0, 0, 0, 0, 0)):
            name = dict(_attributes(body[_IFINFO.size :])).get(IFLA_IFNAME)
            if name is not None:
                names.append(name.rstrip(b"\0").decode())
        return names

    def routes_of_ours(self) -> dict[IPv4Network, IPv4Address]:
        """The routes that `add_route` made and that still stand, by destination."""
        routes = {}
        request = _RTMSG.pack(socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
        for body in self._dump(RTM_GETROUTE, request):
            fields = _RTMSG.unpack_from(body)
            if fields[5] != ROUTE_PROTOCOL_WHERRY:
                continue
            attributes = dict(_attributes(body[_RTMSG.size :]))
            destination = attributes.get(RTA_DST, b"\0\0\0\0")
            gateway = attributes.get(RTA_GATEWAY)
            if gateway is not None:
                routes[IPv4Network((destination, fields[1]))] = IPv4Address(gateway)
        return routes

    def _dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        self._sequence += 1
        self._socket.send(_frame(Message(kind, NLM_F_DUMP, body), self._sequence, 0))
        while True:
            for reply, sequence, payload in _frames(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if reply == NLMSG_DONE:
                    return
                if reply == NLMSG_ERROR:
                    code = -int.from_bytes(payload[:4], "little", signed=True)
                    raise OSError(code, f"netlink dump {kind}: {os.strerror(code)}")
                yield payload


def _frame(message: Message, sequence: int, flags: int) -> bytes:
    length = _HEADER.size + len(message.body)
    return _HEADER.pack(length, message.type, NLM_F_REQUEST | message.flags | flags, sequence, 0) + message.body


def _frames(data: bytes) -> Iterable[tuple[int, int, bytes]]:
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, _flags, sequence, _pid = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size:
            return
        yield kind, sequence, data[offset + _HEADER.size : offset + length]
        offset += (length + 3) & ~3


def _attributes(data: bytes) -> Iterable[tuple[int, bytes]]:
    offset = 0
    while offset + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, offset)
        if length < 4:
            return
        yield kind & 0x3FFF, data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
