"""`python -m apiserver node-credentials`: issues what a node agent needs to join the cluster.

DIR/NAME/kubeconfig                        who the node is to the API: system:node:NAME in system:nodes
DIR/NAME/pki/ca.crt, kubelet.crt, .key     whom it trusts, and what it serves logs and exec with

The authority's key is read here and never leaves the API server's folder.
"""

from __future__ import annotations

import argparse
import ipaddress
import time
from collections.abc import Sequence
from pathlib import Path

from apimachinery.names import dns1123_subdomain
from apiserver import kubeconfigs, pki
from apiserver.files import write_private

NODES = "system:nodes"


def main(arguments: Sequence[str]) -> int:
    """Issue the credentials of every node that is named. Raises PkiError."""
    parser = argparse.ArgumentParser(prog="python -m apiserver node-credentials", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="the API server's folder")
    parser.add_argument("--server", required=True, metavar="URL", help="where nodes reach the API server")
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="where a folder per node is made")
    parser.add_argument("--node", type=_node, action="append", required=True, metavar="NAME=ADDRESS")
    found = parser.parse_args(arguments)
    issue(found.data_dir, found.out_dir, found.server, found.node)
    return 0


def issue(data_dir: Path, out_dir: Path, server: str, nodes: Sequence[tuple[str, str]]) -> None:
    """Write each node's kubeconfig and serving certificate. Raises PkiError."""
    from apiserver.certificates import Authority, utc

    now = utc(time.time())
    if not (data_dir / "pki" / "ca.crt").exists():
        raise pki.PkiError(f"there is no authority in {data_dir}: the API server makes it at its first start")
    try:
        authority = Authority.open(data_dir / "pki")
        for name, address in nodes:
            folder, user = out_dir / name, f"system:node:{name}"
            serving = authority.issue(user, (NODES,), (name, address), now)
            write_private(folder / "pki" / "ca.crt", authority.certificate_pem)
            write_private(folder / "pki" / "kubelet.key", serving.key_pem)
            write_private(folder / "pki" / "kubelet.crt", serving.certificate_pem)
            client = authority.issue(user, (NODES,), (), now)
            # The last file: whoever finds it finds the others as well.
            text = kubeconfigs.render(
                server=server,
                user=user,
                ca_pem=authority.certificate_pem,
                certificate_pem=client.certificate_pem,
                key_pem=client.key_pem,
            )
            write_private(folder / "kubeconfig", text)
    except OSError as error:
        raise pki.PkiError(f"{error.filename or out_dir} can't be used: {error.strerror}") from error


def _node(text: str) -> tuple[str, str]:
    name, _, address = text.partition("=")
    if problems := dns1123_subdomain(name):
        raise argparse.ArgumentTypeError(f"{name!r} is no name of a node: {problems[0]}")
    try:
        return name, str(ipaddress.ip_address(address))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: {address!r} is no IP address") from None
