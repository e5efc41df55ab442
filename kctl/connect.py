"""How a command reaches the cluster: the user's kubeconfig, or this machine's cluster when there is none."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from apiclient.kubeconfig import Config, load
from apiclient.rest import Client
from kctl.cluster.layout import DEFAULT_DATA_DIR

MACHINE_KUBECONFIG = Path(DEFAULT_DATA_DIR) / "apiserver" / "admin.kubeconfig"


def config(args: argparse.Namespace) -> Config:
    """The kubeconfig that the flags, the environment or this machine name. Raises KubeconfigError."""
    return load(kubeconfig(args), args.context)


def kubeconfig(args: argparse.Namespace) -> str | None:
    """The file that the flags or this machine name; None for those that everybody reads without a flag."""
    path: str | None = args.kubeconfig
    if path is None and not os.environ.get("KUBECONFIG"):
        usual = Path.home() / ".kube" / "config"
        if not usual.exists() and os.access(MACHINE_KUBECONFIG, os.R_OK):
            path = str(MACHINE_KUBECONFIG)
    return path


async def connect(args: argparse.Namespace) -> tuple[Client, str]:
    """A client, and the namespace to work in: the flag's, the context's, or `default`."""
    found = config(args)
    namespace = getattr(args, "namespace", None) or found.namespace or "default"
    return await Client.connect(found), namespace


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """The flag `-n NAMESPACE`."""
    parser.add_argument("-n", "--namespace", help="the namespace to work in")
