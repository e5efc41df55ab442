"""ADD of a URL: fetches a file over HTTP."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urljoin

from kubelet.images.building.errors import BuildError
from kubelet.images.http import Http, HttpError

REDIRECTS_MAX = 5
_REDIRECTS = (301, 302, 303, 307, 308)


def download(url: str, path: Path, bytes_max: int) -> str:
    """Fetch a file; returns its digest. Raises BuildError, OSError."""
    http = Http()
    try:
        for _ in range(REDIRECTS_MAX + 1):
            with http.request("GET", url, {"Accept": "*/*"}) as response:
                if response.status in _REDIRECTS:
                    url = urljoin(url, str(response.headers.get("Location", "")))
                    continue
                if response.status != 200:
                    raise BuildError(f"failed to download {url}: status {response.status}")
                digest, size = hashlib.sha256(), 0
                with path.open("xb") as file:
                    for piece in response.pieces():
                        size += file.write(piece)
                        digest.update(piece)
                        if size > bytes_max:
                            raise BuildError(f"{url} is larger than {bytes_max} bytes")
                return f"sha256:{digest.hexdigest()}"
    except HttpError as error:
        raise BuildError(f"failed to download {url}: {error}") from error
    finally:
        http.close()
    raise BuildError(f"{url} redirects in circles")
