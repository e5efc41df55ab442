"""Which keys, certificates and kubeconfigs this server needs, and whether it has them.

    pki/ca.crt, ca.key              the cluster's authority
    pki/apiserver.crt, .key         serving
    pki/kubelet-client.crt, .key    towards node agents
    pki/front-proxy-ca.crt, .key    the authority of proxies that name users
    pki/front-proxy-client.crt, .key  towards extension API servers, with whose users' names
    pki/sa.key, sa.pub              tokens of service accounts
    admin.kubeconfig, scheduler.kubeconfig, controller-manager.kubeconfig
    tokens.csv                      a bearer token of the administrator
    pki/issued.json                 what was issued for whom, and until when

At a start where nothing has to be made, that last file tells so without a look into a certificate. What is missing,
was made for other addresses, has been changed by hand or expires within 90 days is made anew; the authority stays.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from apimachinery.names import dns1123_subdomain
from apiserver import kubeconfigs
from apiserver.files import write_private
from apiserver.options import FRONT_PROXY_CLIENT, Options, first_service_address

RENEW_BEFORE_SECONDS = 90 * 86400.0
MASTERS = "system:masters"
# This server, as it shows itself to node agents.
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
CLUSTER_DOMAIN = "cluster.local"
SIGNING_KEY = "pki/sa.key"
# The authorities by the names of their files, and what they call themselves.
CLUSTER, FRONT_PROXY = "ca", "front-proxy-ca"
AUTHORITY_NAMES = {CLUSTER: "kubernetes", FRONT_PROXY: "front-proxy-ca"}


class PkiError(Exception):
    """Credentials can't be made; the message names the file and says why."""


class Wanted(NamedTuple):
    """A credential that is needed: `names` for a server, `server` for a kubeconfig, neither for a plain client.

    `authority` is the name of the authority's files.
    """

    path: str
    common_name: str
    organizations: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    server: str = ""
    authority: str = CLUSTER

    def files(self, folder: Path) -> list[Path]:
        """Where it is stored: one kubeconfig, or a certificate and its key."""
        if self.server:
            return [folder / self.path]
        return [folder / f"{self.path}.crt", folder / f"{self.path}.key"]


def wanted(options: Options) -> list[Wanted]:
    """All credentials of a control plane that runs with these options."""
    names = serving_names(options)
    url = options.server_url
    return [
        Wanted("pki/apiserver", "kube-apiserver", names=names),
        Wanted("pki/kubelet-client", KUBELET_CLIENT, (MASTERS,)),
        Wanted("pki/front-proxy-client", FRONT_PROXY_CLIENT, authority=FRONT_PROXY),
        Wanted("admin.kubeconfig", "kubernetes-admin", (MASTERS,), server=url),
        Wanted("scheduler.kubeconfig", "system:kube-scheduler", server=url),
        Wanted("controller-manager.kubeconfig", "system:kube-controller-manager", server=url),
    ]


def serving_names(options: Options) -> tuple[str, ...]:
    """Every name and address under which this server may be reached."""
    service = [
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
    ]
    addresses = [
        "127.0.0.1",
        "::1",
        options.advertise_address,
        first_service_address(options.service_cluster_ip_range),
    ]
    if options.bind_address not in ("0.0.0.0", "::"):
        addresses.append(options.bind_address)
    host = socket.gethostname().lower()
    own = ["localhost", *([] if dns1123_subdomain(host) else [host])]
    return tuple(dict.fromkeys([*own, *service, *addresses, *options.tls_sans]))


def missing(folder: Path, credentials: Sequence[Wanted], now: float) -> list[Wanted]:
    """What of these has to be made; everything of an authority that is not there."""
    records = _records(folder)
    return [one for one in credentials if not _is_good(folder, one, records.get(one.path), now)]


def complete(folder: Path, credentials: Sequence[Wanted], now: float) -> bool:
    """True if nothing has to be made."""
    if not all((folder / name).exists() for name in ("tokens.csv", SIGNING_KEY)):
        return False
    return not missing(folder, credentials, now)


def make(folder: Path, credentials: Sequence[Wanted], now: float) -> None:
    """Make what is missing, the authority included. Raises PkiError."""
    try:
        _make(folder, credentials, now)
    except OSError as error:
        raise PkiError(f"{error.filename or folder} can't be written: {error.strerror}") from error


def _make(folder: Path, credentials: Sequence[Wanted], now: float) -> None:
    from apiserver.certificates import Authority, generate_key, utc

    authorities = {}
    for name in dict.fromkeys((CLUSTER, *(one.authority for one in credentials))):
        # A key alone is what a crash of the very first start leaves. A certificate alone is what others trust
        # already.
        if (folder / "pki" / f"{name}.crt").exists():
            authorities[name] = Authority.open(folder / "pki", name)
        else:
            authorities[name] = Authority.create(folder / "pki", utc(now), name)
    records = _records(folder)
    for one in missing(folder, credentials, now):
        authority = authorities[one.authority]
        issued = authority.issue(one.common_name, one.organizations, one.names, utc(now))
        if one.server:
            parts = {"ca_pem": authority.certificate_pem, "key_pem": issued.key_pem}
            text = kubeconfigs.render(
                server=one.server, user=one.common_name, certificate_pem=issued.certificate_pem, **parts
            )
            contents = [text]
        else:
            contents = [issued.certificate_pem, issued.key_pem]
        for path, content in zip(one.files(folder), contents, strict=True):
            write_private(path, content)
        records[one.path] = {
            "for": _made_for(one, authority.certificate_pem),
            "expires": issued.expires,
            "digest": _digest(*contents),
        }
    write_private(folder / "pki" / "issued.json", json.dumps(records, indent=2).encode())
    if not (folder / SIGNING_KEY).exists():
        private, public = generate_key()
        write_private(folder / "pki" / "sa.pub", public)
        write_private(folder / SIGNING_KEY, private)
    if not (folder / "tokens.csv").exists():
        line = f'{secrets.token_urlsafe(32)},kubernetes-admin,kubernetes-admin,"{MASTERS}"\n'
        write_private(folder / "tokens.csv", line.encode())


def _is_good(folder: Path, one: Wanted, record: Any, now: float) -> bool:
    try:
        authority = (folder / "pki" / f"{one.authority}.crt").read_bytes()
        contents = [path.read_bytes() for path in one.files(folder)]
        expires: float = record["expires"]
        known = record["for"] == _made_for(one, authority) and record["digest"] == _digest(*contents)
    except (FileNotFoundError, KeyError, TypeError):
        return False
    return known and expires - now > RENEW_BEFORE_SECONDS


def _records(folder: Path) -> dict[str, Any]:
    """What was issued; nothing if that is not known, which only means that it is issued again."""
    try:
        found = json.loads((folder / "pki" / "issued.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _made_for(one: Wanted, authority: bytes) -> str:
    described = {key: value for key, value in one._asdict().items() if key != "authority"}
    return _digest(json.dumps(described, sort_keys=True).encode(), authority)


def _digest(*parts: bytes) -> str:
    return hashlib.sha256(b"\0".join(parts)).hexdigest()
