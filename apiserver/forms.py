"""The same JSON document in other forms: indented for people who look at it, or as YAML.

    ?pretty=true, Accept: application/json;pretty=1, curl, Wget and browsers    indented
    Accept: application/yaml                                                    YAML

Source: k8s.io/apiserver/pkg/endpoints/handlers/negotiation.
"""

from __future__ import annotations

from functools import lru_cache

import orjson
from aiohttp import web

from apiserver.responses import JSON

YAML = "application/yaml"
JSON_RANGES = (JSON, "application/*", "*/*")
PLAIN, INDENTED, AS_YAML = "", "indented", "yaml"
_PEOPLE = ("curl", "Wget", "Mozilla/5.0")
# Larger documents are YAML in flow style, which is JSON: it is made a hundred times as fast.
BLOCK_STYLE_BYTES_MAX = 256 << 10
# No line is broken.
WIDTH = (1 << 31) - 1


def wanted(http: web.BaseRequest) -> str:
    """The form that a client wants."""
    headers = http.headers
    preferred = _preferred(headers.get("Accept", ""))
    if preferred != PLAIN:
        return preferred
    if "pretty" in http.raw_path and (said := http.query.get("pretty")):
        return INDENTED if said in ("1", "t", "T", "true", "True", "TRUE") else PLAIN
    return INDENTED if headers.get("User-Agent", "").startswith(_PEOPLE) else PLAIN


@lru_cache(maxsize=256)
def _preferred(accept: str) -> str:
    """By the first media type that can be made, in order of preference."""
    for media_type, parameters in clauses(accept):
        if media_type == YAML:
            return AS_YAML
        if media_type in JSON_RANGES:
            return INDENTED if dict(parameters).get("pretty") == "1" else PLAIN
    return PLAIN


def clauses(accept: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
    """The (media type, parameters) of an Accept header, the most wanted first."""
    found = sorted(_clause(text, place) for place, text in enumerate(accept.split(",")))
    return [(media_type, parameters) for _, _, media_type, parameters in found]


def _clause(text: str, place: int) -> tuple[float, int, str, tuple[tuple[str, str], ...]]:
    """What sorts by preference: quality first, then the order of the header."""
    media_type, *rest = (part.strip() for part in text.split(";"))
    pairs = [part.partition("=") for part in rest]
    parameters = {name.strip().lower(): value.strip().strip('"') for name, _, value in pairs}
    try:
        quality = float(parameters.pop("q", "1"))
    except ValueError:
        quality = 1.0
    return -quality, place, media_type.lower(), tuple(parameters.items())


def render(body: bytes, form: str) -> tuple[bytes, str]:
    """(a JSON document in another form, its media type)."""
    if form == PLAIN:
        return body, JSON
    document = orjson.loads(body)
    if form == INDENTED or len(body) > BLOCK_STYLE_BYTES_MAX:
        return orjson.dumps(document, option=orjson.OPT_INDENT_2), JSON if form == INDENTED else YAML
    import yaml  # asked for by few

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(document, Dumper=dumper, allow_unicode=True, encoding="utf-8", width=WIDTH), YAML
