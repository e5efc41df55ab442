"""What a server answers, as clients take it: documents, errors as `ApiError`, and lines of a watch."""

from __future__ import annotations

import orjson

from apimachinery.errors import ApiError
from apimachinery.meta import Object

LINE_BYTES_MAX = 64 << 20


class ApiUnavailable(ApiError):
    """The server could not be reached, or the connection broke before it answered."""

    def __init__(self, server: str, cause: BaseException) -> None:
        why = str(cause) or type(cause).__name__
        super().__init__(503, "ServiceUnavailable", f"the API server at {server} can't be reached: {why}")


class Lines:
    """Puts lines together from pieces."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """The lines that are complete now, but for empty ones. Raises ValueError for one that is too long."""
        *lines, rest = piece.split(b"\n")
        if lines and self._parts:
            lines[0] = b"".join((*self._parts, lines[0]))
            self._parts, self._size = [], 0
        if rest:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > LINE_BYTES_MAX:
                raise ValueError("a watch event is too large")
        return [line for line in lines if line]


def decoded(server: str, data: bytes) -> Object:
    """The document of an answer. Raises ApiUnavailable if it is none."""
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise ApiUnavailable(server, ValueError(f"its answer is no JSON ({error})")) from error
    if not isinstance(document, dict):
        raise ApiUnavailable(server, ValueError("its answer is no JSON object"))
    return document


def refusal(code: int, data: bytes) -> ApiError:
    """The error that an answer of 400 and more tells of."""
    try:
        document = orjson.loads(data)
    except ValueError:
        document = {"message": data.decode(errors="replace").strip()[:500]}
    return ApiError.from_status(document if isinstance(document, dict) else {}, code)


def created(status: Object, namespace: str | None) -> Object | ApiError:
    """What a Status tells of an object that was created together with others."""
    if status["code"] >= 400:
        return ApiError.from_status(status)
    where = {"namespace": namespace} if namespace else {}
    return {"metadata": {"name": status["details"]["name"], **where, **status["metadata"]}}
