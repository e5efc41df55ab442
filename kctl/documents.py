"""Reads the objects that `-f` names: files, folders, URLs and standard input; YAML or JSON, one or many."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from apimachinery import yaml_limits, yaml_scalars
from apimachinery.meta import Object
from kctl.errors import CommandError

SUFFIXES = (".yaml", ".yml", ".json")
URL_TIMEOUT_SECONDS = 30
URL_BYTES_MAX = 16 << 20


class _Loader(yaml.CSafeLoader if hasattr(yaml, "CSafeLoader") else yaml.SafeLoader):  # type: ignore[misc]
    """YAML as Kubernetes reads it; a key may stand only once in a mapping."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    seen: set[object] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, dict | list):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {key!r} is set twice", key_node.start_mark)
        seen.add(key)
    loader.flatten_mapping(node)
    return dict(loader.construct_pairs(node, deep=True))


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
yaml_limits.limit(_Loader)
yaml_scalars.install(_Loader)


def read_objects(sources: list[str], *, recursive: bool = False) -> list[tuple[str, Object]]:
    """All objects of these sources with where each came from; lists (`kind: List`) are opened."""
    if not sources:
        raise CommandError("say what to read with -f FILE", exit_status=2)
    found = [
        (where, item)
        for source in sources
        for where, text in _texts(source, recursive)
        for item in _objects(where, text)
    ]
    if not found:
        raise CommandError(f"no objects found in {', '.join(sources)}")
    return found


def _texts(source: str, recursive: bool) -> Iterator[tuple[str, bytes]]:
    if source == "-":
        yield "standard input", sys.stdin.buffer.read()
    elif source.startswith(("http://", "https://")):
        yield source, _download(source)
    elif Path(source).is_dir():
        pattern = "**/*" if recursive else "*"
        files = sorted(p for p in Path(source).glob(pattern) if p.suffix in SUFFIXES and p.is_file())
        if not files:
            raise CommandError(f"{source}: this folder holds no .yaml, .yml or .json file")
        for path in files:
            yield str(path), path.read_bytes()
    else:
        try:
            yield source, Path(source).read_bytes()
        except OSError as error:
            raise CommandError(f"{source}: {error.strerror}") from error


def _download(url: str) -> bytes:
    from urllib.error import URLError
    from urllib.request import urlopen

    try:
        with urlopen(url, timeout=URL_TIMEOUT_SECONDS) as reply:
            data: bytes = reply.read(URL_BYTES_MAX + 1)
    except (URLError, OSError, ValueError) as error:
        raise CommandError(f"{url}: {getattr(error, 'reason', error)}") from error
    if len(data) > URL_BYTES_MAX:
        raise CommandError(f"{url}: larger than {URL_BYTES_MAX} bytes")
    return data


def _objects(where: str, text: bytes) -> Iterator[Object]:
    try:
        documents = list(yaml.load_all(text, _Loader))
    except yaml.YAMLError as error:
        raise CommandError(f"{where}: {_one_line(error)}") from error
    for number, document in enumerate(documents, 1):
        if document is None:
            continue
        place = where if len(documents) == 1 else f"{where} (document {number})"
        yield from _checked(place, document)


def _checked(place: str, document: object) -> Iterator[Object]:
    if not isinstance(document, dict):
        raise CommandError(f"{place}: an object must be a mapping, not {type(document).__name__}")
    for field in ("apiVersion", "kind"):
        if not isinstance(document.get(field), str) or not document[field]:
            raise CommandError(f"{place}: {field} is not set")
    if document["kind"].endswith("List") and isinstance(document.get("items"), list):
        for number, item in enumerate(document["items"]):
            yield from _checked(f"{place}, item {number}", item)
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        raise CommandError(f"{place}: metadata.name is not set")
    yield document


def _one_line(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem
