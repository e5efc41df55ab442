"""Connections between the parts of a simulated cluster: bytes that take their time, and may not arrive.

The parts speak HTTP over them as over any others: their own code makes and reads every byte. What a network can do
to them is done here, decided by `Weather` for each piece that is sent. Bytes of a connection arrive in the order in
which they were sent or not at all, as TCP has it; a host that is cut off hears nothing, and hears it all later if
somebody still waits for it then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol

from tests.simulation.weather import Fate, Weather

Address = tuple[str, int]
CONNECT_SECONDS = 0.0002
# Two pieces of a connection never arrive at the same moment: the loop's timers of one moment have no order.
_APART_SECONDS = 1e-7

# On which host the code that runs is.
HOST: ContextVar[str] = ContextVar("host", default="outside")


class Speaker(Protocol):
    """The protocol at an end of a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def eof_received(self) -> None: ...
    def connection_lost(self, error: Exception | None) -> None: ...


class Network:
    """All connections. What is written on one of them goes through here."""

    def __init__(self, loop: asyncio.AbstractEventLoop, weather: Weather) -> None:
        self.loop = loop
        self.weather = weather
        self._listening: dict[Address, tuple[str, Callable[[], Any]]] = {}
        self._links: dict[int, Link] = {}
        self._made = 0
        self._cut_off: dict[str, asyncio.Event] = {}
        self._dead: set[str] = set()
        # Called with the host that will never know whether something that it wanted to create was created.
        self.unanswered: Callable[[str], None] = lambda host: None

    def listen(self, address: Address, factory: Callable[[], Any]) -> Listening:
        """Take connections at an address, on the host whose code runs."""
        self._listening[address] = (HOST.get(), factory)
        return Listening(self, address)

    def refuse(self, address: Address) -> None:
        """Take none any more."""
        self._listening.pop(address, None)

    async def connect(self, address: Address, factory: Callable[[], Any]) -> tuple[End, Any]:
        """A connection from the host whose code runs. Raises ConnectionRefusedError if nobody listens."""
        host = HOST.get()
        if host in self._dead:
            raise ConnectionAbortedError(f"{host} has been killed")
        while (away := self._cut_off.get(host)) is not None:
            await away.wait()
        await asyncio.sleep(CONNECT_SECONDS)
        if address not in self._listening:
            raise ConnectionRefusedError(f"nobody listens on {address[0]}:{address[1]}")
        server, made = self._listening[address]
        self._made += 1
        link = self._links[self._made] = Link(self, self._made, (host, server), (factory(), made()))
        link.begin()
        return link.client, link.client.protocol

    def kill(self, host: str) -> None:
        """A host's process is gone: its connections end at once, and it listens no more."""
        self._dead.add(host)
        for address in [address for address, (server, _) in self._listening.items() if server == host]:
            self.refuse(address)
        for link in [link for link in self._links.values() if host in link.hosts]:
            link.break_off()

    def revive(self, host: str) -> None:
        """A host's process has started again."""
        self._dead.discard(host)

    def cut_off(self, host: str) -> None:
        """Let nothing through to a host or from it."""
        self._cut_off.setdefault(host, asyncio.Event())

    def reconnect(self, host: str) -> None:
        """Let everything through again, what was sent meanwhile first."""
        away = self._cut_off.pop(host, None)
        if away is not None:
            away.set()
            for link in [link for link in self._links.values() if host in link.hosts]:
                link.resume()

    def is_cut_off(self, link: Link) -> bool:
        """Whether nothing gets through on a connection."""
        return any(host in self._cut_off for host in link.hosts)

    def forget(self, link: Link) -> None:
        """A connection has ended on both sides."""
        self._links.pop(link.number, None)


class Listening:
    """An address that takes connections, in the place of asyncio's Server."""

    def __init__(self, network: Network, address: Address) -> None:
        self._network = network
        self._address = address

    def close(self) -> None:
        """Take no more."""
        self._network.refuse(self._address)


class Link:
    """One connection: its two ends, of which the first is the client's."""

    def __init__(
        self, network: Network, number: int, hosts: tuple[str, str], speakers: tuple[Speaker, Speaker]
    ) -> None:
        self.network = network
        self.number = number
        self.hosts = hosts
        self.client = End(self, speakers[0], sends_requests=True)
        self.server = End(self, speakers[1], sends_requests=False)
        self.client.peer, self.server.peer = self.server, self.client
        # A piece was lost: nothing that comes after it can arrive.
        self.is_broken = False
        # The answer to what was last asked for never arrives.
        self.loses_answer = False
        # Something was to be created, and whoever wants that has not heard that it is.
        self.creates = False

    def begin(self) -> None:
        """Tell both ends that they are connected."""
        self.server.protocol.connection_made(self.server)
        self.client.protocol.connection_made(self.client)

    def break_off(self) -> None:
        """End it on both sides; neither sees what was on its way."""
        for end in (self.client, self.server):
            end.lose(ConnectionResetError("the connection is broken"))

    def resume(self) -> None:
        """Deliver what has waited."""
        for end in (self.client, self.server):
            end.deliver_waiting()


class End(asyncio.Transport):
    """One side of a connection, as its protocol sees it."""

    peer: End

    def __init__(self, link: Link, protocol: Any, *, sends_requests: bool) -> None:
        super().__init__()
        self.link = link
        self.protocol = protocol
        self._sends_requests = sends_requests
        self._closing = False
        self._lost = False
        self._reads = True
        # What has arrived and can't be handed on yet; None is the end.
        self._waiting: list[bytes | None] = []
        # When the last piece that was sent to this side arrives.
        self._due = 0.0

    def write(self, data: Any) -> None:
        """Send a piece, if the weather lets it through."""
        if self._closing or self.link.is_broken or not data:
            return
        network = self.link.network
        if self._sends_requests:
            fate, delay = network.weather.request(self.link.hosts[0])
            self.link.loses_answer = fate is Fate.ANSWER_LOST
            self.link.creates = data[:4] == b"POST"
        else:
            fate, delay = network.weather.answer(self.link.hosts[0])
            fate = Fate.LOST if self.link.loses_answer else fate
        if fate is Fate.LOST:
            self.link.is_broken = True
            network.loop.call_later(delay, self.link.break_off)
        else:
            self.peer._send(bytes(data), delay)

    def writelines(self, list_of_data: Any) -> None:
        """Send a piece."""
        self.write(b"".join(list_of_data))

    def _send(self, piece: bytes | None, delay: float) -> None:
        """Have a piece arrive here after all that were sent before."""
        loop = self.link.network.loop
        self._due = max(self._due + _APART_SECONDS, loop.time() + delay)
        loop.call_at(self._due, self._arrive, piece)

    def _arrive(self, piece: bytes | None) -> None:
        if self._lost:
            return
        if self._waiting or not self._reads or self.link.network.is_cut_off(self.link):
            self._waiting.append(piece)
        else:
            self._hand_on(piece)

    def _hand_on(self, piece: bytes | None) -> None:
        if piece is None:
            self.protocol.eof_received()
            self.lose(None)
        elif not self._closing:
            if self._sends_requests:
                self.link.creates = False
            self.protocol.data_received(piece)

    def deliver_waiting(self) -> None:
        """Hand on what has arrived, as long as it is taken."""
        while self._waiting and self._reads and not self._lost and not self.link.network.is_cut_off(self.link):
            self._hand_on(self._waiting.pop(0))

    def lose(self, error: Exception | None) -> None:
        """End this side."""
        if self._lost:
            return
        self._closing = self._lost = True
        self._waiting.clear()
        if self._sends_requests and self.link.creates:
            self.link.network.unanswered(self.link.hosts[0])
        self.protocol.connection_lost(error)
        if self.peer._lost:
            self.link.network.forget(self.link)

    def close(self) -> None:
        """Send no more; the other side hears of it after all that was sent before."""
        if not self._closing:
            self._closing = True
            self.peer._send(None, CONNECT_SECONDS)
            self.link.network.loop.call_soon(self.lose, None)

    def abort(self) -> None:
        """End it at once."""
        self.close()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Both ends have the address of this machine: nothing is compressed between them."""
        return ("127.0.0.1", 6443) if name in ("peername", "sockname") else default

    def get_write_buffer_size(self) -> int:
        """Nothing waits on this side."""
        return 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """There are none."""

    def get_protocol(self) -> Any:
        """Who speaks here."""
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        """Let another speak."""
        self.protocol = protocol

    def is_reading(self) -> bool:
        """Whether what arrives is handed on."""
        return self._reads

    def pause_reading(self) -> None:
        """Keep what arrives."""
        self._reads = False

    def resume_reading(self) -> None:
        """Hand on what arrives."""
        self._reads = True
        self.link.network.loop.call_soon(self.deliver_waiting)
