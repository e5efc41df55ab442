"""SPDY/3.1: several streams in one connection, as clients before WebSockets speak it, and kubectl's port forwarding.

`frames.py` turns bytes into frames and frames into bytes, `headers.py` their header blocks; `session.py` keeps the
server's side of a connection, whatever carries its bytes.

Source: https://www.chromium.org/spdy/spdy-protocol/spdy-protocol-draft3-1/
"""

from apiserver.spdy.session import Carrier, Session, Stream, StreamLost

__all__ = ["Carrier", "Session", "Stream", "StreamLost"]
