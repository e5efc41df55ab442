"""`kctl exec`: runs a command in a container, with a terminal if asked for."""

from __future__ import annotations

import argparse

from kctl import remote
from kctl.commands.logs import pod_of
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl exec`."""
    parser.add_argument("-c", "--container", help="default: the first")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="give the command a terminal")
    parser.add_argument("what", metavar="POD | TYPE/NAME", help="a pod, or deployment/web for one of its pods")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="what to run")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Run the command; its exit status becomes ours."""
    command = args.command[1:] if args.command[:1] == ["--"] else args.command
    if not command:
        raise CommandError("say what to run, as in `kctl exec POD -- ls /`", exit_status=2)
    tty = remote.refuse_false_terminal(args.tty)
    client, namespace = await connect(args)
    async with client:
        pod = await pod_of(client, args.what, namespace)
        asked = remote.Asked(namespace, pod, args.container, tuple(command), stdin=args.stdin, tty=tty)
        with remote.raw_terminal(tty and args.stdin):
            stdin = remote.own_stdin() if args.stdin else None
            return await remote.converse(client, asked, stdin, remote.outputs())
