"""Named formats: `format.dns1123Label().validate(name)`.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-format-library
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.library.times import parse_date, parse_timestamp
from apimachinery.cel.library.urls import parse_url
from apimachinery.cel.types import STRING, CelType, list_of, opaque, optional_of
from apimachinery.cel.values import Optional
from apimachinery.names import dns1035_label, dns1123_label, dns1123_subdomain, label_value, qualified_name

LIBRARY = Library()
FORMAT = opaque("kubernetes.NamedFormat")
Validate = Callable[[str], list[str]]
_UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, its check, and how long a regular expression for it would be (which sets its cost)."""

    name: str
    validate: Validate
    regex_size: int
    cel_type: ClassVar[CelType] = FORMAT


def _prefix(check: Validate) -> Validate:
    """The check of what a generated name begins with: a hyphen may be last."""
    return lambda text: check(f"{text[:-1]}a" if text.endswith("-") and len(text) > 1 else text)


def _parses(parse: Callable[[str], object], problem: str | None) -> Validate:
    def validate(text: str) -> list[str]:
        try:
            parse(text)
        except (ValueError, CelEvaluationError) as error:
            return [problem or f'parse "{text}": {error}']
        return []

    return validate


def _base64(text: str) -> None:
    try:
        base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error))


def _uuid(text: str) -> list[str]:
    return [] if _UUID.fullmatch(text) else ["does not match the UUID format"]


FORMATS = {
    "dns1123Label": Format("DNS1123Label", dns1123_label, 30),
    "dns1123Subdomain": Format("DNS1123Subdomain", dns1123_subdomain, 60),
    "dns1035Label": Format("DNS1035Label", dns1035_label, 30),
    "qualifiedName": Format("QualifiedName", qualified_name, 60),
    "dns1123LabelPrefix": Format("DNS1123LabelPrefix", _prefix(dns1123_label), 30),
    "dns1123SubdomainPrefix": Format("DNS1123SubdomainPrefix", _prefix(dns1123_subdomain), 60),
    "dns1035LabelPrefix": Format("DNS1035LabelPrefix", _prefix(dns1035_label), 30),
    "labelValue": Format("LabelValue", label_value, 40),
    "uri": Format("URI", _parses(parse_url, None), 1103),
    "uuid": Format("uuid", _uuid, 76),
    "byte": Format("byte", _parses(_base64, "invalid base64"), 84),
    "date": Format("date", _parses(parse_date, "invalid date"), 130),
    "datetime": Format("datetime", _parses(parse_timestamp, "invalid datetime"), 130),
}


def _constant(name: str) -> None:
    LIBRARY.function(f"format.{name}", result=FORMAT)(lambda: FORMATS[name])


for _name in FORMATS:
    _constant(_name)


@LIBRARY.function("format.named", STRING, result=optional_of(FORMAT))
def _named(name: str) -> Optional:
    return Optional(FORMATS[name]) if name in FORMATS else Optional.NONE


def _cost(_result: Optional, form: Format, text: str) -> int:
    return strings_cost(len(text) + 1) * -(-form.regex_size // 4)


@LIBRARY.method("validate", FORMAT, STRING, result=optional_of(list_of(STRING)), cost=_cost)
def _validate(form: Format, text: str) -> Optional:
    problems = form.validate(text)
    return Optional(problems) if problems else Optional.NONE
