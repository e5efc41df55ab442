"""Tells the authors of validating policies where their expressions can't be right: pure.

A policy runs without knowing the types of what it looks at. So its expressions are compiled once more, with the types
of what its rules name; what does not fit then is told as a warning, and changes nothing.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from apimachinery.meta import Object, get_path
from apimachinery.schemas import definition_name

if TYPE_CHECKING:
    from apimachinery.cel import CelType, Environment

_METADATA = {"$ref": "#/$defs/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects. Without a schema it is a built-in one, whose is published."""

    group: str
    version: str
    kind: str
    schema: Mapping[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.group}/{self.version}, Kind={self.kind}"

    def type(self) -> CelType | None:
        """Its type; None if nothing is known of it."""
        from apimachinery.cel import type_of_definition, type_of_schema

        if self.schema is not None:
            return type_of_schema(self.schema, is_root=True)
        name = definition_name(f"{self.group}/{self.version}" if self.group else self.version, self.kind)
        return None if name is None else type_of_definition(name)


def named_resources(policy: Object) -> Iterator[tuple[str, str, str]]:
    """The (group, version, plural) that a policy's rules name, in order; a rule about all of them names none."""
    for rule in get_path(policy, "spec", "matchConstraints", "resourceRules", default=()):
        groups, versions = sorted(rule.get("apiGroups") or ()), sorted(rule.get("apiVersions") or ())
        if not any("*" in text for text in (*groups, *versions)):
            plurals = [text for text in sorted(rule.get("resources") or ()) if not set(text) & set("*/")]
            yield from ((group, version, plural) for group in groups for version in versions for plural in plurals)


def defined_kind(definition: Object, version: str) -> Kind | None:
    """The kind that a CustomResourceDefinition has served in a version; None if it has not."""
    spec = definition.get("spec") or {}
    for found in spec.get("versions") or ():
        schema = get_path(found, "schema", "openAPIV3Schema")
        if found.get("name") == version and found.get("served") and schema is not None:
            # It is published with all of an object's metadata, of which definitions say little.
            published = {**schema, "properties": {**(schema.get("properties") or {}), "metadata": _METADATA}}
            return Kind(spec["group"], version, spec["names"]["kind"], published)
    return None


def expression_warnings(policy: Object, kinds: Sequence[Kind], params: Kind | None) -> list[Object]:
    """What a policy's status warns of, if its rules name these kinds."""
    checks = [(kind, _environment(policy, of, params)) for kind in kinds if (of := kind.type()) is not None]
    found = []
    for number, validation in enumerate(get_path(policy, "spec", "validations", default=())):
        for field in ("expression", "messageExpression"):
            warning = _warning(validation.get(field) or "", checks)
            if warning:
                found.append({"fieldRef": f"spec.validations[{number}].{field}", "warning": warning})
    return found


def _environment(policy: Object, of: CelType, params: Kind | None) -> Environment:
    """What a policy's expressions see of one kind."""
    from apimachinery.cel import DYN, CelCompileError, compile
    from apimachinery.cel.admission import admission_environment

    variables: dict[str, CelType] = {}

    def seen() -> Environment:
        return admission_environment(
            object_type=of,
            params_type=params.type() if params is not None else None,
            has_authorizer=True,
            variables=variables,
        )

    for variable in get_path(policy, "spec", "variables", default=()):
        try:
            variables[variable["name"]] = compile(variable["expression"], seen()).result_type
        except CelCompileError:
            variables[variable["name"]] = DYN  # rules are looked at alone
    return seen()


def _warning(expression: str, checks: Sequence[tuple[Kind, Environment]]) -> str:
    from apimachinery.cel import CelCompileError, compile

    told = []
    for kind, environment in checks if expression else ():
        try:
            compile(expression, environment)
        except CelCompileError as error:
            told.append(f"{kind}: {error.issues}\n")
    return "\n".join(told)
