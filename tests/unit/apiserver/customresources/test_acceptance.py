"""Names of definitions, and their conditions."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, find_condition
from apiserver.customresources.acceptance import is_going, plan_status, taken, terminating

NOW, LATER = "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"
NAMES = {"plural": "cats", "singular": "cat", "kind": "Cat", "listKind": "CatList"}


def definition(group: str = "example.com", status: Object | None = None, **names: Any) -> Object:
    spec = {"group": group, "names": {**NAMES, **names}}
    return {"metadata": {"name": f"cats.{group}"}, "spec": spec, "status": status or {}}


def planned(defined: Object, *others: Object, now: str = NOW) -> Object:
    found = plan_status(defined, taken(others), now)
    assert found is not None
    return found


def told(status: Object, kind: str) -> tuple[str, str, str]:
    condition = find_condition(status["conditions"], kind)
    assert condition is not None
    return condition["status"], condition["reason"], condition["message"]


def test_names_that_nobody_has_are_accepted_and_the_definition_is_established() -> None:
    status = planned(definition(shortNames=["ct"], categories=["all"]))
    assert status["acceptedNames"] == {**NAMES, "shortNames": ["ct"], "categories": ["all"]}
    assert told(status, "NamesAccepted") == ("True", "NoConflicts", "no conflicts found")
    assert told(status, "Established")[0] == "True"
    assert plan_status(definition(status=status, shortNames=["ct"], categories=["all"]), taken(()), LATER) is None


def test_a_name_is_taken_once_whatever_it_names() -> None:
    for other, reason in (
        ({"plural": "cats"}, "PluralConflict"),
        ({"shortNames": ["cats"]}, "PluralConflict"),
        ({"singular": "cat"}, "SingularConflict"),
        ({"plural": "ct"}, "ShortNamesConflict"),
        ({"listKind": "Cat"}, "KindConflict"),
        ({"kind": "CatList"}, "ListKindConflict"),
    ):
        status = planned(definition(shortNames=["ct"]), other)
        assert told(status, "NamesAccepted")[:2] == ("False", reason)
        assert told(status, "Established") == ("False", "NotAccepted", "not all names are accepted")


def test_of_several_conflicts_each_name_is_told() -> None:
    status = planned(definition(shortNames=["a", "b", "c"]), {"shortNames": ["a", "b"]})
    assert told(status, "NamesAccepted")[2] == '["a" is already in use, "b" is already in use]'
    assert "shortNames" not in status["acceptedNames"] and status["acceptedNames"]["plural"] == "cats"


def test_what_is_established_stays_so_and_keeps_the_names_that_it_has() -> None:
    first = planned(definition(shortNames=["ct"]))
    changed = definition(status=first, shortNames=["dog"])
    status = planned(changed, {"shortNames": ["dog"]}, now=LATER)
    assert told(status, "NamesAccepted")[0] == "False"
    assert told(status, "Established")[0] == "True"
    assert status["acceptedNames"]["shortNames"] == ["ct"]
    free = planned({**changed, "status": status}, now=LATER)
    assert free["acceptedNames"]["shortNames"] == ["dog"]
    assert told(free, "NamesAccepted")[0] == "True"


def test_a_definition_waits_for_certificates_to_trust_its_webhook_by() -> None:
    defined = definition()
    defined["spec"]["conversion"] = {"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "Cg=="}}}
    status = planned(defined)
    assert told(status, "NamesAccepted")[0] == "True"
    assert told(status, "Established") == (
        "False",
        "InvalidCABundle",
        "The conversion webhook CABundle is invalid",
    )
    assert plan_status({**defined, "status": status}, taken(()), LATER) is None
    defined["spec"]["conversion"] = {"strategy": "Webhook", "webhook": {"clientConfig": {}}}
    assert told(planned({**defined, "status": status}), "Established")[0] == "True"


def test_apis_in_kubernetes_own_domains_tell_whether_they_are_approved() -> None:
    def approval(annotation: str | None) -> tuple[str, str, str]:
        defined = definition("stable.k8s.io")
        if annotation is not None:
            defined["metadata"]["annotations"] = {"api-approved.kubernetes.io": annotation}
        return told(planned(defined), "KubernetesAPIApprovalPolicyConformant")

    assert approval("https://github.com/kubernetes/x/pull/1")[:2] == ("True", "ApprovedAnnotation")
    assert approval("unapproved, a test")[:2] == ("False", "UnapprovedAnnotation")
    assert approval("no")[:2] == ("False", "InvalidAnnotation")
    assert approval(None)[:2] == ("False", "MissingAnnotation")
    conditions = planned(definition())["conditions"]
    assert find_condition(conditions, "KubernetesAPIApprovalPolicyConformant") is None


def test_the_end_is_told_in_a_condition() -> None:
    defined = definition(status={"conditions": []})
    status = terminating(defined, "True", "InstanceDeletionInProgress", "it goes", NOW)
    assert told(status, "Terminating") == ("True", "InstanceDeletionInProgress", "it goes")
    finalizer = "customresourcecleanup.apiextensions.k8s.io"
    assert is_going({"metadata": {"deletionTimestamp": NOW, "finalizers": [finalizer]}})
    assert not is_going({"metadata": {"deletionTimestamp": NOW, "finalizers": ["other"]}})
    assert not is_going({"metadata": {"finalizers": [finalizer]}})
