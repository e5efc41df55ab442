"""What the mounts of a container are made from, and in which words they are refused."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.containers.container_config import ConfigFailure, Mount
from kubelet.containers.volume_mounts import is_recursively_read_only, part_of, volume_mounts

POD: Object = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {
        "volumes": [
            {"name": "v", "emptyDir": {}},
            {"name": "c", "configMap": {"name": "c"}},
            {"name": "n", "nfs": {"server": "s", "path": "/p", "readOnly": True}},
            {"name": "i", "image": {"reference": "x"}},
        ]
    },
}


def mounts_of(tmp_path: Path, *entries: dict[str, Any], **fields: Any) -> list[Mount]:
    volumes = {name: tmp_path / name for name in ("v", "c", "n", "i")}
    with ExitStack() as held:
        container = {"name": "web", "volumeMounts": list(entries), **fields}
        return volume_mounts(POD, container, volumes=volumes, environment=[], root=tmp_path, held=held)


def test_some_volumes_are_read_only_whatever_their_mount_says(tmp_path: Path) -> None:
    found = mounts_of(tmp_path, *({"name": name, "mountPath": f"/{name}"} for name in ("v", "c", "n", "i")))
    assert [entry.read_only for entry in found] == [False, True, True, True]
    assert mounts_of(tmp_path, {"name": "v", "mountPath": "/v", "readOnly": True})[0].read_only


def test_a_path_that_does_not_begin_at_the_root_does(tmp_path: Path) -> None:
    assert mounts_of(tmp_path, {"name": "v", "mountPath": "data"})[0].destination == "/data"


@pytest.mark.parametrize(
    ("entry", "fields", "message"),
    [
        ({"name": "none", "mountPath": "/x"}, {}, 'cannot find volume "none" to mount into container "web"'),
        (
            {"name": "v", "mountPath": "/x"},
            {"volumeDevices": [{"name": "d", "devicePath": "/dev/d"}]},
            'cannot find volume "d" to pass into container "web"',
        ),
    ],
)
def test_a_volume_that_is_not_there_is_named(tmp_path: Path, entry: Object, fields: Object, message: str) -> None:
    with pytest.raises(ConfigFailure) as failure:
        mounts_of(tmp_path, entry, **fields)
    assert (failure.value.reason, failure.value.message) == ("CreateContainerConfigError", message)


def test_a_part_may_be_named_by_variables_that_are_known() -> None:
    variables = [("POD", "web-0"), ("EMPTY", "")]
    assert part_of({"subPath": "$(POD)"}, variables) == "$(POD)"
    assert part_of({"subPathExpr": "logs/$(POD)$(EMPTY)/$$(POD)"}, variables) == "logs/web-0/$(POD)"
    assert part_of({}, variables) == ""
    with pytest.raises(ConfigFailure, match='missing value for "NONE"'):
        part_of({"subPathExpr": "$(POD)/$(NONE)"}, variables)


@pytest.mark.parametrize(
    ("wanted", "recursive"), [(None, False), ("Disabled", False), ("IfPossible", True), ("Enabled", True)]
)
def test_mounts_below_are_read_only_where_that_is_asked_for(wanted: str | None, recursive: bool) -> None:
    entry = {"name": "v", "readOnly": True, **({"recursiveReadOnly": wanted} if wanted else {})}
    assert is_recursively_read_only(entry) is recursive


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({}, "it is not read-only"),
        ({"readOnly": True, "mountPropagation": "Bidirectional"}, 'not compatible with propagation "Bidirectional"'),
    ],
)
def test_what_can_not_be_read_only_below_is_refused(entry: Object, message: str) -> None:
    with pytest.raises(ConfigFailure, match=message):
        is_recursively_read_only({"name": "v", "recursiveReadOnly": "Enabled", **entry})
