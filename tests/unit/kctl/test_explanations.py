"""How an explanation of a pod's scheduling looks."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from apimachinery.time import rfc3339
from kctl.explanations import lines

NOW = 1_000_000.0


def explanation(*nodes: Object, standing: dict[str, Any] | None = None, **fields: Any) -> Object:
    fitting = [node for node in nodes if "rejections" not in node]
    best = [node["name"] for node in fitting if node["total"] == fitting[0]["total"]]
    return {
        "metadata": {"namespace": "ns", "name": "web"},
        "scheduler": "default-scheduler",
        "priority": 7,
        "standing": standing or {"stage": "New"},
        "message": fields.pop("message", ""),
        "best": best,
        "nodes": list(nodes),
        "notes": fields.pop("notes", []),
    }


def fits(name: str, *scores: int) -> Object:
    told = [
        {"plugin": f"Plugin{n}", "raw": score // 3, "normalized": score, "weight": n, "weighted": n * score}
        for n, score in enumerate(scores, 1)
    ]
    return {"name": name, "total": sum(score["weighted"] for score in told), "scores": told}


def rejects(name: str, *rejections: tuple[str, str, str]) -> Object:
    fields = ("plugin", "reason", "detail")
    return {"name": name, "rejections": [dict(zip(fields, rejection, strict=True)) for rejection in rejections]}


def shown(told: Object, *, wide: bool = False) -> str:
    return "\n".join(lines(told, wide=wide, now=NOW))


def test_a_pod_that_fits_shows_the_best_nodes_side_by_side() -> None:
    found = shown(
        explanation(fits("a", 100, 9), fits("b", 50, 9), rejects("c", ("Fit", "Insufficient cpu", "asks 2")))
    )
    assert found == "\n".join(
        [
            "Pod:        ns/web",
            "Scheduler:  default-scheduler",
            "Priority:   7",
            "Standing:   waits: nobody has said yet that it was tried",
            "Answer:     fits 2 of 3 nodes",
            "            would go to a",
            "",
            "SCORES    WEIGHT     a    b",
            "Plugin1        1   100   50",
            "Plugin2        2    18   18",
            "total              118   68",
            "",
            "NODE   REJECTED BY   REASON",
            "c      Fit           Insufficient cpu (asks 2)",
        ]
    )


def test_wide_shows_everything_of_every_node() -> None:
    two = rejects("c", ("Fit", "Insufficient cpu", ""), ("Ports", "taken", ""))
    found = shown(explanation(fits("a", 100, 9), fits("b", 50, 9), two), wide=True)
    assert "NODE   TOTAL   PLUGIN    RATE   OF 100   WEIGHT   SCORE" in found
    assert "a        118   Plugin1     33      100        1     100" in found
    assert "c      Fit           Insufficient cpu\n       Ports         taken" in found


def test_of_many_nodes_only_some_are_shown_and_the_rest_is_counted() -> None:
    many = [rejects(f"n{n:02}", ("Fit", "Insufficient cpu", "")) for n in range(30)]
    found = shown(explanation(*(fits(f"f{n}", 100 - n) for n in range(9)), *many))
    assert "and 4 more that fit" in found and "f5" not in found
    assert "n19 " in found and "n20 " not in found
    assert "and 10 more (-o wide shows all):\n10   Fit   Insufficient cpu" in found
    assert "n29 " in shown(explanation(*many), wide=True)


def test_a_waiting_pod_shows_what_was_tried_and_when_it_goes_on() -> None:
    standing = {
        "stage": "Backoff",
        "since": rfc3339(NOW - 60),
        "attempts": 3,
        "lastAttempt": rfc3339(NOW - 2),
        "due": rfc3339(NOW + 2),
        "message": "0/1 nodes are available: 1 Insufficient cpu.",
    }
    node = rejects("a", ("Fit", "Insufficient cpu", ""))
    found = shown(explanation(node, standing=standing, message=standing["message"], notes=["no scheduler leads"]))
    assert "Standing:   backoff for 60s, tried 3 times, last 2s ago\n            0/1 nodes are available" in found
    assert "to be tried again in 2s" in found
    assert "Answer:     fits none of 1 node\nNote:       no scheduler leads" in found


def test_a_bound_pod_is_compared_with_what_would_be_chosen_now() -> None:
    bound = {"stage": "Bound", "node": "b", "since": rfc3339(NOW - 300)}
    best = shown(explanation(fits("b", 100), fits("a", 50), standing=bound))
    assert "Standing:   on b for 5m" in best and "b rates highest of the 2 that fit" in best
    worse = shown(explanation(fits("a", 100), fits("b", 50), standing=bound))
    assert "b fits, and 1 of 2 rates higher\n            would go to a" in worse
    out = shown(explanation(fits("a", 100), rejects("b", ("Fit", "Insufficient cpu", "")), standing=bound))
    assert "b would not take it any more, for Insufficient cpu\n            would go to a" in out
    assert "b is gone" in shown(explanation(fits("a", 100), standing=bound))
