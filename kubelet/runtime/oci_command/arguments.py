"""The command line, as runc(8) has it: global options, a command, its options, then what it is about.

argparse would take as long to load as all the rest of `state`. As with runc, options come before arguments, and
long ones may have one dash or two.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Values = dict[str, list[str]]

FLAG, VALUE = False, True
GLOBAL = {
    "root": VALUE,
    "log": VALUE,
    "log-format": VALUE,
    "debug": FLAG,
    "systemd-cgroup": FLAG,
    "rootless": VALUE,
    "criu": VALUE,
    "version": FLAG,
    "help": FLAG,
}
_BUNDLE = {
    "bundle": VALUE,
    "console-socket": VALUE,
    "pid-file": VALUE,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
    "preserve-fds": VALUE,
}
_LIMITS = (
    "memory",
    "memory-reservation",
    "memory-swap",
    "cpu-period",
    "cpu-quota",
    "cpu-share",
    "cpuset-cpus",
    "cpuset-mems",
    "pids-limit",
)
COMMANDS: dict[str, dict[str, bool]] = {
    "create": _BUNDLE,
    "run": {**_BUNDLE, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG},
    "start": {},
    "state": {},
    "kill": {"all": FLAG},
    "delete": {"force": FLAG},
    "exec": {
        "process": VALUE,
        "tty": FLAG,
        "detach": FLAG,
        "pid-file": VALUE,
        "console-socket": VALUE,
        "cwd": VALUE,
        "env": VALUE,
        "user": VALUE,
        "additional-gids": VALUE,
        "cap": VALUE,
        "no-new-privs": FLAG,
        "ignore-paused": FLAG,
        "preserve-fds": VALUE,
    },
    "list": {"format": VALUE, "quiet": FLAG},
    "ps": {"format": VALUE},
    "pause": {},
    "resume": {},
    "update": {"resources": VALUE, **dict.fromkeys(_LIMITS, VALUE)},
    "events": {"stats": FLAG},
    "features": {},
    "spec": {"bundle": VALUE},
}
_SHORT = {
    "b": "bundle",
    "d": "detach",
    "t": "tty",
    "p": "process",
    "e": "env",
    "u": "user",
    "g": "additional-gids",
    "c": "cap",
    "a": "all",
    "f": "force",
    "q": "quiet",
    "r": "resources",
    "v": "version",
    "h": "help",
}
# Where a letter means something else than above.
_OWN_SHORT = {"list": {"f": "format"}, "ps": {"f": "format"}}


class UsageError(Exception):
    """The command line makes no sense; the message says why."""


class Arguments:
    """One command with its options and arguments."""

    def __init__(self, options: Values, command: str, own: Values, rest: list[str]) -> None:
        self.globals = options
        self.command = command
        self.options = own
        self.rest = rest

    def flag(self, name: str) -> bool:
        """Whether an option without a value was given, here or before the command."""
        given = self.options.get(name) or self.globals.get(name) or ["false"]
        return given[-1] not in ("false", "0", "f")

    def value(self, name: str, default: str = "") -> str:
        """The last value of an option."""
        return (self.options.get(name) or self.globals.get(name) or [default])[-1]

    def values(self, name: str) -> list[str]:
        """All values of an option that may be repeated."""
        return self.options.get(name, [])

    def number(self, name: str, default: int = 0) -> int:
        """A value that is a number. Raises UsageError."""
        text = self.value(name)
        try:
            return int(text) if text else default
        except ValueError:
            raise UsageError(f"invalid value {text!r} for --{name}: not a number") from None

    @property
    def container_id(self) -> str:
        """The first argument. Raises UsageError."""
        if not self.rest:
            raise UsageError(f'"{self.command}" requires a container id')
        return self.rest[0]


def parse(words: Sequence[str]) -> Arguments:
    """The words after the program's name. Raises UsageError."""
    options, left = _options(words, GLOBAL, _SHORT)
    if not left:
        return Arguments(options, "", {}, [])
    command, *words = left
    if command not in COMMANDS:
        raise UsageError(f"unknown command {command!r}")
    own, rest = _options(words, COMMANDS[command], {**_SHORT, **_OWN_SHORT.get(command, {})})
    return Arguments(options, command, own, rest)


def _options(words: Sequence[str], known: dict[str, bool], short: dict[str, str]) -> tuple[Values, list[str]]:
    """The options at the beginning, and what comes after them."""
    found: Values = {}
    left = list(words)
    while left and left[0].startswith("-") and left[0] != "-":
        word = left.pop(0)
        if word == "--":
            break
        name, has_value, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        if name not in known:
            raise UsageError(f"flag provided but not defined: {word}")
        if known[name] == VALUE and not has_value:
            if not left:
                raise UsageError(f"flag needs an argument: {word}")
            value = left.pop(0)
        elif not has_value:
            value = "true"
        found.setdefault(name, []).append(value)
    return found, left
