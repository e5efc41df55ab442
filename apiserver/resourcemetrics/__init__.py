"""The resource metrics API, metrics.k8s.io: what nodes and pods use, which `kubectl top` and autoscalers ask for.

Nothing of it is stored or collected in the background: the node agents are asked when somebody asks here, and what
they say is kept for a quarter of a minute (docs/decisions/0027-figures-when-they-are-asked-for.md). Whoever installs
another server of this API hands it over by its APIService, as with any other group.
"""

from apiserver.resourcemetrics.kinds import GROUP, endpoints
from apiserver.resourcemetrics.serving import ResourceMetrics

__all__ = ["GROUP", "ResourceMetrics", "endpoints"]
