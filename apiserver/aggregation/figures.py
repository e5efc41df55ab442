"""Which APIs are not available, for /metrics, under Kubernetes' names: alerts go by them.

Source: kube-aggregator/pkg/controllers/status/metrics/metrics.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from apiserver.aggregation.index import ApiServices
from apiserver.exposition import gauge, header, sample

UNAVAILABLE, UNAVAILABLE_TOTAL = "aggregator_unavailable_apiservice", "aggregator_unavailable_apiservice_total"


def lines(services: ApiServices) -> Iterator[str]:
    """All lines; of what is served here there are none, since it is never missing."""
    now = [({"name": one.name}, float(not one.available)) for one in services.known()]
    yield from gauge(UNAVAILABLE, "Whether an API of an extension server is unavailable.", now)
    yield from header(UNAVAILABLE_TOTAL, "counter", "How often such an API has become unavailable, by reason.")
    for (name, reason), count in services.losses.items():
        yield sample(UNAVAILABLE_TOTAL, {"name": name, "reason": reason}, count)
