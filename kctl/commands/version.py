"""`kctl version`: what runs here and there."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

import orjson

from apiclient.kubeconfig import KubeconfigError
from apimachinery.errors import ApiError
from kctl.connect import connect


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl version`."""
    parser.add_argument("--client", action="store_true", help="do not ask the server")
    parser.add_argument("-o", "--output", choices=("json",), help="default: a line each")


async def run(args: argparse.Namespace) -> int:
    """Print the versions; without a server the client's is printed all the same, and the exit status is 1."""
    found: dict[str, object] = {"clientVersion": {"gitVersion": f"v{version('wherry')}"}}
    problem = ""
    if not args.client:
        try:
            client, _ = await connect(args)
            async with client:
                found["serverVersion"] = orjson.loads((await client.request("GET", "/version"))[2])
        except (ApiError, KubeconfigError, OSError) as error:
            problem = str(error)
    if args.output == "json":
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        for title, key in (("Client Version", "clientVersion"), ("Server Version", "serverVersion")):
            entry = found.get(key)
            if isinstance(entry, dict):
                print(f"{title}: {entry['gitVersion']}")
    if problem:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problem else 0
