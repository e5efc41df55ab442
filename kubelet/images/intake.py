"""Takes layers into the store, several at once: from wherever they come, each unpacked while it arrives.

A layer that is there already is used as it is; one that another process is bringing is waited for. All layers are
held until the image that has them is in the index, so that nobody sweeps them away in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from kubelet.images.layers import Incoming, Layers, check_digest
from kubelet.images.unpack import LayerError, Unpacked
from kubelet.images.unpackers import Unpackers

PARALLEL_MAX = 3
PIPE_BYTES = 1 << 20

Pieces = Callable[[], Iterable[bytes]]


@dataclass(frozen=True, slots=True)
class StreamedLayer:
    """A layer that arrives in pieces, compressed or not; `pieces` raises if they are not what they should be."""

    diff_id: str
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """A layer that lies in a file: `length` bytes from `offset`."""

    diff_id: str
    path: str
    offset: int
    length: int


class Cancelled(Exception):
    """Another layer of the same image has failed."""


@contextmanager
def taken_in(layers: Layers, unpackers: Unpackers, wanted: Sequence[StreamedLayer | StoredLayer]) -> Iterator[None]:
    """Have all these layers in the store and held. Raises LayerError and whatever `pieces` raises."""
    unique = {layer.diff_id: layer for layer in wanted}
    with ExitStack() as held:
        intake = _Intake(layers, unpackers)
        with ThreadPoolExecutor(PARALLEL_MAX, thread_name_prefix="layer") as threads:
            futures = [threads.submit(intake.bring, layer) for layer in unique.values()]
            try:
                wait(futures, return_when=FIRST_EXCEPTION)
            finally:
                intake.is_cancelled = True
                for future in futures:
                    future.cancel()
        for future in futures:
            if not future.cancelled() and future.exception() is None:
                held.push(future.result())
        _raise_first(futures)
        yield


class _Intake:
    """Brings the layers of one image."""

    def __init__(self, layers: Layers, unpackers: Unpackers) -> None:
        self._layers, self._unpackers = layers, unpackers
        self.is_cancelled = False

    def bring(self, layer: StreamedLayer | StoredLayer) -> ExitStack:
        """Make a layer unless it is there; returns what holds it."""
        while True:
            with ExitStack() as stack:
                if stack.enter_context(self._layers.held(layer.diff_id)):
                    return stack.pop_all()
                with self._layers.incoming() as incoming:
                    unpacked = self._unpack(layer, incoming)
                    check_digest(unpacked, layer.diff_id)
                    self._layers.place(incoming, unpacked)

    def _unpack(self, layer: StreamedLayer | StoredLayer, incoming: Incoming) -> Unpacked:
        folder, descriptor = str(incoming.path), incoming.descriptor
        try:
            if isinstance(layer, StreamedLayer):
                return self._stream(layer, folder, descriptor)
            source = os.open(layer.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                job = self._unpackers.start(source, folder, descriptor, offset=layer.offset, length=layer.length)
            finally:
                os.close(source)
            return job.wait()
        except LayerError as error:
            raise LayerError(f"failed to extract layer {layer.diff_id}: {error}") from error

    def _stream(self, layer: StreamedLayer, folder: str, descriptor: int) -> Unpacked:
        read_end, write_end = os.pipe()
        try:
            fcntl.fcntl(write_end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EBUSY):
                raise  # a smaller pipe does it too
        try:
            try:
                job = self._unpackers.start(read_end, folder, descriptor)
            finally:
                os.close(read_end)
            try:
                for piece in layer.pieces():
                    if self.is_cancelled:
                        raise Cancelled
                    _write_all(write_end, piece)
            except BrokenPipeError:
                pass  # the other side has given up, and says why
            finally:
                os.close(write_end)
                write_end = -1
        finally:
            if write_end >= 0:
                os.close(write_end)
        return job.wait()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _raise_first(futures: Sequence[Future[ExitStack]]) -> None:
    errors = [error for future in futures if not future.cancelled() and (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, Cancelled):
            raise error
