"""Gets credentials from the cluster's own authority and hands the administrator's to kubectl and kctl.

The authority's key never leaves the API server's folder: its command issues what nodes need. The
administrator's context is merged into the user's kubeconfig, as kubectl users expect, and taken out again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from kctl.cluster.layout import Cluster
from kctl.errors import CommandError

ISSUE_TIMEOUT_SECONDS = 30


def issue_node_credentials(cluster: Cluster, nodes: list[str]) -> None:
    """Write each node's kubeconfig and serving certificate into its folder."""
    named = [word for node in nodes for word in ("--node", f"{node}={cluster.nodes[node]}")]
    _issue(cluster, cluster.data_dir / "nodes", named, ", ".join(nodes))


def issue_hollow_credentials(cluster: Cluster) -> None:
    """Write the kubeconfig of the process that is all hollow nodes."""
    _issue(cluster, cluster.data_dir, ["--hollow-nodes"], "hollow nodes")


def _issue(cluster: Cluster, out_dir: Path, flags: list[str], whose: str) -> None:
    command = [
        sys.executable,
        "-m",
        "apiserver",
        "node-credentials",
        "--data-dir",
        str(cluster.data_dir / "apiserver"),
        "--server",
        cluster.server,
        "--out-dir",
        str(out_dir),
        *flags,
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=ISSUE_TIMEOUT_SECONDS, check=False, cwd="/"
    )
    if done.returncode != 0:
        raise CommandError(f"credentials for {whose}: {done.stderr.strip()}")


def user_kubeconfig() -> Path:
    """The file that kubectl reads: the first of $KUBECONFIG, or ~/.kube/config."""
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    return Path(named) if named else Path.home() / ".kube" / "config"


def merge_context(cluster: Cluster, path: Path) -> None:
    """Add the administrator's context to the user's kubeconfig and make it the current one."""
    theirs = _read(path)
    ours = _read(cluster.admin_kubeconfig)
    context = cluster.context
    entries = {"clusters": "cluster", "users": "user"}
    for section, key in entries.items():
        _put(theirs, section, {"name": context, key: ours[section][0][key]})
    _put(theirs, "contexts", {"name": context, "context": {"cluster": context, "user": context}})
    theirs["current-context"] = context
    _write(path, theirs)


def remove_context(cluster: Cluster) -> None:
    """Take this cluster's context out of every kubeconfig that it was put into; the rest of them stays as it is."""
    for path in dict.fromkeys([*map(Path, cluster.kubeconfigs), user_kubeconfig()]):
        if path.exists():
            _remove_context(cluster.context, path)


def _remove_context(context: str, path: Path) -> None:
    theirs = _read(path)
    changed = theirs.get("current-context") == context
    for section in ("clusters", "users", "contexts"):
        entries = theirs.get(section) or []
        kept = [entry for entry in entries if entry.get("name") != context]
        changed = changed or kept != entries
        theirs[section] = kept
    if theirs.get("current-context") == context:
        theirs["current-context"] = ""
    if changed:
        _write(path, theirs)


def _read(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"apiVersion": "v1", "kind": "Config", "clusters": [], "users": [], "contexts": []}
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise CommandError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise CommandError(f"{path} is no kubeconfig")
    return document


def _put(document: dict[str, Any], section: str, entry: dict[str, Any]) -> None:
    others = [e for e in document.get(section) or [] if e.get("name") != entry["name"]]
    document[section] = [*others, entry]


def _write(path: Path, document: dict[str, Any]) -> None:
    import yaml

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        yaml.safe_dump(document, file, sort_keys=False)
    temporary.replace(path)
