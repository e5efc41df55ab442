"""One repository of one registry, over the OCI distribution API: manifests and blobs, down and up.

Whatever the registry sends is checked against the digest or the size that was asked for. What may pass (a lost
connection, a server that is busy) is tried again, a blob from where it broke off; what will not (no such image, no
right to it) is told at once.

Source: https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar
from urllib.parse import quote, urljoin, urlsplit

from kubelet.images import manifest as manifests
from kubelet.images.auth import AuthError, Authorizer, Credential, told
from kubelet.images.http import Body, Http, HttpError, Response, Unreachable
from kubelet.images.manifest import Descriptor
from kubelet.images.proxies import is_loopback
from kubelet.images.registries import Endpoint

ATTEMPTS_MAX = 5
METADATA_ATTEMPTS_MAX = 3
BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS = 0.5, 10.0
RETRY_AFTER_SECONDS_MAX = 30.0
REDIRECTS_MAX = 5
ERROR_BYTES_MAX = 64 << 10
_PASSING = frozenset((408, 429, 500, 502, 503, 504))
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_T = TypeVar("_T")


class RegistryError(Exception):
    """The registry can't or won't give what was asked for."""


class NotFound(RegistryError):
    """It has no such manifest or blob."""


class Denied(RegistryError):
    """It does not let us have it."""


class DigestMismatch(RegistryError):
    """What it sent is something else."""


class Sleep(Protocol):
    """time.sleep, or what a test puts in its place."""

    def __call__(self, seconds: float, /) -> None: ...


class Repository:
    """A repository at one endpoint, as one credential sees it. Used by several threads at once."""

    def __init__(
        self,
        http: Http,
        endpoint: Endpoint,
        credential: Credential,
        *,
        actions: str = "pull",
        more_scopes: str = "",
        sleep: Sleep = time.sleep,
    ) -> None:
        self._http, self._endpoint, self._sleep = http, endpoint, sleep
        self.name = endpoint.repository
        self._urls = list(endpoint.urls)
        self._scope = f"repository:{endpoint.repository}:{actions}{more_scopes}"
        host = urlsplit(self._urls[0]).netloc
        self._authorizer = Authorizer(http, host, credential, endpoint.tls)

    @property
    def base(self) -> str:
        """The URL of the endpoint."""
        return self._urls[0]

    def digest(self, version: str) -> str:
        """The digest that a tag stands for; "" if the registry does not say. Raises RegistryError."""

        def head() -> str:
            with self._get("HEAD", f"manifests/{version}", {"Accept": manifests.ACCEPT}) as response:
                return str(response.headers.get("Docker-Content-Digest", ""))

        return self._persistently(head)

    def manifest(self, version: str) -> tuple[bytes, str]:
        """A manifest or index by tag or digest, and its media type. Raises RegistryError."""

        def get() -> tuple[bytes, str]:
            with self._get("GET", f"manifests/{version}", {"Accept": manifests.ACCEPT}) as response:
                data = response.read(manifests.MANIFEST_BYTES_MAX)
                told_digest = str(response.headers.get("Docker-Content-Digest", ""))
                media_type = str(response.headers.get("Content-Type", ""))
            for wanted in (version if ":" in version else "", told_digest):
                if wanted.startswith(("sha256:", "sha512:")) and not manifests.matches(data, wanted):
                    raise DigestMismatch(f"manifest {version}: its content is not what {wanted} says")
            return data, media_type

        return self._persistently(get)

    def small_blob(self, blob: Descriptor, bytes_max: int) -> bytes:
        """A blob that is kept in memory. Raises RegistryError."""
        if blob.size > bytes_max:
            raise RegistryError(f"blob {blob.digest} of {blob.size} bytes is larger than {bytes_max}")
        return b"".join(self.blob(blob))

    def blob(self, blob: Descriptor) -> Iterator[bytes]:
        """A blob in pieces, as they arrive. Raises RegistryError, at the latest with the last piece.

        What was handed out before is not what the digest says if it ends so.
        """
        digest = hashlib.new(blob.digest.partition(":")[0])
        received, failures = 0, 0
        while received < blob.size or not blob.size:
            begun_at = received
            try:
                for piece in self._blob_from(blob, received):
                    received += len(piece)
                    if received > blob.size:
                        raise DigestMismatch(f"blob {blob.digest}: there is more of it than {blob.size} bytes")
                    digest.update(piece)
                    yield piece
                if received < blob.size:
                    raise HttpError(f"the answer ends after {received} of {blob.size} bytes")
            except HttpError as error:
                failures = failures + 1 if received == begun_at else 1
                if failures >= ATTEMPTS_MAX:
                    raise RegistryError(f"failed to copy blob {blob.digest}: {error}") from error
                self._sleep(max(_backoff(failures), error.seconds if isinstance(error, Busy) else 0.0))
            if not blob.size:
                break
        if digest.hexdigest() != blob.digest.partition(":")[2]:
            raise DigestMismatch(f"blob {blob.digest}: its content has the digest sha256:{digest.hexdigest()}")

    def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob. Raises RegistryError."""

        def head() -> bool:
            with self._get("HEAD", f"blobs/{digest}"):
                return True

        try:
            return self._persistently(head)
        except NotFound:
            return False

    def mount(self, digest: str, source: str) -> bool:
        """Have a blob of another repository of the same registry appear in this one; False if that can't be."""
        path = f"blobs/uploads/?mount={quote(digest)}&from={quote(source, safe='')}"
        try:
            with self._ask("POST", self._url(path), {}, body=Body(0, ())) as response:
                return response.status == 201
        except (HttpError, Denied):
            return False

    def upload(self, blob: Descriptor, pieces: Callable[[], Iterator[bytes]]) -> None:
        """Send a blob; `pieces` gives its content anew each time it is called. Raises RegistryError."""

        def send() -> None:
            with self._ask("POST", self._url("blobs/uploads/"), {}, body=Body(0, ())) as response:
                _check(response, f"blob {blob.digest}", (201, 202))
                place = str(response.headers.get("Location", ""))
            url = urljoin(self._url("blobs/uploads/"), place)
            url += f"{'&' if urlsplit(url).query else '?'}digest={quote(blob.digest)}"
            headers = {"Content-Type": "application/octet-stream"}
            with self._ask("PUT", url, headers, body=Body(blob.size, pieces())) as response:
                _check(response, f"blob {blob.digest}", (201, 204))

        self._persistently(send)

    def put_manifest(self, version: str, data: bytes, media_type: str) -> None:
        """Give a manifest a tag. Raises RegistryError."""

        def send() -> None:
            headers = {"Content-Type": media_type}
            with self._ask("PUT", self._url(f"manifests/{version}"), headers, body=Body(len(data), [data])) as answer:
                _check(answer, f"manifest {version}", (200, 201, 202))

        self._persistently(send)

    def _blob_from(self, blob: Descriptor, offset: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._get("GET", f"blobs/{blob.digest}", headers, statuses=(200, 206)) as response:
            skip = offset
            if response.status == 206:
                _check_range(response, offset)
                skip = 0
            for piece in response.pieces():
                if skip >= len(piece):
                    skip -= len(piece)  # a server without ranges begins at the beginning
                    continue
                yield piece[skip:] if skip else piece
                skip = 0

    def _get(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, *, statuses: tuple[int, ...] = (200,)
    ) -> Response:
        """A request whose answer is of these statuses. Raises RegistryError; HttpError for what may pass."""
        response = self._ask(method, self._url(path), headers or {})
        try:
            _check(response, path.replace("manifests/", "").replace("blobs/", "blob "), statuses)
        except BaseException:
            response.close()
            raise
        return response

    def _ask(self, method: str, url: str, headers: Mapping[str, str], body: Body | None = None) -> Response:
        """A request with authorization, over redirects. Raises Denied, HttpError."""
        asked_again = False
        while True:
            response = self._follow(method, url, headers, body)
            if response.status != 401 or asked_again:
                return response
            challenge = str(response.headers.get("WWW-Authenticate", ""))
            why = told(_rest(response))
            try:
                is_secure = self.base.startswith("https://")
                if not self._authorizer.answer(challenge, self._scope, is_secure=is_secure):
                    raise Denied(f"pull access denied, repository does not exist or may require authorization{why}")
            except AuthError as error:
                raise Denied(f"failed to authorize: {error}") from error
            asked_again = True
            if body is not None and body.length:
                raise HttpError("the registry wants to know who asks")  # only the beginning can begin anew

    def _follow(self, method: str, url: str, headers: Mapping[str, str], body: Body | None) -> Response:
        first = urlsplit(url)
        try:
            authorization = self._authorizer.header(self._scope)
        except AuthError as error:
            raise Denied(f"failed to authorize: {error}") from error
        for _ in range(REDIRECTS_MAX + 1):
            parts = urlsplit(url)
            fields = dict(headers)
            # Who we are is told to the registry alone, and not to where it sends us.
            is_registry = (parts.scheme, parts.netloc) == (first.scheme, first.netloc)
            if authorization and is_registry:
                fields["Authorization"] = authorization
            response = self._request(method, url, fields, body, use_settings=is_registry)
            if response.status not in _REDIRECTS or method not in ("GET", "HEAD"):
                return response
            place = str(response.headers.get("Location", ""))
            response.close()
            url = urljoin(url, place)
            _check_redirect(parts.geturl(), url)
        raise RegistryError(f"{first.netloc} redirects in circles")

    def _request(
        self, method: str, url: str, fields: Mapping[str, str], body: Body | None, *, use_settings: bool
    ) -> Response:
        tls = self._endpoint.tls if use_settings else None
        while True:
            base = self._urls[0]
            try:
                response = self._http.request(method, url, fields, body=body, tls=tls)
            except HttpError as error:
                if not isinstance(error, Unreachable) and (other := self._other_protocol(url, base)):
                    url = other
                    continue
                raise HttpError(f'failed to do request: {method.capitalize()} "{url}": {error}') from error
            if response.status == 400 and len(self._urls) > 1:
                # What Go's servers say to plain HTTP on a TLS port.
                if b"HTTP request to an HTTPS server" in _rest(response):
                    url = self._other_protocol(url, base)
                    continue
                raise RegistryError(f"{urlsplit(url).netloc} answers with status 400")
            if url.startswith(base):
                self._urls[1:] = []  # it speaks this protocol
            return response

    def _other_protocol(self, url: str, base: str) -> str:
        """The same URL at the endpoint's next base, which is the first from now on; "" if there is none."""
        if len(self._urls) < 2 or not url.startswith(base):
            return ""
        self._urls.remove(base)
        return self._urls[0] + url.removeprefix(base)

    def _url(self, path: str) -> str:
        return f"{self._urls[0]}/v2/{self.name}/{path}"

    def _persistently(self, attempt: Callable[[], _T]) -> _T:
        """Try again what failed in a way that may pass. Raises RegistryError."""
        failures = 0
        while True:
            try:
                return attempt()
            except HttpError as error:
                failures += 1
                if failures >= METADATA_ATTEMPTS_MAX:
                    raise RegistryError(str(error)) from error
                self._sleep(max(_backoff(failures), error.seconds if isinstance(error, Busy) else 0.0))


def _check(response: Response, what: str, statuses: tuple[int, ...]) -> None:
    status = response.status
    if status in statuses:
        return
    words = told(_rest(response))
    if status == 404:
        raise NotFound(f"{what}: not found{words}")
    if status in (401, 403):
        raise Denied(f"pull access denied, repository does not exist or may require authorization{words}")
    message = f"{what}: unexpected status from the registry: {status}{words}"
    if status in _PASSING:
        raise Busy(message, _retry_after(response))
    raise RegistryError(message)


class Busy(HttpError):
    """The server asks to be left alone for a moment."""

    def __init__(self, message: str, seconds: float) -> None:
        super().__init__(message)
        self.seconds = seconds


def _retry_after(response: Response) -> float:
    text = str(response.headers.get("Retry-After", ""))
    return min(float(text), RETRY_AFTER_SECONDS_MAX) if text.isascii() and text.isdigit() else 0.0


def _rest(response: Response) -> bytes:
    """What an answer that is an error says."""
    try:
        return response.read(ERROR_BYTES_MAX)
    except HttpError:
        return b""
    finally:
        response.close()


def _check_range(response: Response, offset: int) -> None:
    text = str(response.headers.get("Content-Range", ""))
    if not text.startswith(f"bytes {offset}-"):
        raise RegistryError(f"the registry sends another part of a blob ({text[:60]!r}) than asked for")


def _check_redirect(url: str, target: str) -> None:
    """A registry may send us to another server for a blob, but neither into the clear nor at this machine itself."""
    source, aim = urlsplit(url), urlsplit(target)
    if aim.scheme not in ("http", "https") or (source.scheme == "https" and aim.scheme != "https"):
        raise RegistryError(f"{source.netloc} redirects to {target[:200]!r}, which is not safe")
    if is_loopback(aim.hostname or "") and not is_loopback(source.hostname or ""):
        raise RegistryError(f"{source.netloc} redirects to this machine itself ({target[:200]!r})")


def _backoff(failures: int) -> float:
    longest = min(BACKOFF_FIRST_SECONDS * 2.0 ** (failures - 1), BACKOFF_MAX_SECONDS)
    return longest * random.uniform(0.5, 1.0)
