"""What extension servers read of this server: added to what others have said, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import orjson

from apiserver.aggregation import trust
from apiserver.certificates import Authority, utc
from apiserver.front_proxy import FrontProxy

NOW = 1_800_000_000.0
DECADE = 3650 * 86400.0


def authority(folder: Path, name: str = "ca", now: float = NOW) -> str:
    folder.mkdir(exist_ok=True)
    return Authority.create(folder, utc(now), name).certificate_pem.decode()


def wanted(folder: Path) -> dict[str, str]:
    authority(folder)
    authority(folder, "front-proxy-ca")
    proxies = FrontProxy(folder / "front-proxy-ca.crt", Path("crt"), Path("key"), ("proxy",))
    return trust.required(folder / "ca.crt", proxies)


def test_all_that_an_extension_server_needs_is_said(tmp_path: Path) -> None:
    said = wanted(tmp_path)
    made = trust.plan(None, said, NOW)
    assert made is not None and made["metadata"] == {
        "namespace": "kube-system",
        "name": "extension-apiserver-authentication",
    }
    assert made["data"]["client-ca-file"] == (tmp_path / "ca.crt").read_text()
    assert made["data"]["requestheader-client-ca-file"] == (tmp_path / "front-proxy-ca.crt").read_text()
    assert orjson.loads(made["data"]["requestheader-allowed-names"]) == ["proxy"]
    assert orjson.loads(made["data"]["requestheader-username-headers"]) == ["X-Remote-User"]
    assert orjson.loads(made["data"]["requestheader-extra-headers-prefix"]) == ["X-Remote-Extra-"]
    assert trust.plan(made, said, NOW) is None


def test_what_another_server_has_said_stays(tmp_path: Path) -> None:
    said, other = wanted(tmp_path), authority(tmp_path / "other")
    existing = {**said, "client-ca-file": other, "requestheader-allowed-names": '["another"]'}
    found = trust.combined(existing, said, NOW)
    assert found["client-ca-file"] == other + said["client-ca-file"]
    assert orjson.loads(found["requestheader-allowed-names"]) == ["another", "proxy"]
    assert trust.combined(found, said, NOW) == found


def test_what_has_expired_or_can_not_be_read_goes(tmp_path: Path) -> None:
    said, old = wanted(tmp_path), authority(tmp_path / "old", now=NOW - 2 * DECADE)
    broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    existing = {"client-ca-file": old + broken, "requestheader-group-headers": "{", "requestheader-uid-headers": "3"}
    assert trust.combined(existing, said, NOW) == said


def test_what_is_missing_is_written_again(tmp_path: Path) -> None:
    said = wanted(tmp_path)
    made = trust.plan({"metadata": {"name": trust.NAME, "uid": "1"}, "data": {"extra": "x"}}, said, NOW)
    assert made == {"metadata": {"name": trust.NAME, "uid": "1"}, "data": said}
