"""What it costs to evaluate typical rules, in microseconds, beside the CEL libraries that are installed.

    .venv/bin/python -m bench.cel
    .venv/bin/pip install cel-expr-python common-expression-language cel-python   # for the other columns

The other libraries get the same Python objects; converting them is part of evaluating with them.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from typing import Any

from apimachinery.cel import DYN, Environment, compile, type_of_schema
from apimachinery.cel.admission import admission_environment

SECONDS = 0.3
POD: dict[str, Any] = {
    "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
    "spec": {
        "hostNetwork": False,
        "containers": [
            {
                "name": f"c{number}",
                "image": "registry.example/app:1.2",
                "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}},
                "securityContext": {"runAsNonRoot": True, "allowPrivilegeEscalation": False},
                "ports": [{"containerPort": 8080 + number}],
                "env": [{"name": f"E{n}", "value": "v"} for n in range(5)],
            }
            for number in range(3)
        ],
    },
}
INTEGER = {"type": "integer"}
CRD = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {"minReplicas": INTEGER, "replicas": INTEGER, "maxReplicas": INTEGER},
        }
    },
}
CUSTOM = {"spec": {"minReplicas": 1, "replicas": 2, "maxReplicas": 3}}
RULE = "self.spec.minReplicas <= self.spec.replicas && self.spec.replicas <= self.spec.maxReplicas"
POLICIES = [
    "object.metadata.name == 'web'",
    "object.spec.replicas <= 5 || object.metadata.name == 'web'",
    "object.spec.containers.all(c, has(c.securityContext) && c.securityContext.runAsNonRoot == true"
    " && c.image.startsWith('registry.example/'))",
    "object.spec.containers.all(c, c.ports.all(p, p.containerPort > 1024))",
    "object.spec.containers.all(c, c.image.matches('^registry[.]example/[a-z]+:[0-9.]+$'))",
    "object.spec.containers.all(c, quantity(c.resources.limits.cpu).isLessThan(quantity('2')))",
]
Evaluate = Callable[[], Any]


def microseconds(evaluate: Evaluate) -> float:
    """The mean time of one evaluation."""
    evaluate()
    count, spent = 1, 0.0
    while spent < SECONDS:
        count *= 2
        start = time.perf_counter()
        for _ in range(count):
            evaluate()
        spent = time.perf_counter() - start
    return spent / count * 1e6


def ours(expression: str, environment: Environment, bindings: dict[str, Any]) -> Evaluate:
    """An evaluation by this project."""
    program = compile(expression, environment)
    return lambda: program.evaluate(bindings)


def others(expression: str, bindings: dict[str, Any]) -> dict[str, Evaluate]:
    """Evaluations by what is installed, for the expressions that it understands."""
    makers = {"cel-expr-python": _cpp, "common-expression-language": _rust, "cel-python": _python}
    found = {}
    for name, make in makers.items():
        try:
            evaluate = make(expression, bindings)
            evaluate()
        except Exception:  # noqa: BLE001 - each library has its own errors; a blank column says it all
            continue
        found[name] = evaluate
    return found


def _cpp(expression: str, bindings: dict[str, Any]) -> Evaluate:
    cel = importlib.import_module("cel_expr_python.cel")
    program = cel.NewEnv(variables=dict.fromkeys(bindings, cel.Type.DYN)).compile(expression)
    return lambda: program.eval(data=bindings).value()


def _rust(expression: str, bindings: dict[str, Any]) -> Evaluate:
    program = importlib.import_module("cel").compile(expression)
    return lambda: program.execute(bindings)


def _python(expression: str, bindings: dict[str, Any]) -> Evaluate:
    celpy = importlib.import_module("celpy")
    environment = celpy.Environment()
    program = environment.program(environment.compile(expression))
    return lambda: program.evaluate({name: celpy.json_to_cel(value) for name, value in bindings.items()})


def main() -> None:
    """Print a line for every rule."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    kind = type_of_schema(CRD, is_root=True)
    assert kind is not None
    rules = [(RULE, Environment({"self": kind}), {"self": CUSTOM})]
    rules += [(policy, admission_environment(params_type=DYN), {"object": POD}) for policy in POLICIES]
    compile("true", rules[0][1])  # loads the functions, so that the first rule is measured like the others
    for expression, environment, bindings in rules:
        start = time.perf_counter()
        compile(expression, environment)
        compiled = (time.perf_counter() - start) * 1e6
        own = microseconds(ours(expression, environment, bindings))
        print(f"{expression}\n    {own:8.1f} µs   (compiled in {compiled:.0f} µs)")
        for name, evaluate in others(expression, bindings).items():
            other = microseconds(evaluate)
            print(f"    {other:8.1f} µs   {name}, {other / own:.1f} times as much")


if __name__ == "__main__":
    main()
