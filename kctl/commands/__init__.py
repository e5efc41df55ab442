"""The commands of kctl: one module a command, listed in one table.

A module of this table has `add_arguments(parser)` and `run(args) -> int | None` (or a coroutine function of
that name); the number is the exit status. Only the module asked for is imported, so a command starts fast.
"""

from __future__ import annotations

from typing import NamedTuple


class Command(NamedTuple):
    """A command's name, the module that holds it and its line in `kctl --help`."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("up", "kctl.commands.up", "start a cluster on this machine, or repair and extend the one that runs"),
    Command("down", "kctl.commands.down", "stop the cluster of this machine, its nodes and their pods"),
    Command("node", "kctl.commands.node", "list, start, stop or kill the nodes of this machine's cluster"),
    Command("apply", "kctl.commands.apply", "make the cluster hold what files, folders or URLs describe"),
    Command("get", "kctl.commands.get", "list objects as a table, YAML, JSON or names"),
    Command("describe", "kctl.commands.describe", "show an object in full, with its events"),
    Command("explain-scheduling", "kctl.commands.explain_scheduling", "say why a pod is on its node, or on none"),
    Command("delete", "kctl.commands.delete", "delete objects, by name, selector or file"),
    Command("scale", "kctl.commands.scale", "set the number of replicas"),
    Command("rollout", "kctl.commands.rollout", "status, history, undo, restart, pause or resume a rollout"),
    Command("logs", "kctl.commands.logs", "print the logs of a container"),
    Command("exec", "kctl.commands.exec", "run a command in a container"),
    Command("attach", "kctl.commands.attach", "join the process that a container runs"),
    Command("cp", "kctl.commands.cp", "copy files and folders to and from containers"),
    Command("port-forward", "kctl.commands.port_forward", "let ports of this machine lead into a pod"),
    Command("wait", "kctl.commands.wait", "wait until objects meet a condition"),
    Command(
        "image",
        "kctl.commands.image",
        "pull, push, build, import, export, list or remove images of this machine's nodes",
    ),
    Command("version", "kctl.commands.version", "print the versions of kctl and of the server"),
)
