"""CustomResourceDefinitions, but for their schemas."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS
from apiserver.registry.customresourcedefinitions import validate_update
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems

SCHEMA = {"openAPIV3Schema": {"type": "object"}}
STRINGS = {
    "openAPIV3Schema": {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {f"a{number}": {"type": "string"} for number in range(9)}}
        },
    }
}
SERVICE = {"name": "converter", "namespace": "default"}
WEBHOOK = {"clientConfig": {"service": SERVICE}, "conversionReviewVersions": ["v1"]}


def version(**fields: Any) -> dict[str, Any]:
    return {"name": "v1", "served": True, "storage": True, "schema": SCHEMA, **fields}


def definition(**spec: Any) -> Object:
    said = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": [version()],
        **spec,
    }
    return {"metadata": {"name": "widgets.example.com"}, "spec": said}


def names(**fields: Any) -> Object:
    return definition(names={"plural": "widgets", "kind": "Widget", **fields})


def of_version(**fields: Any) -> Object:
    return definition(versions=[version(**fields)])


def test_what_is_not_said_follows_from_the_kind():
    made = created(CUSTOMRESOURCEDEFINITIONS, definition())
    assert made["spec"]["names"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
    }
    assert made["spec"]["conversion"] == {"strategy": "None"}


def test_nothing_is_served_yet():
    told = definition()
    told["status"] = {"storedVersions": ["v0"], "conditions": [{"type": "Established", "status": "True"}]}
    made = created(CUSTOMRESOURCEDEFINITIONS, told)
    assert made["status"] == {
        "conditions": [],
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": ["v1"],
    }


def test_a_definition_is_as_it_should_be():
    assert problems(CUSTOMRESOURCEDEFINITIONS, definition()) == []


COLUMN = {"name": "Size", "type": "integer", "jsonPath": ".spec.size"}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (definition(scope=""), "spec.scope: Required value"),
        (
            definition(scope="Moon"),
            'spec.scope: Unsupported value: "Moon": supported values: "Cluster", "Namespaced"',
        ),
        (names(singular="A"), 'spec.names.singular: Invalid value: "A": a DNS-1035 label must consist of'),
        (names(listKind="Widget"), 'listKind: Invalid value: "Widget": kind and listKind may not be the same'),
        (
            names(kind="9", singular="w", listKind="WidgetList"),
            'spec.names.kind: Invalid value: "9": may have mixed case, but should otherwise match: ',
        ),
        (names(shortNames=["W"]), 'spec.names.shortNames[0]: Invalid value: "W": a DNS-1035 label'),
        (names(categories=["All"]), 'spec.names.categories[0]: Invalid value: "All": a DNS-1035 label'),
        (of_version(schema=None), "spec.versions[0].schema.openAPIV3Schema: Required value"),
        (definition(versions=[version(), version(storage=False)]), "must contain unique version names"),
        (
            definition(versions=[version(), version(name="v2")]),
            "must have exactly one version marked as storage version",
        ),
        (of_version(deprecationWarning="old"), "can only be set for deprecated versions"),
        (
            of_version(deprecated=True, deprecationWarning="é\n"),
            "must only contain printable UTF-8 characters; non-printable character found at index 2",
        ),
        (definition(preserveUnknownFields=True), "spec.preserveUnknownFields: Invalid value: true: cannot set to"),
        (
            of_version(subresources={"scale": {"specReplicasPath": ".spec.a", "statusReplicasPath": ".spec.b"}}),
            "spec.subresources.scale.statusReplicasPath: Invalid value: "
            '".spec.b": should be a json path under .status',
        ),
        (
            of_version(additionalPrinterColumns=[{**COLUMN, "type": "text"}]),
            'spec.additionalPrinterColumns[0].type: Invalid value: "text": must be one of boolean,date,integer,',
        ),
        (
            of_version(additionalPrinterColumns=[{**COLUMN, "jsonPath": "spec"}]),
            'additionalPrinterColumns[0].JSONPath: Invalid value: "spec": must be a simple json path starting with .',
        ),
        (
            of_version(schema=STRINGS, selectableFields=[{"jsonPath": ".spec.a0"}] * 2),
            "spec.selectableFields[1].jsonPath: Duplicate value",
        ),
        (
            of_version(schema=STRINGS, selectableFields=[{"jsonPath": f".spec.a{number}"} for number in range(9)]),
            "spec.selectableFields: Too many: 9: must have at most 8 items",
        ),
        (
            definition(conversion={"strategy": "Webhook", "webhook": {"conversionReviewVersions": ["v1"]}}),
            "spec.conversion.webhookClientConfig: Required value: required when strategy is set to Webhook",
        ),
        (
            definition(
                conversion={"strategy": "Webhook", "webhook": {**WEBHOOK, "conversionReviewVersions": ["v9"]}}
            ),
            'conversionReviewVersions: Invalid value: ["v9"]: must include at least one of v1, v1beta1',
        ),
    ],
)
def test_what_is_wrong_with_a_definition_is_told(made, told):
    (found,) = problems(CUSTOMRESOURCEDEFINITIONS, made)
    assert told in found


def test_what_only_one_version_says_is_named_with_it():
    other = version(name="v2", storage=False, additionalPrinterColumns=[{**COLUMN, "name": ""}])
    assert problems(CUSTOMRESOURCEDEFINITIONS, definition(versions=[version(), other])) == [
        "spec.versions[1].additionalPrinterColumns[0].name: Required value"
    ]


def test_the_name_is_that_of_the_resource_and_its_group():
    made = definition()
    made["metadata"]["name"] = "others.example.com"
    assert problems(CUSTOMRESOURCEDEFINITIONS, made) == [
        'metadata.name: Invalid value: "others.example.com": must be spec.names.plural+"."+spec.group'
    ]


def test_a_group_is_a_domain():
    made = definition(group="example")
    made["metadata"]["name"] = "widgets.example"
    (found,) = problems(CUSTOMRESOURCEDEFINITIONS, made)
    assert found == 'spec.group: Invalid value: "example": should be a domain with at least one dot'


def test_what_converts_is_reached_at_a_port():
    made = created(CUSTOMRESOURCEDEFINITIONS, definition(conversion={"strategy": "Webhook", "webhook": WEBHOOK}))
    assert made["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] == 443
    assert problems(CUSTOMRESOURCEDEFINITIONS, made) == []


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, ["Required value: protected groups must have approval annotation"]),
        ("yes", ["with either a URL or a reason starting with"]),
        ("unapproved, a test", []),
        ("https://github.com/kubernetes/enhancements/pull/1111", []),
    ],
)
def test_groups_of_kubernetes_need_approval(said, told):
    made = definition(group="things.k8s.io")
    made["metadata"] = {"name": "widgets.things.k8s.io"}
    if said is not None:
        made["metadata"]["annotations"] = {"api-approved.kubernetes.io": said}
    found = problems(CUSTOMRESOURCEDEFINITIONS, made)
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True))
    # What was stored once may stay as it is.
    assert update_problems(CUSTOMRESOURCEDEFINITIONS, made, made) == []


def established() -> Object:
    made = created(CUSTOMRESOURCEDEFINITIONS, definition())
    made["status"]["conditions"] = [{"type": "Established", "status": "True"}]
    return made


def test_what_is_served_keeps_its_scope_and_kind():

    changed = copy.deepcopy(established())
    changed["spec"]["scope"] = "Cluster"
    changed["spec"]["names"]["kind"] = "Gadget"
    assert [error.path for error in validate_update(changed, established())] == ["spec.scope", "spec.names.kind"]
    assert validate_update(changed, created(CUSTOMRESOURCEDEFINITIONS, definition())) == []


def test_versions_that_were_stored_stay():
    old = definition()
    new = definition(versions=[version(name="v2")])
    (found,) = update_problems(CUSTOMRESOURCEDEFINITIONS, new, old)
    assert found.startswith('status.storedVersions[0]: Invalid value: "v1": missing from spec.versions; v1 was ')
    both = definition(versions=[version(name="v2"), version(storage=False)])
    assert update_problems(CUSTOMRESOURCEDEFINITIONS, both, old) == []


def test_the_names_that_are_served_are_names():
    (found,) = status_problems(CUSTOMRESOURCEDEFINITIONS, {"acceptedNames": {"plural": "A"}}, established())
    assert found.startswith('status.acceptedNames.plural: Invalid value: "A"')


def test_the_columns_of_definitions():
    made = established()
    made["metadata"]["creationTimestamp"] = "2026-01-02T03:04:05Z"
    assert shown(CUSTOMRESOURCEDEFINITIONS, made) == {
        "Name": "widgets.example.com",
        "Created At": "2026-01-02T03:04:05Z",
    }
