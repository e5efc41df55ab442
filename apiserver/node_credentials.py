"""`python -m apiserver node-credentials`: issues what a node agent needs to join the cluster.

DIR/NAME/kubeconfig                        who the node is to the API: system:node:NAME in system:nodes
DIR/NAME/pki/ca.crt, kubelet.crt, .key     whom it trusts, and what it serves logs and exec with
DIR/hollow-nodes/kubeconfig                with --hollow-nodes: who the process is that stands for many nodes

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
HOLLOW_USER, HOLLOW_GROUP = "hollow-nodes", "wherry:hollow-nodes"


def main(arguments: Sequence[str]) -> int:
    """Issue the credentials of every node that is named. Raises PkiError."""
    parser = argparse.ArgumentParser(prog="python -m apiserver node-credentials", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True, metavar="DIR", help="the API server's folder")
    parser.add_argument("--server", required=True, metavar="URL", help="where nodes reach the API server")
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="where a folder per node is made")
    parser.add_argument("--node", type=_node, action="append", default=[], metavar="NAME=ADDRESS")
    parser.add_argument("--hollow-nodes", action="store_true", help="who hollow nodes are; they may nothing yet")
    found = parser.parse_args(arguments)
    if not found.node and not found.hollow_nodes:
        parser.error("one of --node and --hollow-nodes is required")
    issue(found.data_dir, found.out_dir, found.server, found.node, hollow=found.hollow_nodes)
    return 0


def issue(
    data_dir: Path, out_dir: Path, server: str, nodes: Sequence[tuple[str, str]], *, hollow: bool = False
) -> None:
    """Write each node's kubeconfig and serving certificate, and that of hollow nodes. Raises PkiError."""
    from apiserver.certificates import Authority, utc

    now = utc(time.time())
    if not (data_dir / "pki" / "ca.crt").exists():
        raise pki.PkiError(f"there is no authority in {data_dir}: the API server makes it at its first start")
    try:
        authority = Authority.open(data_dir / "pki")

        def kubeconfig(user: str, group: str) -> bytes:
            client = authority.issue(user, (group,), (), now)
            return kubeconfigs.render(
                server=server,
                user=user,
                ca_pem=authority.certificate_pem,
                certificate_pem=client.certificate_pem,
                key_pem=client.key_pem,
            )

        for name, address in nodes:
            folder, user = out_dir / name, f"system:node:{name}"
            serving = authority.issue(user, (NODES,), (name, address), now)
            write_private(folder / "pki" / "ca.crt", authority.certificate_pem)
            write_private(folder / "pki" / "kubelet.key", serving.key_pem)
            write_private(folder / "pki" / "kubelet.crt", serving.certificate_pem)
            # The last file: whoever finds it finds the others as well.
            write_private(folder / "kubeconfig", kubeconfig(user, NODES))
        if hollow:
            write_private(out_dir / "hollow-nodes" / "kubeconfig", kubeconfig(HOLLOW_USER, HOLLOW_GROUP))
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
