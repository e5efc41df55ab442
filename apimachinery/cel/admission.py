"""What expressions of admission see: policies, match conditions and mutations.

Values of these environments are plain wire objects. `object`, `oldObject` and `params` are of unknown type when a
policy runs; to warn its author, a policy is also compiled once with their real types (`object_type=…`).

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import CelCostError, CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.authorization import AUTHORIZER, RESOURCE_CHECK
from apimachinery.cel.library.strings import traversal
from apimachinery.cel.program import CostBudget, Program
from apimachinery.cel.types import (
    BOOL,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    CelType,
    Field,
    ObjectType,
    list_of,
    map_of,
    object_type,
)
from apimachinery.cel.values import Struct

_STRINGS = list_of(STRING)
_KIND = object_type("kubernetes.GroupVersionKind", group=STRING, version=STRING, kind=STRING)
_RESOURCE = object_type("kubernetes.GroupVersionResource", group=STRING, version=STRING, resource=STRING)
_USER = object_type(
    "kubernetes.UserInfo", username=STRING, uid=STRING, groups=_STRINGS, extra=map_of(STRING, _STRINGS)
)
REQUEST = object_type(
    "kubernetes.AdmissionRequest",
    kind=_KIND,
    resource=_RESOURCE,
    subResource=STRING,
    requestKind=_KIND,
    requestResource=_RESOURCE,
    requestSubResource=STRING,
    name=STRING,
    namespace=STRING,
    operation=STRING,
    userInfo=_USER,
    dryRun=BOOL,
    options=DYN,
)
_CONDITION = object_type(
    "kubernetes.NamespaceCondition",
    status=STRING,
    type=STRING,
    lastTransitionTime=TIMESTAMP,
    message=STRING,
    reason=STRING,
)
_METADATA = object_type(
    "kubernetes.NamespaceMetadata",
    name=STRING,
    generateName=STRING,
    namespace=STRING,
    labels=map_of(STRING, STRING),
    annotations=map_of(STRING, STRING),
    UID=STRING,
    creationTimestamp=TIMESTAMP,
    deletionGracePeriodSeconds=INT,
    deletionTimestamp=TIMESTAMP,
    generation=INT,
    resourceVersion=STRING,
    finalizers=_STRINGS,
)
NAMESPACE = object_type(
    "kubernetes.Namespace",
    metadata=_METADATA,
    spec=object_type("kubernetes.NamespaceSpec", finalizers=_STRINGS),
    status=object_type("kubernetes.NamespaceStatus", conditions=list_of(_CONDITION), phase=STRING),
)
_VARIABLES = "kubernetes.variables"


def admission_environment(
    *,
    object_type: CelType = DYN,
    params_type: CelType | None = None,
    has_authorizer: bool = False,
    variables: Mapping[str, CelType] | None = None,
    mutates: bool = False,
) -> Environment:
    """The environment of a policy or a match condition.

    `params_type` is DYN for a policy with parameters; `variables` are the policy's own, by the types of their
    expressions so far; `mutates` allows `Object{…}`, `JSONPatch{…}` and `jsonpatch.escapeKey`.
    """
    declared = {"object": object_type, "oldObject": object_type, "request": REQUEST, "namespaceObject": NAMESPACE}
    if params_type is not None:
        declared["params"] = params_type
    if has_authorizer:
        declared |= {"authorizer": AUTHORIZER, "authorizer.requestResource": RESOURCE_CHECK}
    if variables is not None:
        declared["variables"] = ObjectType(_VARIABLES, {name: Field(name, kind) for name, kind in variables.items()})
    if mutates:
        return Environment(declared, libraries=(JSON_PATCH_LIBRARY,), find_object_type=mutation_type)
    return Environment(declared)


class Variables(dict[str, Any]):
    """A policy's variables: each is evaluated when it is first read, once, and pays from the same budget.

    `bindings` are those of the policy; the variables are added to them as `variables`.
    """

    def __init__(self, programs: Mapping[str, Program], bindings: Mapping[str, Any], budget: CostBudget) -> None:
        super().__init__()
        self._programs = programs
        self._budget = budget
        self.bindings = {**bindings, "variables": self}

    def __contains__(self, name: object) -> bool:
        return name in self._programs

    def __iter__(self) -> Iterator[str]:
        return iter(self._programs)

    def __len__(self) -> int:
        return len(self._programs)

    def __missing__(self, name: str) -> Any:
        program = self._programs.get(name)
        if program is None:
            raise CelEvaluationError(f"no such key: {name}")
        try:
            value = program.evaluate(self.bindings, budget=self._budget)
        except CelCostError:
            raise
        except CelEvaluationError as error:
            raise CelEvaluationError(f'composited variable "{name}" fails to evaluate: {error}')
        self[name] = value
        return value


class _AnyField(dict[str, Field]):
    """Fields of any name and type."""

    def get(self, name: str, default: Any = None) -> Field:
        return self[name]

    def __missing__(self, name: str) -> Field:
        return Field(name, DYN)


_JSON_PATCH = ObjectType(
    "JSONPatch",
    {
        "op": Field("op", STRING),
        "path": Field("path", STRING),
        "from": Field("from", STRING),
        "value": Field("value", DYN),
    },
)
JSON_PATCH_LIBRARY = Library()


@JSON_PATCH_LIBRARY.function("jsonpatch.escapeKey", STRING, result=STRING, cost=traversal)
def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def mutation_type(name: str) -> ObjectType | None:
    """`Object`, `Object.spec` and so on, of any fields, and `JSONPatch`."""
    if name == "JSONPatch":
        return _JSON_PATCH
    if name == "Object" or name.startswith("Object."):
        return ObjectType(name, _AnyField())
    return None


def misnamed_types(value: Any, path: str = "Object") -> list[str]:
    """What is wrong with the types of a constructed object: that of the field `spec` must be called `Object.spec`."""
    problems = []
    if isinstance(value, Struct):
        if value.type_name != path:
            expected = f'"{path}", which matches field name path from root Object type'
            problems.append(f'unexpected type name "{value.type_name}", expected {expected}')
        for field, inner in value.items():
            problems += misnamed_types(inner, f"{path}.{field}")
    elif isinstance(value, list | dict):
        for inner in value.values() if isinstance(value, dict) else value:
            problems += misnamed_types(inner, path)
    return problems
