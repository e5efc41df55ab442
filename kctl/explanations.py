"""How an explanation of a pod's scheduling is laid out for people; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from apimachinery.meta import Object
from apimachinery.time import human_duration, parse_rfc3339

GAP = "   "
BEST_SHOWN_MAX = 5
REJECTED_SHOWN_MAX = 20
NAMED_MAX = 5


def lines(explanation: Object, *, wide: bool, now: float) -> list[str]:
    """The pod, where it stands, the answer; then the scores of nodes that it fits, and why others turn it down."""
    pod, nodes = explanation["metadata"], explanation["nodes"]
    fitting = [node for node in nodes if "rejections" not in node]
    rejected = [node for node in nodes if "rejections" in node]
    titled = [
        ("Pod:", [f"{pod['namespace']}/{pod['name']}"]),
        ("Scheduler:", [explanation["scheduler"]]),
        ("Priority:", [str(explanation["priority"])]),
        ("Standing:", list(_standing(explanation["standing"], now))),
        ("Answer:", list(_answer(explanation, fitting, rejected))),
        ("Note:", explanation["notes"]),
    ]
    told = [
        f"{title if first else '':<12}{text}"
        for title, texts in titled
        for first, text in zip((True, *[False] * len(texts)), texts, strict=False)
    ]
    if fitting:
        own = explanation["standing"].get("node", "")
        told += ["", *(_scores_of_all(fitting) if wide else _scores_of_the_best(fitting, own))]
    if rejected:
        told += ["", *_rejections(rejected, wide=wide)]
    return told


def _standing(standing: Object, now: float) -> Iterator[str]:
    stage = standing["stage"]
    since = f" for {_age(standing['since'], now)}" if "since" in standing else ""
    match stage:
        case "Bound":
            yield f"on {standing['node']}{since}"
        case "Ended":
            yield "ended: it takes up nothing any more"
        case "Deleted":
            yield "being deleted: it is not placed any more"
        case "Gated":
            yield f"gated{since}: waits until its scheduling gates are removed: {', '.join(standing['gates'])}"
        case "New":
            yield "waits: nobody has said yet that it was tried"
        case _:
            attempts, last = standing.get("attempts", 0), standing.get("lastAttempt")
            times = f", tried {attempts} time{'s' if attempts > 1 else ''}" if attempts else ""
            when = f", last {_age(last, now)} ago" if last else ""
            yield f"{stage.lower()}{since}{times}{when}"
            yield standing.get("message", "")
            if stage == "Backoff":
                left = human_duration(max(0.0, parse_rfc3339(standing["due"]) - now))
                yield f"to be tried again in {left}, or as soon as nothing else waits, if it may fit then"
            elif stage == "Unschedulable":
                yield "to be tried again when something changes that may help"
    if "nominatedNode" in standing:
        yield f"room is being made for it on {standing['nominatedNode']}"


def _answer(explanation: Object, fitting: Sequence[Object], rejected: Sequence[Object]) -> Iterator[str]:
    """What would become of the pod if its turn were now."""
    number, own = len(explanation["nodes"]), explanation["standing"].get("node", "")
    if own and explanation["standing"]["stage"] == "Bound":
        yield from _answer_for_bound(explanation, fitting, rejected, own)
    elif not fitting:
        yield f"fits none of {number} node{'s' * (number != 1)}"
        if explanation["message"] and explanation["message"] != explanation["standing"].get("message"):
            yield explanation["message"]
        if "preemption" in explanation:
            room = explanation["preemption"]
            yield f"room would be made on {room['node']} by sending away {_named(room['victims'])}"
    elif not explanation["best"]:
        yield f"fits {len(fitting)} of {number} node{'s' * (number != 1)}, but goes to none of them now"
        yield explanation["message"]
    else:
        best = explanation["best"]
        yield f"fits {len(fitting)} of {number} node{'s' * (number != 1)}"
        if len(best) == 1:
            yield f"would go to {best[0]}"
        else:
            yield f"would go to one of {len(best)} that rate the same, in turn: {_named(best)}"


def _answer_for_bound(
    explanation: Object, fitting: Sequence[Object], rejected: Sequence[Object], own: str
) -> Iterator[str]:
    here = next((node for node in explanation["nodes"] if node["name"] == own), None)
    yield "as things are now, and as if the pod were not there yet:"
    if here is None:
        yield f"{own} is gone"
    elif here in rejected:
        yield f"{own} would not take it any more, for {here['rejections'][0]['reason']}"
    else:
        better = sum(node["total"] > here["total"] for node in fitting)
        equal = sum(node["total"] == here["total"] for node in fitting) - 1
        shared = f", as {'does' if equal == 1 else 'do'} {equal} more" if equal else ""
        if not better:
            only = len(fitting) == 1
            yield (
                f"{own} is the only one that fits"
                if only
                else f"{own} rates highest of the {len(fitting)} that fit{shared}"
            )
            return
        yield f"{own} fits, and {better} of {len(fitting)} rate{'s' * (better == 1)} higher{shared}"
    if fitting:
        yield f"would go to {_named(explanation['best'])}"


def _scores_of_the_best(fitting: Sequence[Object], own: str) -> Iterator[str]:
    """A column each for the nodes that rate highest, and for the pod's own."""
    shown = list(fitting[:BEST_SHOWN_MAX])
    shown += [node for node in fitting[BEST_SHOWN_MAX:] if node["name"] == own]
    plugins = [(score["plugin"], score["weight"]) for score in shown[0]["scores"]]
    rows: list[list[str]] = [["SCORES", "WEIGHT", *(node["name"] for node in shown)]]
    for index, (plugin, weight) in enumerate(plugins):
        rows.append([plugin, str(weight), *(str(node["scores"][index]["weighted"]) for node in shown)])
    rows.append(["total", "", *(str(node["total"]) for node in shown)])
    yield from _table(rows, right=range(1, len(rows[0])))
    if left := len(fitting) - len(shown):
        yield f"and {left} more that {'fit' if left > 1 else 'fits'} (-o wide shows all)"


def _scores_of_all(fitting: Sequence[Object]) -> Iterator[str]:
    """A line for each node and plugin: the rate, what it is among all, and what that counts."""
    rows = [["NODE", "TOTAL", "PLUGIN", "RATE", "OF 100", "WEIGHT", "SCORE"]]
    for node in fitting:
        for index, score in enumerate(node["scores"]):
            named = [node["name"], str(node["total"])] if index == 0 else ["", ""]
            rows.append(
                [*named, score["plugin"], *(str(score[k]) for k in ("raw", "normalized", "weight", "weighted"))]
            )
        if not node["scores"]:
            rows.append([node["name"], "0", "", "", "", "", ""])
    yield from _table(rows, right=(1, 3, 4, 5, 6))


def _rejections(rejected: Sequence[Object], *, wide: bool) -> Iterator[str]:
    """What turns each node down: by default the first plugin that does, which is what the scheduler tells of."""
    shown = rejected if wide else rejected[:REJECTED_SHOWN_MAX]
    rows = [["NODE", "REJECTED BY", "REASON"]]
    for node in shown:
        told = node["rejections"] if wide else _of_the_first(node)
        for index, rejection in enumerate(told):
            detail = f" ({rejection['detail']})" if rejection["detail"] else ""
            rows.append([node["name"] if index == 0 else "", rejection["plugin"], rejection["reason"] + detail])
    yield from _table(rows)
    rest = rejected[len(shown) :]
    if rest:
        yield f"and {len(rest)} more (-o wide shows all):"
        reasons = Counter((one["plugin"], one["reason"]) for node in rest for one in _of_the_first(node))
        yield from _table(
            [[f"{number}", plugin, reason] for (plugin, reason), number in reasons.most_common()], right=(0,)
        )


def _of_the_first(node: Object) -> list[Any]:
    first = node["rejections"][0]["plugin"]
    return [one for one in node["rejections"] if one["plugin"] == first]


def _table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> Iterator[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield GAP.join(cells).rstrip()


def _named(names: Sequence[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")


def _age(moment: str, now: float) -> str:
    return human_duration(max(0.0, now - parse_rfc3339(moment)))
