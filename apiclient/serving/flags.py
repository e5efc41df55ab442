"""The flags that say where a part serves figures, with Kubernetes' names."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apiclient.serving.server import Place


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add them."""
    add = parser.add_argument
    add(
        "--secure-port",
        type=int,
        default=0,
        metavar="PORT",
        help="serve health and metrics here; default: 0, nowhere",
    )
    add("--bind-address", default="127.0.0.1", metavar="ADDRESS", help="default: 127.0.0.1")
    add("--tls-cert-file", metavar="FILE", help="the certificate that is served with")
    add("--tls-private-key-file", metavar="FILE", help="its key")
    add("--client-ca-file", metavar="FILE", help="who has a certificate of this authority is known by it")


def place(args: argparse.Namespace) -> Place | None:
    """Where to serve, None for nowhere. Raises ValueError for a port without a certificate."""
    if not args.secure_port:
        return None
    from apiclient.serving.server import Place

    if not (args.tls_cert_file and args.tls_private_key_file):
        raise ValueError("--secure-port needs --tls-cert-file and --tls-private-key-file")
    authority = Path(args.client_ca_file) if args.client_ca_file else None
    files = Path(args.tls_cert_file), Path(args.tls_private_key_file)
    return Place(args.bind_address, args.secure_port, *files, authority)
