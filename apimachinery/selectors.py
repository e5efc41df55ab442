"""Label and field selectors: parsed once, matched often.

Source: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import bad_request
from apimachinery.meta import get_path
from apimachinery.names import label_value, qualified_name

_SET = re.compile(r"\s*([^\s!=<>,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_COMPARISON = re.compile(r"\s*([^\s!=<>,()]+)\s*(==|=|!=|<|>)\s*([^\s!=<>,()]*)\s*")
_EXISTENCE = re.compile(r"\s*(!?)\s*([^\s!=<>,()]+)\s*")
_INTEGER = re.compile(r"[+-]?[0-9]{1,19}")
_SET_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on one label; `operator` is in, notin, exists, !, < or >."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet it. An absent label meets `notin` and `!`."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not all(map(_INTEGER.fullmatch, (value, *self.values))):
            return False
        number, bound = int(value), int(self.values[0])
        return number < bound if self.operator == "<" else number > bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" if len(self.values) == 1:
                return f"{self.key}={self.values[0]}"
            case "notin" if len(self.values) == 1:
                return f"{self.key}!={self.values[0]}"
            case "<" | ">":
                return f"{self.key}{self.operator}{self.values[0]}"
        return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"


@dataclass(frozen=True, slots=True)
class Selector:
    """All of its requirements must hold; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    @property
    def empty(self) -> bool:
        """True if everything matches."""
        return not self.requirements

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet every requirement."""
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_label_selector(text: str) -> Selector:
    """`a=b,c in (d,e),!f` as in the query parameter. Raises ApiError 400."""
    found, position = [], 0
    while text.strip() and position <= len(text):
        requirement, position = _requirement(text, position)
        found.append(requirement)
        if position == len(text):
            break
        if text[position] != ",":
            raise _unparsable(text, f"found {text[position:]!r}, expected: ',' or the end")
        position += 1
    return Selector(tuple(found))


def _requirement(text: str, position: int) -> tuple[Requirement, int]:
    if match := _SET.match(text, position):
        values = tuple(value.strip() for value in match[3].split(","))
        requirement = Requirement(match[1], match[2], values)
    elif match := _COMPARISON.match(text, position):
        operator = {"=": "in", "==": "in", "!=": "notin"}.get(match[2], match[2])
        requirement = Requirement(match[1], operator, (match[3],))
    elif match := _EXISTENCE.match(text, position):
        requirement = Requirement(match[2], "!" if match[1] else "exists")
    else:
        raise _unparsable(text, f"found {text[position:]!r}, expected: a label")
    problems = qualified_name(requirement.key)
    if requirement.operator in ("<", ">") and not _INTEGER.fullmatch(requirement.values[0]):
        problems.append("for 'Gt', 'Lt' operators, the value must be an integer")
    problems += [problem for value in requirement.values for problem in label_value(value)]
    if problems:
        raise _unparsable(text, f"{requirement}: {'; '.join(problems)}")
    return requirement, match.end()


def _unparsable(text: str, why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why} (in the selector {text!r})")


def selector_from_object(selector: Mapping[str, Any] | None) -> Selector:
    """A LabelSelector object of a spec; {} matches everything (and so does None: the caller decides)."""
    if not selector:
        return Selector()
    labels: Mapping[str, str] = selector.get("matchLabels") or {}
    found = [Requirement(key, "in", (value,)) for key, value in sorted(labels.items())]
    for expression in selector.get("matchExpressions") or ():
        operator = _SET_OPERATORS.get(expression["operator"])
        if operator is None:
            raise bad_request(f'"{expression["operator"]}" is not a valid label selector operator')
        found.append(Requirement(expression["key"], operator, tuple(expression.get("values") or ())))
    return Selector(tuple(found))


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All of its (path, operator, value) must hold; the operator is `=` or `!=`."""

    requirements: tuple[tuple[str, str, str], ...] = ()

    @property
    def empty(self) -> bool:
        """True if everything matches."""
        return not self.requirements

    def matches(self, obj: Mapping[str, Any]) -> bool:
        """Whether the object's fields have these values; a missing field is the empty string."""
        return all(
            (field_text(obj, path) == value) == (operator == "=") for path, operator, value in self.requirements
        )

    def exact(self, path: str) -> str | None:
        """The value that the field must have, if the selector says one."""
        return next((v for p, operator, v in self.requirements if p == path and operator == "="), None)


# Fields that Kubernetes leaves out of an object when they are zero; a selector still finds them by that value.
_ZEROS = {
    **{"spec.hostNetwork": "false", "spec.unschedulable": "false"},
    **{"status.replicas": "0", "status.successful": "0"},
}
# Names that selectors have for fields which objects call something else; the first that is set counts.
_ALIASES: dict[str, tuple[str, ...]] = {
    "status.successful": ("status.succeeded",),
    "source": ("source.component", "reportingComponent"),
}


def field_text(obj: Mapping[str, Any], path: str) -> str:
    """A field's value as a selector sees it."""
    found = (get_path(obj, *name.split(".")) for name in _ALIASES.get(path, (path,)))
    value = next((one for one in found if one not in (None, "")), _ZEROS.get(path, ""))
    return str(value).lower() if isinstance(value, bool) else str(value)


def parse_field_selector(text: str, supported: Sequence[str] | None = None) -> FieldSelector:
    """`metadata.name=x,spec.nodeName!=y`. Raises ApiError 400, also for a field outside of `supported`."""
    found = []
    for term in filter(None, text.split(",")):
        path, operator, value = term.partition("!=")
        if not operator:
            path, operator, value = term.partition("=")
        if not operator:
            raise bad_request(f"invalid field selector: '{term}'; can't understand it")
        path, value = path.strip(), value.removeprefix("=").strip()
        if supported is not None and path not in supported:
            raise bad_request(f"field label not supported: {path}")
        found.append((path, operator, value))
    return FieldSelector(tuple(found))
