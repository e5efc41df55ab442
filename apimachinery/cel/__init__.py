"""CEL, the Common Expression Language, with Kubernetes' types, functions and limits.

    environment = Environment({"self": type_of_schema(schema, is_root=True), "oldSelf": …})
    program = compile("self.spec.replicas <= self.spec.maxReplicas", environment)   # CelCompileError
    program.result_type == BOOL
    budget = CostBudget(RUNTIME_COST_BUDGET)             # what all rules of one object may cost together
    program.evaluate({"self": obj, "oldSelf": old}, budget=budget)                  # CelEvaluationError

- Values are wire objects as they are (`values` has the table of types); `to_wire` turns a result into JSON.
- A variable's type comes from a structural schema (`type_of_schema`), from a published definition
  (`type_of_definition("io.k8s.api.core.v1.Pod")`), or is DYN, STRING, `optional_of(T)`…
- `optionalOldSelf`: declare `oldSelf` as `optional_of(T)` and bind `Optional(value)` or `Optional.NONE`.
- `program.references` are the variables that an expression uses (a rule with `oldSelf` is a transition rule).
- `str(CelCompileError)` begins with "compilation failed: "; `.issues` is what follows.
- CelCostError is the CelEvaluationError of an expression that costs more than it may.
- `estimation.estimate_cost(…)` is the most that a rule can cost for a schema, which Kubernetes limits when a
  CustomResourceDefinition is created.
- Admission: `admission.admission_environment(…)`, lazily evaluated `admission.Variables`, and `Authorizer(function)`
  for the variables `authorizer` and, with `ResourceCheck`, `authorizer.requestResource`.

An expression goes (`analysis`) through `lexer`, `parser`, `macros`, `checker` with `types`, `validators`, `compiler`
with `access`, `calls` and `loops`; what comes out are closures, evaluated by `program`. `library` has the functions.
Pure: no I/O, no clock; the same values always give the same result.

Sources: https://github.com/google/cel-spec, https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from apimachinery.cel.environment import Environment
from apimachinery.cel.errors import CelCompileError, CelCostError, CelEvaluationError
from apimachinery.cel.names import escape
from apimachinery.cel.program import (
    MATCH_CONDITIONS_COST_BUDGET,
    PER_CALL_LIMIT,
    RUNTIME_COST_BUDGET,
    CostBudget,
    Program,
    compile,
)
from apimachinery.cel.schema_types import type_of_definition, type_of_schema
from apimachinery.cel.types import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    NULL,
    STRING,
    TIMESTAMP,
    UINT,
    CelType,
    ObjectType,
    list_of,
    map_of,
    object_type,
    optional_of,
)
from apimachinery.cel.values import Duration, Optional, Timestamp, UInt
from apimachinery.cel.wire import to_wire

__all__ = [
    "BOOL",
    "BYTES",
    "DOUBLE",
    "DURATION",
    "DYN",
    "INT",
    "MATCH_CONDITIONS_COST_BUDGET",
    "NULL",
    "PER_CALL_LIMIT",
    "RUNTIME_COST_BUDGET",
    "STRING",
    "TIMESTAMP",
    "UINT",
    "CelCompileError",
    "CelCostError",
    "CelEvaluationError",
    "CelType",
    "CostBudget",
    "Duration",
    "Environment",
    "ObjectType",
    "Optional",
    "Program",
    "Timestamp",
    "UInt",
    "compile",
    "escape",
    "list_of",
    "map_of",
    "object_type",
    "optional_of",
    "to_wire",
    "type_of_definition",
    "type_of_schema",
]
