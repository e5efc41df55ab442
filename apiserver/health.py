"""/livez, /readyz and the old /healthz: whether this server lives, and whether it should be sent requests.

`?verbose` lists the checks, `?exclude=NAME` leaves one out, `/readyz/NAME` asks for one alone. /metrics/slis counts
how often each was well, for those who promise something on it.
Sources: https://kubernetes.io/docs/reference/using-api/health-checks/ and
https://kubernetes.io/docs/reference/instrumentation/slis/
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web
from multidict import MultiMapping

from apiserver.exposition import gauge, header, sample
from apiserver.logs import kv

log = logging.getLogger(__name__)

ENDPOINTS = ("healthz", "livez", "readyz")
# A check returns what is wrong, or nothing.
Check = Callable[[], str | None]


def _well() -> str | None:
    return None


class Health:
    """The checks of this server, in the order in which they are listed."""

    def __init__(self) -> None:
        self._checks: dict[str, dict[str, Check]] = {endpoint: {"ping": _well} for endpoint in ENDPOINTS}
        # By endpoint, check and outcome.
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, name: str, check: Check, endpoints: Sequence[str] = ENDPOINTS) -> None:
        """Add a check to some of the endpoints."""
        for endpoint in endpoints:
            self._checks[endpoint][name] = check

    def answer(self, path: str, query: MultiMapping[str]) -> web.Response:
        """The answer to a GET of `/readyz`, or of `/readyz/NAME` for one check."""
        endpoint, _, only = path.strip("/").partition("/")
        checks = self._checks[endpoint]
        if only:
            if only not in checks:
                return _text(404, "404 page not found\n")
            found = self._run(endpoint, only)
            return _text(200, "ok") if found is None else _text(500, f"internal server error: {found}\n")
        return self._all(endpoint, checks, query)

    def _all(self, endpoint: str, checks: Mapping[str, Check], query: MultiMapping[str]) -> web.Response:
        excluded = set(query.getall("exclude", ()))
        lines, failed = [], []
        for name in checks:
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
            elif (problem := self._run(endpoint, name)) is None:
                lines.append(f"[+]{name} ok")
            else:
                # Anybody may ask, so the reason is for the log alone.
                lines.append(f"[-]{name} failed: reason withheld")
                failed.append(f"{name}: {problem}")
        if unknown := sorted(excluded - set(checks)):
            listed = ",".join(f'"{name}"' for name in unknown)
            lines.append(f"warn: some health checks cannot be excluded: no matches for {listed}")
        body = "\n".join(lines) + "\n"
        if failed:
            log.info(kv(f"{endpoint} check failed", failed="; ".join(failed)))
            return _text(500, f"{body}{endpoint} check failed\n")
        return _text(200, f"{body}{endpoint} check passed\n" if "verbose" in query else "ok")

    def _run(self, endpoint: str, name: str) -> str | None:
        found = self._checks[endpoint][name]()
        self._counts[endpoint, name, "success" if found is None else "error"] += 1
        return found

    def figures(self) -> bytes:
        """The page of /metrics/slis: how each check is now, and how often it was well and was not."""
        listed = [(endpoint, name) for endpoint, checks in self._checks.items() for name in checks]
        now = [
            ({"name": name, "type": endpoint}, int(self._run(endpoint, name) is None)) for endpoint, name in listed
        ]
        lines = [
            *gauge("kubernetes_healthcheck", "The result of a check: 1 if all is well.", now),
            *header("kubernetes_healthchecks_total", "counter", "The results of the checks so far."),
        ]
        for (endpoint, name, status), count in self._counts.items():
            labels = {"name": name, "status": status, "type": endpoint}
            lines.append(sample("kubernetes_healthchecks_total", labels, count))
        return "".join(f"{line}\n" for line in lines).encode()


def _text(status: int, text: str) -> web.Response:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return web.Response(status=status, body=text.encode(), headers={**headers, "Cache-Control": "no-cache, private"})
