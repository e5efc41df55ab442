"""The server's flags, named as kube-apiserver names them; a wrong one is a clear line on standard error.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/
"""

from __future__ import annotations

import argparse
import ipaddress
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

from apimachinery.duration import parse_seconds
from apimachinery.names import dns1123_subdomain
from apiserver import front_proxy
from apiserver.front_proxy import FrontProxy

DEFAULT_PORT = 6443
DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
# A lost node's pods run elsewhere in about ten seconds; Kubernetes' own default is 300.
DEFAULT_TOLERATION_SECONDS = 5
# The common name of the certificate with which this server is a proxy in front of others.
FRONT_PROXY_CLIENT = "front-proxy-client"
_REQUEST_HEADERS = {
    "username-headers": front_proxy.USER,
    "uid-headers": front_proxy.UID,
    "group-headers": front_proxy.GROUP,
    "extra-headers-prefix": front_proxy.EXTRA,
}


class Options(NamedTuple):
    """How this server runs."""

    data_dir: Path
    bind_address: str
    advertise_address: str
    secure_port: int
    service_cluster_ip_range: str
    tls_sans: tuple[str, ...]
    tls_cert_file: Path | None
    tls_private_key_file: Path | None
    token_auth_file: Path | None
    front_proxy: FrontProxy
    anonymous_auth: bool
    service_account_issuers: tuple[str, ...]
    service_account_key_files: tuple[Path, ...]
    service_account_signing_key_file: Path | None
    service_account_max_token_expiration_seconds: float
    service_account_extend_token_expiration: bool
    api_audiences: tuple[str, ...]
    cluster_signing_seconds: float
    bootstrap_token_auth: bool
    request_timeout_seconds: float
    min_request_timeout_seconds: float
    max_requests_inflight: int
    max_mutating_requests_inflight: int
    shutdown_delay_seconds: float
    compaction_interval_seconds: float
    default_not_ready_toleration_seconds: int
    default_unreachable_toleration_seconds: int
    enable_admission_plugins: tuple[str, ...]
    disable_admission_plugins: tuple[str, ...]
    admission_control_config_file: Path | None
    verbosity: int

    @property
    def server_url(self) -> str:
        """Where the parts of the cluster reach this server."""
        host = f"[{self.advertise_address}]" if ":" in self.advertise_address else self.advertise_address
        return f"https://{host}:{self.secure_port}"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"error: {message}; see `{self.prog} --help`", file=sys.stderr)
        raise SystemExit(2)


def parse(arguments: Sequence[str]) -> Options:
    """Read the flags. Raises SystemExit, having said why."""
    parser = _arguments()
    found = parser.parse_args(arguments)
    if (found.tls_cert_file is None) != (found.tls_private_key_file is None):
        parser.error("--tls-cert-file and --tls-private-key-file go together")
    if (found.proxy_client_cert_file is None) != (found.proxy_client_key_file is None):
        parser.error("--proxy-client-cert-file and --proxy-client-key-file go together")
    # The first signs; tokens of the others still hold, so that an issuer can be changed.
    issuers = tuple(found.service_account_issuer) or (DEFAULT_ISSUER,)
    return Options(
        data_dir=found.data_dir.absolute(),
        bind_address=found.bind_address,
        advertise_address=found.advertise_address or _reachable_address(found.bind_address),
        secure_port=found.secure_port,
        service_cluster_ip_range=found.service_cluster_ip_range,
        tls_sans=tuple(found.tls_san),
        tls_cert_file=found.tls_cert_file,
        tls_private_key_file=found.tls_private_key_file,
        token_auth_file=found.token_auth_file,
        front_proxy=_front_proxy(found),
        anonymous_auth=found.anonymous_auth,
        service_account_issuers=issuers,
        service_account_key_files=tuple(found.service_account_key_file),
        service_account_signing_key_file=found.service_account_signing_key_file,
        service_account_max_token_expiration_seconds=found.service_account_max_token_expiration,
        service_account_extend_token_expiration=found.service_account_extend_token_expiration,
        cluster_signing_seconds=found.cluster_signing_duration,
        bootstrap_token_auth=found.enable_bootstrap_token_auth,
        api_audiences=tuple(filter(None, found.api_audiences.split(","))) or issuers,
        request_timeout_seconds=found.request_timeout,
        min_request_timeout_seconds=found.min_request_timeout,
        max_requests_inflight=found.max_requests_inflight,
        max_mutating_requests_inflight=found.max_mutating_requests_inflight,
        shutdown_delay_seconds=found.shutdown_delay_duration,
        compaction_interval_seconds=found.etcd_compaction_interval,
        default_not_ready_toleration_seconds=found.default_not_ready_toleration_seconds,
        default_unreachable_toleration_seconds=found.default_unreachable_toleration_seconds,
        enable_admission_plugins=found.enable_admission_plugins,
        disable_admission_plugins=found.disable_admission_plugins,
        admission_control_config_file=found.admission_control_config_file,
        verbosity=found.v,
    )


def _front_proxy(found: argparse.Namespace) -> FrontProxy:
    """Who may name users; of the files of this folder, if no others are given."""
    keys = found.data_dir.absolute() / "pki"
    # Of somebody else's authority any certificate will do, as for kube-apiserver, unless names are given.
    names = found.requestheader_allowed_names
    if names is None:
        names = (FRONT_PROXY_CLIENT,) if found.requestheader_client_ca_file is None else ()
    return FrontProxy(
        found.requestheader_client_ca_file or keys / "front-proxy-ca.crt",
        found.proxy_client_cert_file or keys / "front-proxy-client.crt",
        found.proxy_client_key_file or keys / "front-proxy-client.key",
        names,
        found.requestheader_username_headers,
        found.requestheader_uid_headers,
        found.requestheader_group_headers,
        found.requestheader_extra_headers_prefix,
    )


def _arguments() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m apiserver", description="The API server: all state of a cluster behind HTTPS.")
    add = parser.add_argument
    add("--data-dir", type=Path, required=True, metavar="DIR", help="database, keys and kubeconfigs")
    add("--bind-address", type=_address, default="0.0.0.0", metavar="IP", help="where to listen (%(default)s: all)")
    add("--advertise-address", type=_address, metavar="IP", help="where others reach this server")
    add("--secure-port", type=_port, default=DEFAULT_PORT, metavar="PORT", help="HTTPS port (%(default)s)")
    add(
        "--service-cluster-ip-range",
        type=_network,
        default="10.96.0.0/12",
        metavar="CIDR",
        help="Services' addresses",
    )
    add(
        "--tls-san",
        type=_name,
        action="append",
        default=[],
        metavar="NAME",
        help="one more name or address in the certificate",
    )
    add("--tls-cert-file", type=Path, metavar="FILE", help="a serving certificate of your own")
    add("--tls-private-key-file", type=Path, metavar="FILE", help="its key")
    add("--token-auth-file", type=Path, metavar="FILE", help='lines of token,user,uid,"group,…" (DIR/tokens.csv)')
    help_text = "the authority of proxies that may name users (DIR/pki/front-proxy-ca.crt)"
    add("--requestheader-client-ca-file", type=Path, metavar="FILE", help=help_text)
    help_text = "the common names of such proxies' certificates; none for any"
    add("--requestheader-allowed-names", type=_list, metavar="LIST", help=help_text)
    for name, header in _REQUEST_HEADERS.items():
        add(f"--requestheader-{name}", type=_list, default=(header,), metavar="LIST", help=f"({header})")
    help_text = "what this server shows to extension API servers (DIR/pki/front-proxy-client.crt)"
    add("--proxy-client-cert-file", type=Path, metavar="FILE", help=help_text)
    add("--proxy-client-key-file", type=Path, metavar="FILE", help="its key")
    add(
        "--anonymous-auth",
        type=_flag,
        nargs="?",
        const=True,
        default=True,
        metavar="true|false",
        help="requests without credentials are those of system:anonymous (%(default)s)",
    )
    add(
        "--service-account-issuer",
        action="append",
        default=[],
        metavar="URL",
        help=f"who signs service accounts' tokens ({DEFAULT_ISSUER}); of several the first",
    )
    help_text = "the key that signs their tokens (DIR/pki/sa.key)"
    add("--service-account-signing-key-file", type=Path, metavar="FILE", help=help_text)
    help_text = "one more key of which tokens hold"
    add("--service-account-key-file", type=Path, action="append", default=[], metavar="FILE", help=help_text)
    add(
        "--service-account-max-token-expiration",
        type=_duration,
        default=0.0,
        metavar="0s",
        help="no token lives longer; 0 for no limit",
    )
    add(
        "--service-account-extend-token-expiration",
        type=_flag,
        nargs="?",
        const=True,
        default=True,
        metavar="true|false",
        help="pods' tokens hold for a year if they are not read anew (%(default)s)",
    )
    add("--api-audiences", default="", metavar="LIST", help="what tokens must be meant for (the issuers)")
    add(
        "--cluster-signing-duration",
        type=_duration,
        default=8760 * 3600.0,
        metavar="8760h",
        help="how long certificates hold that are asked for as objects",
    )
    add(
        "--enable-bootstrap-token-auth",
        type=_flag,
        nargs="?",
        const=True,
        default=True,
        metavar="true|false",
        help="tokens of Secrets in kube-system let machines join (%(default)s)",
    )
    add("--request-timeout", type=_duration, default=60.0, metavar="1m0s", help="for all but watches and streams")
    add(
        "--min-request-timeout", type=_seconds, default=1800, metavar="SECONDS", help="how long watches live at least"
    )
    add("--max-requests-inflight", type=_count, default=400, metavar="N", help="reads at once (%(default)s)")
    add(
        "--max-mutating-requests-inflight", type=_count, default=200, metavar="N", help="writes at once (%(default)s)"
    )
    add("--shutdown-delay-duration", type=_duration, default=0.0, metavar="0s", help="go on serving after SIGTERM")
    help_text = "how long versions that were replaced can be asked for; 0: for ever"
    add("--etcd-compaction-interval", type=_duration, default=300.0, metavar="5m0s", help=help_text)
    help_text = "how long pods stay on a node that is not ready or unreachable, unless they say so (%(default)s)"
    for condition in ("not-ready", "unreachable"):
        flag = f"--default-{condition}-toleration-seconds"
        add(flag, type=_seconds, default=DEFAULT_TOLERATION_SECONDS, metavar="SECONDS", help=help_text)
    help_text = "admission plugins that run besides the usual ones"
    add("--enable-admission-plugins", type=_list, default=(), metavar="LIST", help=help_text)
    add("--disable-admission-plugins", type=_list, default=(), metavar="LIST", help="usual ones that don't run")
    help_text = "an AdmissionConfiguration, which PodSecurity and ResourceQuota go by"
    add("--admission-control-config-file", type=Path, metavar="FILE", help=help_text)
    add(
        "-v", "--v", type=_seconds, default=0, metavar="LEVEL", help="1 and more also logs what is for finding faults"
    )
    return parser


def first_service_address(cidr: str) -> str:
    """The address of the Service `kubernetes`: the first of the range."""
    return str(ipaddress.ip_network(cidr)[1])


def _list(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _duration(text: str) -> float:
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no IP address") from error


def _name(text: str) -> str:
    """An address, or a DNS name that may begin with `*.`."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if dns1123_subdomain(text.removeprefix("*.")):
            raise argparse.ArgumentTypeError(f"{text!r} is neither an IP address nor a DNS name") from None
        return text


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no network such as 10.96.0.0/12 ({error})") from error


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port (1 to 65535)")
    return int(text)


def _seconds(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 0 or more")
    return int(text)


def _flag(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def _count(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of 1 or more")
    return int(text)


def _reachable_address(bind_address: str) -> str:
    """The address that others reach: the one bound, or for all of them the one that the default route leaves from."""
    bound = ipaddress.ip_address(bind_address)
    if not bound.is_unspecified:
        return bind_address
    family, anywhere = (socket.AF_INET, "192.0.2.1") if bound.version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((anywhere, 9))  # datagrams: only the route is looked up, nothing is sent
        except OSError:
            return "127.0.0.1" if bound.version == 4 else "::1"
        return str(probe.getsockname()[0])
