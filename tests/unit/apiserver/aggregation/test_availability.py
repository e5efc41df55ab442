"""Whether an extension server can be asked, as far as objects tell."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.aggregation.availability import PASSED, Verdict, failed_discovery, judge, told
from apiserver.aggregation.index import Where

WHERE = Where("wardle", "api", 443, "", False)


def service(kind: str | None = None, **port: Any) -> dict[str, Any]:
    spec = {"type": kind} if kind else {}
    return {"spec": {**spec, "ports": [{"port": 443, **port}]}}


def slice_of(*ready: bool | None, name: str | None = None) -> dict[str, Any]:
    named = {} if name is None else {"name": name}
    endpoints = [{"addresses": ["192.0.2.1"], "conditions": {"ready": one}} for one in ready]
    return {"endpoints": endpoints, "ports": [{"port": 8443, **named}]}


def reason(*arguments: Any) -> str:
    verdict = judge(WHERE, *arguments)
    return verdict.reason if verdict is not None else ""


def test_a_service_that_is_not_there_can_not_be_asked() -> None:
    assert judge(WHERE, None, [], None) == Verdict(
        "False", "ServiceNotFound", 'service/api in "wardle" is not present'
    )


def test_it_must_have_the_port() -> None:
    verdict = judge(WHERE, {"spec": {"ports": [{"port": 80}]}}, [slice_of(True)], None)
    assert verdict == Verdict("False", "ServicePortError", 'service/api in "wardle" is not listening on port 443')


def test_it_must_have_endpoints_and_one_of_them_that_is_ready() -> None:
    assert reason(service(), [], None) == "EndpointsNotFound"
    assert reason(service(), [slice_of()], None) == "MissingEndpoints"
    assert reason(service(), [slice_of(False)], None) == "MissingEndpoints"
    assert reason(service(), [slice_of(False), slice_of(True)], None) == ""
    assert reason(service(), [slice_of(None)], None) == ""  # nobody has said that it is not


def test_the_port_is_the_one_of_that_name() -> None:
    assert reason(service(name="https"), [slice_of(True)], None) == "MissingEndpoints"
    assert reason(service(name="https"), [slice_of(True, name="https")], None) == ""
    assert reason(service(), [slice_of(True, name="")], None) == ""


def test_endpoints_of_the_old_form_will_do() -> None:
    old = {"subsets": [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"port": 8443}]}]}
    assert reason(service(), [], old) == ""
    assert reason(service(), [], {"subsets": [{**old["subsets"][0], "addresses": []}]}) == "MissingEndpoints"
    assert reason(service(), [slice_of(False)], old) == "MissingEndpoints"  # the new form says more


@pytest.mark.parametrize("kind", ["ExternalName", "NodePort", "LoadBalancer"])
def test_of_other_services_only_being_asked_tells(kind: str) -> None:
    assert judge(WHERE, service(kind), [], None) is None


def test_a_condition_is_told_once_and_keeps_the_time_of_its_last_change() -> None:
    first = told({"spec": {}}, PASSED, "then")
    assert first is not None
    assert first["status"]["conditions"] == [
        {
            "type": "Available",
            "status": "True",
            "reason": "Passed",
            "message": "all checks passed",
            "lastTransitionTime": "then",
        }
    ]
    assert told(first, PASSED, "now") is None
    second = told(first, failed_discovery("why"), "now")
    assert second is not None and second["status"]["conditions"][0]["lastTransitionTime"] == "now"
    third = told(second, failed_discovery("another reason"), "later")
    assert third is not None and third["status"]["conditions"][0]["lastTransitionTime"] == "now"
