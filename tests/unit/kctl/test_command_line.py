"""Mistakes on the command line are told in one line with the right exit status, and never as a traceback."""

from __future__ import annotations

import argparse
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kctl.commands import COMMANDS, Command
from kctl.main import main


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["frobnicate"], 2, "no command in 'frobnicate'"),
        (["get"], 2, "required: TYPE[/NAME]"),
        (["scale", "deployment/web"], 2, "required: --replicas"),
        (["scale", "deployment/web", "--replicas", "many"], 2, "invalid int value: 'many'"),
        (["scale", "deployment/web", "--replicas", "-1"], 2, "must not be negative"),
        (["apply"], 2, "-f FILE"),
        (["rollout", "turn", "deployment/web"], 2, "invalid choice: 'turn'"),
        (["get", "pods", "--no-such-flag"], 2, "unrecognized arguments: --no-such-flag"),
        (["get", "pods", "--kubeconfig", "/no/such/file"], 1, "no kubeconfig at /no/such/file"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], status: int, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    told = capsys.readouterr().err
    assert complaint in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1


def test_a_server_that_is_away_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config"
    config.write_text(
        "current-context: c\ncontexts: [{name: c, context: {cluster: c}}]\n"
        "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n"
    )
    assert main(["get", "pods", "--kubeconfig", str(config)]) == 1
    assert "the API server at http://127.0.0.1:1 can't be reached" in capsys.readouterr().err


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: kctl {command}" in capsys.readouterr().out


def flags(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        yield action
        for below in action.choices.values() if isinstance(action, argparse._SubParsersAction) else ():
            yield from flags(below)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_flag_says_what_it_is_for(command: Command) -> None:
    parser = argparse.ArgumentParser(prog=command.name)
    importlib.import_module(command.module).add_arguments(parser)
    assert [action.dest for action in flags(parser) if not action.help] == []


def test_flags_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """And their values may be called as a command is."""
    assert main(["-n", "wait", "--context", "up", "get", "pods", "--kubeconfig", "/no/such/file"]) == 1
    assert "no kubeconfig at /no/such/file" in capsys.readouterr().err


def test_the_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {command.name} " in shown for command in COMMANDS)


def test_a_reader_that_leaves_early_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; from kctl.main import main; sys.exit(main(['up', '--help']))"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as child:
        assert child.stdout is not None and child.stderr is not None
        child.stdout.close()
        assert b"Broken pipe" not in child.stderr.read()
