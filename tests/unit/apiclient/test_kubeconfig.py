"""Kubeconfig files, as kubectl reads them: written as YAML or JSON, in one file or several."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiclient.kubeconfig import Config, KubeconfigError, load
from apiclient.rest import Client

DOCUMENT: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [
        {
            "name": "here",
            "cluster": {
                "server": "https://10.0.0.1:6443/",
                "certificate-authority-data": base64.b64encode(b"CA").decode(),
                "tls-server-name": "kubernetes",
            },
        },
        {"name": "there", "cluster": {"server": "http://there", "insecure-skip-tls-verify": True}},
    ],
    "users": [{"name": "me", "user": {"client-certificate": "me.crt", "client-key": "me.key", "tokenFile": "token"}}],
    "contexts": [
        {"name": "main", "context": {"cluster": "here", "user": "me", "namespace": "team"}},
        {"name": "other", "context": {"cluster": "there"}},
    ],
    "current-context": "main",
}


@pytest.fixture(params=["yaml", "json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    for name, text in {"me.crt": "CERTIFICATE", "me.key": "KEY", "token": "secret\n"}.items():
        (tmp_path / name).write_text(text)
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(DOCUMENT) if request.param == "yaml" else json.dumps(DOCUMENT, indent=2))
    return path


def test_a_file_says_where_the_server_is_whom_to_trust_and_who_we_are(path: Path) -> None:
    assert load(str(path)) == Config(
        server="https://10.0.0.1:6443",
        ca_pem="CA",
        client_cert_pem="CERTIFICATE",
        client_key_pem="KEY",
        token="secret",
        namespace="team",
        context="main",
        tls_server_name="kubernetes",
    )


def test_another_context_may_be_chosen(path: Path) -> None:
    chosen = load(str(path), "other")
    assert (chosen.server, chosen.verify_tls, chosen.token) == ("http://there", False, None)
    with pytest.raises(KubeconfigError, match="no context 'none'; there are: main, other"):
        load(str(path), "none")


def test_several_files_are_one(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    first.write_text("current-context: other\n")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{tmp_path / 'missing'}:{path}")
    assert load().context == "other"


def test_what_is_written_as_json_needs_no_parser_of_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    document = {**DOCUMENT, "current-context": "other"}
    path.write_text(json.dumps(document, indent=2))
    monkeypatch.setitem(sys.modules, "yaml", None)
    assert load(str(path)).server == "http://there"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is no kubeconfig"),
        ("[]", "is no kubeconfig"),
        ("clusters: [", "while parsing"),
        ("\x00", "config: "),
        ("kind: Config", "no current-context is set"),
        (json.dumps({"current-context": "a"}), "no context 'a'; there are: none"),
    ],
)
def test_a_file_that_can_not_be_used_is_one_clear_error(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(KubeconfigError, match=complaint):
        load(str(path))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match="`kctl up` makes a cluster"):
        load(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (Config(server="10.0.0.1:6443"), "is no URL such as"),
        (Config(server="https://host:port"), "is no URL"),
        (Config(server="http://host", token="two\nlines", context="main"), "main: the header Authorization"),
        (Config(server="https://host", ca_pem="nonsense", context="main"), "main: a certificate or key is damaged"),
    ],
)
async def test_a_configuration_that_can_not_be_used_is_one_clear_error(config: Config, complaint: str) -> None:
    with pytest.raises(KubeconfigError, match=complaint):
        await Client.connect(config)
