"""A server that lives longer than its certificates makes new ones and shows them."""

import ssl
from pathlib import Path

import pytest

from apiserver import options, pki
from apiserver.renewal import renew

NOW = 1_800_000_000.0
DAY = 86400.0


class Context:
    """Remembers the certificates that it was given to show."""

    def __init__(self) -> None:
        self.shown: list[bytes] = []

    def load_cert_chain(self, certificate: Path, key: Path) -> None:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
        self.shown.append(certificate.read_bytes())


@pytest.fixture
def settings(tmp_path: Path) -> options.Options:
    found = options.parse(["--data-dir", str(tmp_path), "--bind-address", "127.0.0.1"])
    pki.make(tmp_path, pki.wanted(found), NOW)
    return found


@pytest.mark.parametrize(("days", "renewed"), [(1, False), (270, False), (280, True), (400, True)])
async def test_a_certificate_is_replaced_in_its_last_ninety_days(
    settings: options.Options, days: int, renewed: bool
) -> None:
    files = (settings.data_dir / "pki/apiserver.crt", settings.data_dir / "pki/apiserver.key")
    before, context = files[0].read_bytes(), Context()
    await renew(settings, [(context, *files)], NOW + days * DAY)  # type: ignore[list-item]
    assert (files[0].read_bytes() != before) is renewed
    assert context.shown == [files[0].read_bytes()]
