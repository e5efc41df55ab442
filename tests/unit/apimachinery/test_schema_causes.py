"""What is told of objects that their schemas refuse: all of it if it is little, the beginning if it is much."""

from __future__ import annotations

import random
from typing import Any

import jsonschema
import pytest

from apimachinery import schemas
from apimachinery.errors import invalid
from apimachinery.field import TOLD_CHARS_MAX, invalid_value
from apimachinery.resources import PODS
from apimachinery.schema_causes import CAUSES_MAX
from tests.support.every_kind import BODIES, example
from tests.support.fuzz import damaged


def pod(containers: list[Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": containers}}


def test_each_cause_names_its_field() -> None:
    wrong = pod([{"image": 3, "env": 5}, 7]) | {"metadata": {"labels": {"a": 1}}}
    assert [cause.message() for cause in schemas.validate(PODS, wrong)] == [
        "metadata.labels.a: Invalid value: 1: must be of type string",
        "spec.containers[0].env: Invalid value: 5: must be of type array",
        "spec.containers[0].image: Invalid value: 3: must be of type string",
        "spec.containers[0].name: Required value",
        "spec.containers[1]: Invalid value: 7: must be of type object",
    ]


@pytest.mark.parametrize("replicas", [1 << 31, -(1 << 31) - 1, 1 << 63, 1 << 70, 1.0, 1e2, -0.0, 1.5, True])
def test_no_number_gets_in_that_clients_could_not_read(replicas: Any) -> None:
    causes = schemas.validate_named("io.k8s.api.apps.v1.DeploymentSpec", {"replicas": replicas}, "spec")
    assert "spec.replicas" in [cause.path for cause in causes]
    assert {cause.type for cause in causes if cause.path == "spec.replicas"} == {"FieldValueTypeInvalid"}


@pytest.mark.parametrize("surge", [1 << 31, -(1 << 31) - 1, 1 << 63, 1.0, 1.5, True])
def test_neither_does_one_in_place_of_a_text(surge: Any) -> None:
    spec = {"strategy": {"rollingUpdate": {"maxSurge": surge}}, "selector": {}, "template": {}}
    causes = schemas.validate_named("io.k8s.api.apps.v1.DeploymentSpec", spec, "spec")
    assert [cause.path for cause in causes] == ["spec.strategy.rollingUpdate.maxSurge"]


@pytest.mark.parametrize("containers", [[7] * 500_000, [*({"name": "a"} for _ in range(20_000)), 7]])
def test_much_that_is_wrong_is_told_as_far_as_people_read(containers: list[Any]) -> None:
    causes = schemas.validate(PODS, pod(containers))
    assert 1 <= len(causes) <= CAUSES_MAX


def test_an_error_is_no_longer_than_what_people_read_however_large_the_values() -> None:
    large = ["x" * 1000] * 1000
    error = invalid("", "Pod", "a", [invalid_value(f"spec.x[{n}]", large, "no") for n in range(4000)])
    assert len(error.message) < 2 * TOLD_CHARS_MAX
    assert error.message.endswith(" more]")
    assert 0 < len(error.status()["details"]["causes"]) < 4000


def _expected(name: str, value: Any) -> set[str]:
    found = set()
    document = schemas._schema_document(name)
    for error in jsonschema.Draft4Validator(document).iter_errors(value):
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path)
        lacking = error.validator_value if error.validator == "required" else ()
        found |= {f"{path}.{key}".lstrip(".") for key in lacking if key not in error.instance} or {path.lstrip(".")}
    return found


@pytest.mark.parametrize(("version", "kind"), [("v1", "Pod"), ("v1", "Service"), ("batch/v1", "CronJob")])
def test_the_same_fields_are_named_as_by_a_general_validator(version: str, kind: str) -> None:
    assert (version, kind) in BODIES
    name, dice = schemas.definition_name(version, kind), random.Random(7)
    assert name is not None
    for _ in range(40):
        bad = damaged(example(version, kind), dice)
        found = {cause.path for cause in schemas.validate_named(name, bad, "")}
        assert {path.lstrip(".") for path in found} == _expected(name, bad), bad
