"""The flags of the API server: named as Kubernetes', and a wrong one is one clear line."""

import pytest

from apiserver.options import parse


def test_a_data_folder_is_all_that_must_be_said() -> None:
    options = parse(["--data-dir", "/srv/cluster"])
    assert options.secure_port == 6443
    assert options.bind_address == "0.0.0.0"
    assert options.default_unreachable_toleration_seconds == 5


def test_kubernetes_own_slower_failover_can_be_set() -> None:
    options = parse(["--data-dir", "d", "--default-not-ready-toleration-seconds=300"])
    assert options.default_not_ready_toleration_seconds == 300


def test_the_url_is_that_of_the_advertised_address() -> None:
    options = parse(["--data-dir", "d", "--advertise-address", "2001:db8::7", "--secure-port", "443"])
    assert options.server_url == "https://[2001:db8::7]:443"


def test_an_address_that_is_bound_is_advertised() -> None:
    assert parse(["--data-dir", "d", "--bind-address", "127.0.0.9"]).advertise_address == "127.0.0.9"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "--data-dir"),
        (["--data-dir", "d", "--secure-port", "0"], "'0' is no port (1 to 65535)"),
        (["--data-dir", "d", "--bind-address", "host"], "'host' is no IP address"),
        (["--data-dir", "d", "--request-timeout", "soon"], "'soon' is no duration such as 30s or 1m30s"),
        (["--data-dir", "d", "--service-cluster-ip-range", "10.96.0.1/12"], "is no network such as 10.96.0.0/12"),
        (["--data-dir", "d", "--tls-san", "no_name"], "'no_name' is neither an IP address nor a DNS name"),
        (["--data-dir", "d", "--max-requests-inflight", "0"], "'0' is no number of 1 or more"),
        (["--data-dir", "d", "--tls-cert-file", "c"], "--tls-cert-file and --tls-private-key-file go together"),
        (["--data-dir", "d", "--no-such-flag"], "unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_wrong_flag_is_one_clear_line(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: ") and said.count("\n") == 1
    assert told in said
