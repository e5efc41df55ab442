"""What is wrong with a field of an object, in Kubernetes' own words.

    spec.replicas: Invalid value: -1: must be greater than or equal to 0

Source: k8s.io/apimachinery/pkg/util/validation/field and the `Status` type's causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

_TITLES = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "FieldValueTypeInvalid": "Invalid value",
    "InternalError": "Internal error",
}
_WITHOUT_VALUE = ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError")
# How much is told of one value, and of all that is wrong with an object.
SHOWN_CHARS_MAX = 8 << 10
TOLD_CHARS_MAX = 64 << 10

# The path of what concerns no single field, as Kubernetes writes it.
NOWHERE = "[]"
# Not wrong, but to be told to who sent it; the detail is the whole message.
WARNING = "Warning"


class _Omitted:
    """The type of a value that is not told."""


# Stands for the value where the message does not repeat it: what is wrong is a combination of several fields.
OMITTED = _Omitted()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field; `type` is a reason of StatusCause."""

    path: str
    type: str
    value: Any
    detail: str

    def body(self) -> str:
        """The message without the path, as it stands in a cause."""
        text = _TITLES[self.type]
        if self.type not in _WITHOUT_VALUE and self.value is not OMITTED:
            text = f"{text}: {_shown(self.value)}"
        return f"{text}: {self.detail}" if self.detail else text

    def message(self) -> str:
        """The whole message, with the path."""
        return f"{self.path}: {self.body()}"

    def cause(self) -> dict[str, str]:
        """The entry of `details.causes`."""
        return {"reason": self.type, "message": self.body(), "field": self.path}


def limited(causes: Sequence[FieldError]) -> tuple[list[str], list[dict[str, str]]]:
    """(messages, causes) of what is wrong, as much of it as people read: thousands of errors may each repeat a value
    that is as large as the object.
    """
    messages: list[str] = []
    size = 0
    for cause in causes:
        message = cause.message()
        size += len(message)
        if messages and size > TOLD_CHARS_MAX:
            return [*messages, f"and {len(causes) - len(messages)} more"], [
                cause.cause() for cause in causes[: len(messages)]
            ]
        messages.append(message)
    return messages, [cause.cause() for cause in causes]


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int | float):
        return str(value)
    text = orjson.dumps(value).decode()
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}…"


def required(path: str, detail: str = "") -> FieldError:
    """The field must be set."""
    return FieldError(path, "FieldValueRequired", "", detail)


def invalid_value(path: str, value: Any, detail: str) -> FieldError:
    """The value is not allowed."""
    return FieldError(path, "FieldValueInvalid", value, detail)


def wrong_type(path: str, value: Any, detail: str) -> FieldError:
    """The value is of another JSON type than the schema's."""
    return FieldError(path, "FieldValueTypeInvalid", value, detail)


def not_supported(path: str, value: Any, allowed: Sequence[str]) -> FieldError:
    """The value is none of a fixed set."""
    listed = ", ".join(f'"{choice}"' for choice in sorted(allowed))
    return FieldError(path, "FieldValueNotSupported", value, f"supported values: {listed}")


def duplicate(path: str, value: Any) -> FieldError:
    """The value stands twice where it may only once."""
    return FieldError(path, "FieldValueDuplicate", value, "")


def not_found_value(path: str, value: Any) -> FieldError:
    """The value refers to something that is not there."""
    return FieldError(path, "FieldValueNotFound", value, "")


def forbidden_field(path: str, detail: str) -> FieldError:
    """The field may not be set or changed."""
    return FieldError(path, "FieldValueForbidden", "", detail)


def internal_error(path: str, detail: str) -> FieldError:
    """The field could not be looked at."""
    return FieldError(path, "InternalError", "", detail)


def warning(text: str) -> FieldError:
    """Nothing is wrong, and something is to be told."""
    return FieldError("", WARNING, "", text)


def too_long(path: str, maximum: int) -> FieldError:
    """The value is longer than allowed."""
    return FieldError(path, "FieldValueTooLong", "", f"may not be more than {maximum} byte{'s' * (maximum != 1)}")


def too_many(path: str, count: int, maximum: int) -> FieldError:
    """There are more items than allowed."""
    return FieldError(path, "FieldValueTooMany", count, f"must have at most {maximum} item{'s' * (maximum != 1)}")
