"""CertificateSigningRequests, APIServices and flow control."""

from __future__ import annotations

import base64
import copy
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apimachinery.meta import Object
from apimachinery.resources import (
    APISERVICES,
    CERTIFICATESIGNINGREQUESTS,
    FLOWSCHEMAS,
    PRIORITYLEVELCONFIGURATIONS,
)
from apiserver.registry import certificatesigningrequests as requests
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems


@cache
def signed_request() -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ann")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


def request(**spec: Any) -> Object:
    said = {"request": signed_request(), "signerName": "example.com/x", "usages": ["client auth"], **spec}
    return {"metadata": {"name": "system:node:n1"}, "spec": said}


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": "r", "message": "m"}


def with_status(**status: Any) -> Object:
    return {**created(CERTIFICATESIGNINGREQUESTS, request()), "status": status}


def test_a_request_is_signed_and_may_be_called_anything():
    assert problems(CERTIFICATESIGNINGREQUESTS, request()) == []


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"request": "Zm9v"}, ['spec.request: Invalid value: "Zm9v": PEM block type must be CERTIFICATE REQUEST']),
        ({"usages": []}, ["spec.usages: Required value"]),
        ({"usages": ["flying"]}, ['spec.usages[0]: Unsupported value: "flying": supported values: "any", ']),
        ({"usages": ["any", "any"]}, ['spec.usages[1]: Duplicate value: "any"']),
        (
            {"signerName": "kubernetes.io/legacy-unknown"},
            ["the legacy signerName is not allowed via this API version"],
        ),
        ({"signerName": "x"}, ["must be a fully qualified domain and path of the form 'example.com/signer-name'"]),
        ({"expirationSeconds": 60}, ["may not specify a duration less than 600 seconds (10 minutes)"]),
    ],
)
def test_what_is_wrong_with_a_request_is_told(spec, told):
    found = problems(CERTIFICATESIGNINGREQUESTS, request(**spec))
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True)), found


def test_who_asks_is_for_the_server_to_say():
    made = request(username="admin", groups=["system:masters"])
    requests.with_requestor(made, "ann", "", ["system:authenticated"], {})
    assert (made["spec"]["username"], made["spec"]["groups"]) == ("ann", ["system:authenticated"])
    assert "uid" not in made["spec"]


def test_a_request_never_changes():
    old = created(CERTIFICATESIGNINGREQUESTS, request())
    new = copy.deepcopy(old)
    new["spec"]["usages"] = ["any"]
    requests.prepare_update(new, old)
    assert new["spec"] == old["spec"]
    assert update_problems(CERTIFICATESIGNINGREQUESTS, request(usages=["any"]), request()) == []


def test_a_certificate_comes_by_the_status_and_decides_nothing():
    old = with_status(conditions=[condition("Approved")])
    told = status_problems(CERTIFICATESIGNINGREQUESTS, {"conditions": []}, old)
    assert told == ['status.conditions: Forbidden: updates may not remove a condition of type "Approved"']
    told = status_problems(CERTIFICATESIGNINGREQUESTS, {"conditions": [condition("Denied")]}, with_status())
    assert told == ['status.conditions: Forbidden: updates may not add a condition of type "Denied"']
    (told,) = status_problems(CERTIFICATESIGNINGREQUESTS, {**old["status"], "certificate": "Zm9v"}, old)
    assert told.startswith('status.certificate: Invalid value: "<certificate data>": ')


def test_a_decision_is_made_by_the_approval_and_not_taken_back():
    old = with_status(certificate="Zm9v")
    new = {**copy.deepcopy(old), "status": {"conditions": [condition("Approved")], "certificate": "else"}}
    requests.prepare_approval(new, old)
    assert new["status"] == {"certificate": "Zm9v", "conditions": [condition("Approved")]}
    assert requests.validate_approval(new, old) == []
    both = with_status(conditions=[condition("Approved"), condition("Denied")])
    assert [error.message() for error in requests.validate_approval(both, new)] == [
        'status.conditions: Invalid value: "Denied": Approved and Denied conditions are mutually exclusive',
        "status.certificate: Forbidden: updates may not set certificate content",
    ]


def test_a_condition_says_since_when_it_holds():
    old = with_status(conditions=[{**condition("Approved"), "lastTransitionTime": "2026-01-01T00:00:00Z"}])
    new = with_status(conditions=[condition("Approved"), condition("Failed")])
    requests.stamp_conditions(new, old, "2026-01-02T03:04:05Z")
    assert [one["lastTransitionTime"] for one in new["status"]["conditions"]] == [
        "2026-01-01T00:00:00Z",
        "2026-01-02T03:04:05Z",
    ]


def test_the_columns_of_a_request():
    made = request(username="ann", expirationSeconds=86400)
    assert shown(CERTIFICATESIGNINGREQUESTS, made) == {
        "Name": "system:node:n1",
        "Age": "<unknown>",
        "SignerName": "example.com/x",
        "Requestor": "ann",
        "RequestedDuration": "24h",
        "Condition": "Pending",
    }
    issued = {**made, "status": {"conditions": [condition("Approved")], "certificate": "x"}}
    assert shown(CERTIFICATESIGNINGREQUESTS, issued)["Condition"] == "Approved,Issued"


def api_service(name: str = "v1.example.com", **spec: Any) -> Object:
    said = {"group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10, **spec}
    return {"metadata": {"name": name}, "spec": said}


def test_what_is_served_here_is_available():
    stored = created(APISERVICES, api_service())
    assert shown(APISERVICES, stored) == {
        "Name": "v1.example.com",
        "Service": "Local",
        "Available": "True",
        "Age": "<unknown>",
    }
    other = created(APISERVICES, api_service(service={"namespace": "default", "name": "api"}))
    assert other["spec"]["service"]["port"] == 443 and "status" not in other
    assert shown(APISERVICES, other)["Available"] == "Unknown"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (api_service("x"), ['must be `spec.version+"."+spec.group`: "v1.example.com"']),
        (api_service(groupPriorityMinimum=0), ["must be positive and less than 20000"]),
        (api_service(insecureSkipTLSVerify=True), ["local APIServices may not have insecureSkipTLSVerify"]),
        (api_service(service={"name": "x"}), ["spec.service.namespace: Required value"]),
        (
            api_service(service={"namespace": "x", "name": "y"}, caBundle="not base64"),
            ['spec.caBundle: Invalid value: "<redacted>": must be base64 encoded'],
        ),
        (
            api_service(service={"namespace": "x", "name": "y"}, insecureSkipTLSVerify=True, caBundle="Zm9v"),
            ["may not be true if caBundle is present"],
        ),
    ],
)
def test_what_is_wrong_with_an_api_service_is_told(wrong, told):
    found = problems(APISERVICES, wrong)
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True)), found


def schema(**spec: Any) -> Object:
    return {"metadata": {"name": "x"}, "spec": {"priorityLevelConfiguration": {"name": "low"}, **spec}}


def rule(**fields: Any) -> Object:
    subject = {"kind": "User", "user": {"name": "ann"}}
    resources = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    return schema(rules=[{"subjects": [subject], "resourceRules": [resources], **fields}])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (rule(), []),
        (schema(priorityLevelConfiguration={}), ["must reference a priority level"]),
        (schema(matchingPrecedence=1), ["only the schema named 'exempt' may have matchingPrecedence 1"]),
        (rule(subjects=[]), ["subjects must contain at least one value"]),
        (rule(subjects=[{"kind": "Group"}]), ["group is required when subject kind is 'Group'"]),
        (
            rule(subjects=[{"kind": "User", "user": {"name": "a"}, "group": {"name": "b"}}]),
            ["group is forbidden when subject kind is not 'Group'"],
        ),
        (rule(resourceRules=[]), ["at least one of resourceRules and nonResourceRules has to be non-empty"]),
        (
            rule(nonResourceRules=[{"verbs": ["get"], "nonResourceURLs": ["/a*", "b"]}]),
            ["wildcard can only do suffix matching", "must start with slash"],
        ),
    ],
)
def test_what_is_wrong_with_a_flow_schema_is_told(wrong, told):
    assert created(FLOWSCHEMAS, schema())["spec"]["matchingPrecedence"] == 1000
    found = problems(FLOWSCHEMAS, wrong)
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True)), found


def level(**spec: Any) -> Object:
    queuing = {"type": "Queue", "queuing": {}}
    return {"metadata": {"name": "x"}, "spec": {"type": "Limited", "limited": {"limitResponse": queuing}, **spec}}


def test_a_level_deals_hands_of_queues():
    stored = created(PRIORITYLEVELCONFIGURATIONS, level())
    assert problems(PRIORITYLEVELCONFIGURATIONS, level()) == []
    assert shown(PRIORITYLEVELCONFIGURATIONS, stored) == {
        "Name": "x",
        "Type": "Limited",
        "NominalConcurrencyShares": 30,
        "Queues": 64,
        "HandSize": 8,
        "QueueLengthLimit": 50,
        "Age": "<unknown>",
    }


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"type": "Exempt", "limited": None}, ["must be 'Exempt' if and only if `name` is 'exempt'"]),
        ({"limited": None}, ["must not be empty when type is Limited"]),
        ({"limited": {"limitResponse": {"type": "Reject", "queuing": {}}}}, ["must be nil if limited.limitResponse"]),
        (
            {"limited": {"limitResponse": {"type": "Queue", "queuing": {"queues": 1024, "handSize": 8}}}},
            ["required entropy bits of deckSize 1024 and handSize 8 should not be greater than 60"],
        ),
    ],
)
def test_what_is_wrong_with_a_level_is_told(spec, told):
    found = problems(PRIORITYLEVELCONFIGURATIONS, level(**spec))
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True)), found
