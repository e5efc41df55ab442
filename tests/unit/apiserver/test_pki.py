"""The keys and certificates of a cluster: made once, kept, and made anew when they no longer serve."""

import base64
import ssl
import stat
from pathlib import Path

import pytest
import yaml
from cryptography import x509

from apiserver import node_credentials, options, pki

NOW = 1_800_000_000.0
DAY = 86400.0


def settings(folder: Path, *flags: str) -> options.Options:
    return options.parse(["--data-dir", str(folder), "--bind-address", "127.0.0.1", *flags])


def make(folder: Path, *flags: str, now: float = NOW) -> None:
    pki.make(folder, pki.wanted(settings(folder, *flags)), now)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def changed(before: dict[str, bytes], folder: Path) -> set[str]:
    return {name for name, data in contents(folder).items() if before.get(name) != data}


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_all_that_the_architecture_lists_is_made(tmp_path: Path) -> None:
    make(tmp_path)
    assert set(contents(tmp_path)) == {
        "pki/ca.crt",
        "pki/ca.key",
        "pki/apiserver.crt",
        "pki/apiserver.key",
        "pki/kubelet-client.crt",
        "pki/kubelet-client.key",
        "pki/front-proxy-ca.crt",
        "pki/front-proxy-ca.key",
        "pki/front-proxy-client.crt",
        "pki/front-proxy-client.key",
        "pki/issued.json",
        "pki/sa.key",
        "pki/sa.pub",
        "admin.kubeconfig",
        "scheduler.kubeconfig",
        "controller-manager.kubeconfig",
        "tokens.csv",
    }


def test_a_folder_of_before_there_were_front_proxies_gets_what_they_need_and_keeps_all_else(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    for path in (tmp_path / "pki").glob("front-proxy-*"):
        path.unlink()
    assert not pki.complete(tmp_path, pki.wanted(settings(tmp_path)), NOW)
    make(tmp_path)
    made = {f"pki/front-proxy-{name}" for name in ("ca.crt", "ca.key", "client.crt", "client.key")}
    assert changed(before, tmp_path) == {*made, "pki/issued.json"}


def test_front_proxies_have_an_authority_of_their_own(tmp_path: Path) -> None:
    make(tmp_path)
    client = certificate(tmp_path / "pki" / "front-proxy-client.crt")
    client.verify_directly_issued_by(certificate(tmp_path / "pki" / "front-proxy-ca.crt"))
    with pytest.raises(ValueError):
        client.verify_directly_issued_by(certificate(tmp_path / "pki" / "ca.crt"))


def test_nobody_else_can_read_a_key(tmp_path: Path) -> None:
    make(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_a_second_start_has_nothing_to_make(tmp_path: Path) -> None:
    make(tmp_path)
    assert pki.complete(tmp_path, pki.wanted(settings(tmp_path)), NOW + DAY)


def test_the_serving_certificate_is_for_every_name_of_the_server(tmp_path: Path) -> None:
    make(tmp_path, "--advertise-address", "192.0.2.7", "--tls-san", "api.example.com")
    names = certificate(tmp_path / "pki/apiserver.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert {"localhost", "kubernetes.default.svc", "api.example.com"} <= set(
        names.value.get_values_for_type(x509.DNSName)
    )
    addresses = set(map(str, names.value.get_values_for_type(x509.IPAddress)))
    assert {"127.0.0.1", "192.0.2.7", "10.96.0.1"} <= addresses


def test_a_new_address_renews_what_names_it_and_keeps_the_authority(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    make(tmp_path, "--advertise-address", "192.0.2.7")
    assert changed(before, tmp_path) == {
        "pki/apiserver.crt",
        "pki/apiserver.key",
        "pki/issued.json",
        "admin.kubeconfig",
        "scheduler.kubeconfig",
        "controller-manager.kubeconfig",
    }


def test_what_expires_soon_is_renewed(tmp_path: Path) -> None:
    make(tmp_path)
    assert pki.complete(tmp_path, pki.wanted(settings(tmp_path)), NOW + 270 * DAY)
    later = NOW + 280 * DAY
    assert not pki.complete(tmp_path, pki.wanted(settings(tmp_path)), later)
    make(tmp_path, now=later)
    expires = certificate(tmp_path / "pki/apiserver.crt").not_valid_after_utc.timestamp()
    assert expires == later + 365 * DAY


@pytest.mark.parametrize("name", ["pki/apiserver.crt", "pki/kubelet-client.key", "admin.kubeconfig"])
def test_what_was_lost_or_changed_by_hand_is_made_anew(tmp_path: Path, name: str) -> None:
    make(tmp_path)
    (tmp_path / name).write_bytes(b"damaged")
    make(tmp_path)
    assert (tmp_path / name).read_bytes() != b"damaged"
    (tmp_path / name).unlink()
    make(tmp_path)
    assert (tmp_path / name).exists()


def test_the_administrators_token_stays(tmp_path: Path) -> None:
    make(tmp_path)
    before = (tmp_path / "tokens.csv").read_bytes()
    make(tmp_path, "--advertise-address", "192.0.2.7")
    assert (tmp_path / "tokens.csv").read_bytes() == before


def test_a_damaged_authority_is_never_replaced(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "pki/ca.key").write_bytes(b"damaged")
    with pytest.raises(pki.PkiError, match=r"ca.crt or ca.key is damaged"):
        make(tmp_path, "--advertise-address", "192.0.2.7")


def test_an_authority_without_its_key_is_an_error_that_says_so(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "pki/ca.key").unlink()
    with pytest.raises(pki.PkiError, match=r"ca\.key is missing"):
        make(tmp_path, "--advertise-address", "192.0.2.7")


def test_a_kubeconfig_is_all_that_a_client_needs(tmp_path: Path) -> None:
    make(tmp_path, "--secure-port", "7443")
    document = yaml.safe_load((tmp_path / "scheduler.kubeconfig").read_text())
    assert document["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:7443"
    assert document["current-context"] == document["contexts"][0]["name"]
    assert set(document["users"][0]["user"]) == {"client-certificate-data", "client-key-data"}


def issue(folder: Path, *nodes: str) -> int:
    named = [word for node in nodes for word in ("--node", node)]
    where = ["--data-dir", str(folder), "--server", "https://127.0.0.1:6443", "--out-dir", str(folder / "nodes")]
    return node_credentials.main([*where, *named])


def test_a_node_gets_a_kubeconfig_and_a_serving_certificate(tmp_path: Path) -> None:
    make(tmp_path)
    assert issue(tmp_path, "node-1=10.0.0.11", "node-2=10.0.0.12") == 0
    assert set(contents(tmp_path / "nodes" / "node-2")) == {
        "kubeconfig",
        "pki/ca.crt",
        "pki/kubelet.crt",
        "pki/kubelet.key",
    }
    issued = certificate(tmp_path / "nodes/node-1/pki/kubelet.crt")
    assert issued.subject.rfc4514_string() == "CN=system:node:node-1,O=system:nodes"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "nodes/node-1/pki/kubelet.crt", tmp_path / "nodes/node-1/pki/kubelet.key")


@pytest.mark.parametrize(
    ("node", "told"),
    [("node-1", "'' is no IP address"), ("Node=10.0.0.1", "no name of a node"), ("a=b", "'b' is no IP address")],
)
def test_a_node_that_makes_no_sense_is_refused(
    tmp_path: Path, node: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        issue(tmp_path, node)
    assert told in capsys.readouterr().err


def test_without_an_authority_nothing_is_issued(tmp_path: Path) -> None:
    with pytest.raises(pki.PkiError, match="the API server makes it at its first start"):
        issue(tmp_path, "node-1=10.0.0.11")


def test_hollow_nodes_are_known_as_one_user_of_a_group_of_their_own(tmp_path: Path) -> None:
    make(tmp_path)
    where = ["--data-dir", str(tmp_path), "--server", "https://127.0.0.1:6443", "--out-dir", str(tmp_path)]
    assert node_credentials.main([*where, "--hollow-nodes"]) == 0
    document = yaml.safe_load((tmp_path / "hollow-nodes/kubeconfig").read_text())
    encoded = document["users"][0]["user"]["client-certificate-data"]
    issued = x509.load_pem_x509_certificate(base64.b64decode(encoded))
    assert issued.subject.rfc4514_string() == "CN=hollow-nodes,O=wherry:hollow-nodes"
    with pytest.raises(SystemExit):
        node_credentials.main(where)
