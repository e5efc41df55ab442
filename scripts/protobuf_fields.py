"""Makes `apimachinery/protobuf_fields.json`: what the numbers of Kubernetes' protobuf messages stand for.

    .venv/bin/python scripts/protobuf_fields.py FOLDER > apimachinery/protobuf_fields.json

FOLDER holds checkouts of kubernetes/api, apimachinery, apiextensions-apiserver and kube-aggregator, of the served
version, each under that name. Numbers and types come from the `.proto` files; what these don't say (whether a zero is
a value or stands for nothing, and whether a message's fields are those of the object around it) comes from the tags
of the Go types beside them.

A field is `name TYPE`, where TYPE is `[]` for a list or `{}` for a map by strings, `*` if zero is a value, `=` if the
fields of the message belong to the object around it; then a scalar, or a message (of the same package, or by its
full name).
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

PACKAGES = (
    "admissionregistration/v1",
    "admissionregistration/v1beta1",
    "apps/v1",
    "authentication/v1",
    "authorization/v1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "certificates/v1",
    "coordination/v1",
    "core/v1",
    "discovery/v1",
    "events/v1",
    "flowcontrol/v1",
    "networking/v1",
    "node/v1",
    "policy/v1",
    "rbac/v1",
    "resource/v1",
    "scheduling/v1",
    "scheduling/v1alpha1",
    "storage/v1",
)
OTHERS = (
    "apimachinery/pkg/apis/meta/v1",
    "apimachinery/pkg/runtime",
    "apiextensions-apiserver/pkg/apis/apiextensions/v1",
    "kube-aggregator/pkg/apis/apiregistration/v1",
)
_MESSAGE = re.compile(r"^message (\w+) \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\s+(?:(optional|repeated) )?([\w.]+|map<string, ?[\w.]+>) (\w+) = (\d+)", re.MULTILINE)
_STRUCT = re.compile(r"^type (\w+) struct \{(.*?)^\}", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r'^\s+(?:\w+ +)?(\*?)[\w.\[\]*]+ +`(?:json:"([^"]*)"[^`]*)?protobuf:"\w+,(\d+)', re.MULTILINE)


def main(checkouts: Path) -> None:
    """Read the checkouts and print the table."""
    table: dict[str, dict[str, str]] = {}
    for folder in (checkouts / path for path in (*(f"api/{package}" for package in PACKAGES), *OTHERS)):
        proto = (folder / "generated.proto").read_text()
        found = re.search(r"^package ([\w.]+);", proto, re.MULTILINE)
        assert found is not None, folder
        tags = go_tags(folder)
        for message, body in _MESSAGE.findall(proto):
            fields = {
                n: field(found[1], t, label, name, tags.get((message, n)))
                for label, t, name, n in _FIELD.findall(body)
            }
            table[schema_name(f"{found[1]}.{message}")] = fields
    json.dump(table, sys.stdout, indent=0, sort_keys=True, separators=(",", ":"))
    print()


def go_tags(folder: Path) -> dict[tuple[str, str], tuple[bool, str]]:
    """(whether it is a pointer, the field's name in JSON with its options) by (struct, field number)."""
    tags = {}
    for path in folder.glob("*.go"):
        if path.name.startswith("zz_") or path.name.endswith((".pb.go", "_test.go")):
            continue
        for struct, body in _STRUCT.findall(path.read_text()):
            for pointer, name, number in _TAG.findall(body):
                tags[struct, number] = (bool(pointer), name)
    return tags


def schema_name(name: str) -> str:
    """The name of a message as the schemas have it."""
    return name.replace("k8s.io.", "io.k8s.", 1).replace("_", "-")


def field(package: str, kind: str, label: str, name: str, tag: tuple[bool, str] | None) -> str:
    """One field as it stands in the table."""
    pointer, json_name = tag or (False, name)
    json_name, _, options = json_name.partition(",")
    inline = options == "inline"
    form = "[]" if label == "repeated" else ""
    if kind.startswith("map<"):
        form, kind = "{}", kind.removesuffix(">").partition(",")[2].strip()
    elif not form:
        form = ("=" if inline else "") + ("*" if pointer else "")
    kind, own = schema_name(kind.removeprefix(".")), schema_name(package) + "."
    json_name = name if json_name in ("", "-") else json_name
    return f"{json_name} {form}{kind.removeprefix(own)}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
