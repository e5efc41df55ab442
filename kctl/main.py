"""The entry point of `kctl`: finds the command, reads its flags, runs it, and tells errors in one line.

Only what the command needs is imported: what is said at once need not wait for an event loop.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Awaitable, Coroutine, Sequence
from typing import NoReturn

from kctl.commands import COMMANDS, Command
from kctl.errors import CommandError

EXIT_INTERRUPTED = 130
# Of the flags that every command has, or nearly so: people write them before the command, too.
_VALUED_FLAGS = ("--kubeconfig", "--context", "-n", "--namespace")


class _Parser(argparse.ArgumentParser):
    """Tells a wrong flag in one line, as every other mistake."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message} (see `{self.prog} --help`)", exit_status=2)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. This is the `kctl` of pyproject.toml."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone (`kctl get pods | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(arguments: list[str]) -> int:
    command = _asked_for(arguments)
    if command is None:
        return _overview(arguments)
    module = importlib.import_module(command.module)
    parser = _Parser(prog=f"kctl {command.name}", description=command.help, allow_abbrev=False)
    parser.add_argument("--kubeconfig", metavar="FILE", help="the kubeconfig file to use")
    parser.add_argument("--context", help="the kubeconfig context to use")
    module.add_arguments(parser)
    rest = list(arguments)
    rest.remove(command.name)
    outcome = module.run(parser.parse_args(rest))
    if isinstance(outcome, Coroutine):
        import asyncio

        outcome = asyncio.run(_telling_api_errors(outcome))
    return int(outcome or 0)


async def _telling_api_errors(outcome: Awaitable[object]) -> object:
    from apiclient.kubeconfig import KubeconfigError
    from apimachinery.errors import ApiError

    try:
        return await outcome
    except ApiError as error:
        raise CommandError(_describe(error)) from error
    except BrokenPipeError:
        raise  # `main` knows what to do when nobody reads on
    except (KubeconfigError, OSError) as error:
        raise CommandError(str(error)) from error


def _describe(error: object) -> str:
    from apimachinery.errors import ApiError

    assert isinstance(error, ApiError)
    return f"{error.message} ({error.reason})" if error.reason else error.message


def _asked_for(arguments: Sequence[str]) -> Command | None:
    """The command is the first word that is neither a flag nor the value of one that may stand before it."""
    words = iter(arguments)
    for word in words:
        if word in _VALUED_FLAGS:
            next(words, None)
        elif not word.startswith("-"):
            return next((command for command in COMMANDS if command.name == word), None)
    return None


def _overview(arguments: list[str]) -> int:
    if arguments and arguments[0] not in ("-h", "--help", "help"):
        names = ", ".join(command.name for command in COMMANDS)
        raise CommandError(f"no command in {' '.join(arguments)!r}; the commands are {names}", exit_status=2)
    print("kctl controls a Wherry (or any other Kubernetes) cluster.\n\nCommands:")
    for command in COMMANDS:
        print(f"  {command.name:<20}{command.help}")
    print("\n`kctl COMMAND --help` tells a command's flags.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
