"""/healthz, /livez and /readyz: whether this process is well, and what is wrong if it is not.

`?verbose` lists the checks, `?exclude=NAME` leaves one out, `/healthz/NAME` asks for one alone; /metrics/slis counts
how often each was well. Pure.

Sources: https://kubernetes.io/docs/reference/using-api/health-checks/ and
https://kubernetes.io/docs/reference/instrumentation/slis/
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from apiclient.serving.exposition import family

ENDPOINTS = ("/healthz", "/livez", "/readyz")
# Returns what is wrong, or "".
Check = Callable[[], str]


class Answer(NamedTuple):
    """What is told."""

    status: int
    text: str


class Health:
    """The checks of a process, in the order in which they are listed."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks: dict[str, Check] = {"ping": lambda: "", **checks}
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def answer(self, path: str, query: Mapping[str, Sequence[str]]) -> Answer | None:
        """The answer to a GET of `/healthz` or `/healthz/NAME`, or of the others; None if there is no such check."""
        endpoint, _, only = path[1:].partition("/")
        if only:
            if only not in self._checks:
                return None
            problem = self._run(endpoint, only)
            return Answer(500, f"internal server error: {problem}\n") if problem else Answer(200, "ok")
        excluded = set(query.get("exclude", ()))
        lines, failed = [], False
        for name in self._checks:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif self._run(endpoint, name):
                # Anybody may ask, so the reason is for those who ask for this check alone, which takes a right.
                lines.append(f"[-]{name} failed: reason withheld")
                failed = True
            else:
                lines.append(f"[+]{name} ok")
        verdict = "failed" if failed else "passed"
        told = "".join(f"{line}\n" for line in (*lines, f"{endpoint} check {verdict}"))
        return Answer(500, told) if failed else Answer(200, told if "verbose" in query else "ok")

    def _run(self, endpoint: str, name: str) -> str:
        problem = self._checks[name]()
        self._counts[endpoint, name, "error" if problem else "success"] += 1
        return problem

    def figures(self) -> str:
        """The page of /metrics/slis: how each check is now, and how often it was well and was not."""
        now = [
            ({"name": name, "type": endpoint[1:]}, int(not self._run(endpoint[1:], name)))
            for endpoint in ENDPOINTS
            for name in self._checks
        ]
        counted = [
            ({"name": name, "status": status, "type": endpoint}, count)
            for (endpoint, name, status), count in self._counts.items()
        ]
        words = "This metric records the result of all healthchecks."
        return family(
            "kubernetes_healthcheck", "gauge", "This metric records the result of a single healthcheck.", now
        ) + family("kubernetes_healthchecks_total", "counter", words, counted)
