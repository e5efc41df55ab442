"""Users, requests and objects of flow control for tests."""

from __future__ import annotations

from apimachinery.meta import Object
from apiserver.flowcontrol import defaults
from apiserver.request_info import AUTHENTICATED, RequestInfo, User, parse


def user(name: str, *groups: str) -> User:
    """A user who has shown who they are."""
    return User(name, groups=(*groups, AUTHENTICATED))


ADMIN = user("kubernetes-admin", "system:masters")
NODE = user("system:node:n1", "system:nodes")
JANE = user("jane", "people")
BUILDER = user("system:serviceaccount:ci:builder", "system:serviceaccounts", "system:serviceaccounts:ci")


def request(method: str, path: str) -> RequestInfo:
    """What a request asks for."""
    return parse(method, path, {})


LEASE = request("PATCH", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1")
POD = request("GET", "/api/v1/namespaces/shop/pods/web")


def level(name: str, shares: int = 10, **limited: object) -> Object:
    """A level that queues, unless it is told otherwise."""
    queuing = {"queues": 16, "handSize": 4, "queueLengthLimit": 5}
    response = {"type": "Queue", "queuing": queuing}
    spec = {"nominalConcurrencyShares": shares, "lendablePercent": 0, "limitResponse": response, **limited}
    return {"metadata": {"name": name, "uid": f"{name}-uid"}, "spec": {"type": "Limited", "limited": spec}}


def schema(name: str, of: str, precedence: int, *rules: Object, method: str = "ByUser") -> Object:
    """A FlowSchema."""
    spec: Object = {
        "priorityLevelConfiguration": {"name": of},
        "matchingPrecedence": precedence,
        "rules": list(rules),
    }
    if method:
        spec["distinguisherMethod"] = {"type": method}
    return {"metadata": {"name": name, "uid": f"{name}-uid"}, "spec": spec}


def rule(subject: Object, *resources: Object, urls: Object | None = None) -> Object:
    """A rule about one subject."""
    return {"subjects": [subject], "resourceRules": list(resources), "nonResourceRules": [urls] if urls else []}


def on(verbs: str, resources: str, group: str = "", namespaces: str = "*", *, cluster: bool = False) -> Object:
    """A rule about resources; words with spaces between."""
    return {
        "verbs": verbs.split(),
        "apiGroups": [group],
        "resources": resources.split(),
        "namespaces": namespaces.split(),
        "clusterScope": cluster,
    }


DEFAULT_LEVELS = tuple({**obj, "metadata": {**obj["metadata"], "uid": "l"}} for obj in defaults.LEVELS)
DEFAULT_SCHEMAS = tuple({**obj, "metadata": {**obj["metadata"], "uid": "s"}} for obj in defaults.SCHEMAS)
