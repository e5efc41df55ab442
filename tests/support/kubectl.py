"""kubectl as somebody would use it who works in one namespace."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from pathlib import Path
from typing import Any

COMMAND_SECONDS_MAX = 60
_numbers = itertools.count(1)


class Kubectl:
    """One kubectl in one namespace; `home` is where it keeps what it has discovered."""

    def __init__(self, binary: str, kubeconfig: Path, namespace: str, home: Path) -> None:
        self.command = [binary, "--kubeconfig", str(kubeconfig), "--namespace", namespace]
        self.namespace = namespace
        self.environment = {**os.environ, "HOME": str(home), "KUBECACHEDIR": str(home / "cache")}

    def __call__(self, *arguments: str, stdin: str = "", fails: bool = False, **environment: str) -> str:
        """What it prints; what it complains of if it `fails`. `environment` are variables, as EDITOR."""
        done = self.run(*arguments, stdin=stdin, **environment)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Its end, whatever that was."""
        return subprocess.run(
            [*self.command, *arguments],
            input=stdin,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def get(self, *arguments: str) -> Any:
        """An object as it is stored."""
        return json.loads(self("get", *arguments, "-o", "json"))

    def lines(self, *arguments: str) -> list[list[str]]:
        """What it prints, in words, without empty lines."""
        return [line.split() for line in self(*arguments).splitlines() if line.strip()]


def in_new_namespace(binary: str, kubeconfig: Path, home: Path, *, account: bool = True) -> Kubectl:
    """A kubectl in a namespace of its own; with the service `account` that pods need where no controller makes it."""
    run = Kubectl(binary, kubeconfig, f"kubectl-{next(_numbers)}", home)
    run("create", "namespace", run.namespace)
    if account:
        run("create", "serviceaccount", "default")
    return run
