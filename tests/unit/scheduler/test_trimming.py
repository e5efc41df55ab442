"""What a scheduler keeps of pods: what it looks at, and once what many of them have in common."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from scheduler.trimming import PodTrimmer, trimmed_pod
from tests.unit.scheduler.factories import make_pod


def pod(name: str, **fields: Any) -> Object:
    made = make_pod(name, cpu="1", labels={"app": "web"}, **fields)
    made["spec"]["tolerations"] = [{"key": "example.com/x", "operator": "Exists"}]
    conditions = [{"type": what, "status": "True"} for what in ("Ready", "PodScheduled", "DisruptionTarget")]
    made["status"] = {"phase": "Running", "conditions": conditions}
    return made


def test_pods_keep_once_what_they_have_in_common() -> None:
    trimmer = PodTrimmer()
    one, other = trimmer.trim(pod("one", node="a")), trimmer.trim(pod("other", node="b"))
    assert one["metadata"]["labels"] is other["metadata"]["labels"]
    for field in ("containers", "tolerations"):
        assert one["spec"][field] is other["spec"][field]
    assert one["status"]["conditions"] is other["status"]["conditions"]
    assert (one["metadata"]["name"], one["spec"]["nodeName"]) == ("one", "a")
    assert one["spec"] == trimmed_pod(pod("one", node="a"))["spec"]


def test_of_a_pod_on_a_node_those_conditions_are_kept_that_say_why_it_goes() -> None:
    there, waiting = trimmed_pod(pod("there", node="a")), trimmed_pod(pod("waiting"))
    assert [condition["type"] for condition in there["status"]["conditions"]] == ["DisruptionTarget"]
    assert len(waiting["status"]["conditions"]) == 3
