"""What it costs to decide who may do what, with thousands of bindings that are about others.

    .venv/bin/python -m bench.authorization [--bindings 5000]

`first` is the first decision about a user after a role or binding has changed: all that bindings give to the user is
put together then. Every later one is two look-ups. For comparison, the scan of all bindings that this spares.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from functools import partial

from apimachinery import resources
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.authorization import Authorizer
from apiserver.node_authorization import NodeAuthorizer
from apiserver.node_graph import NodeGraph
from apiserver.policy import node_rules
from apiserver.rbac import defaults
from apiserver.rbac.authorizer import RbacAuthorizer
from apiserver.request_info import AUTHENTICATED, RequestInfo, User, parse

PODS_OF_A_NODE = 100


class Objects:
    """Roles, bindings and pods in memory, found by their keys."""

    def __init__(self, objects: Iterable[Object]) -> None:
        self._objects: dict[str, dict[tuple[str, str], Object]] = {}
        for one in objects:
            key = (one["metadata"].get("namespace", ""), one["metadata"]["name"])
            self._objects.setdefault(one["kind"], {})[key] = one

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        """An object."""
        return self._objects.get(resource.kind, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str) -> list[Object]:
        """All objects of a namespace, or of all."""
        found = self._objects.get(resource.kind, {})
        return [one for (scope, _), one in found.items() if namespace in ("", scope)]


def bindings(number: int) -> Iterable[Object]:
    """Bindings of `view` to an account of each of so many namespaces."""
    group = resources.ROLES.group
    for index in range(number):
        namespace = f"team-{index}"
        yield {
            "kind": "RoleBinding",
            "metadata": {"name": "viewer", "namespace": namespace},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:aggregate-to-view"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
        }


def pods() -> Iterable[Object]:
    """The pods of a node."""
    for number in range(PODS_OF_A_NODE):
        volume = {"name": "v", "secret": {"secretName": f"s-{number}"}}
        metadata = {"name": f"web-{number}", "namespace": "team-0"}
        spec = {"nodeName": "n1", "serviceAccountName": "robot", "volumes": [volume], "containers": []}
        yield {"kind": "Pod", "metadata": metadata, "spec": spec}


def account(number: int) -> User:
    """A service account."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:team-{number}", AUTHENTICATED)
    return User(f"system:serviceaccount:team-{number}:robot", groups=groups)


def microseconds(call: Callable[[], object], times: int) -> float:
    """The time of one call."""
    started = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - started) / times * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bindings", type=int, default=5000)
    number = parser.parse_args().bindings
    cluster = Objects([*defaults.objects(), *bindings(number), *pods()])
    roles = RbacAuthorizer(cluster)
    graph = NodeGraph(partial(cluster.list, resources.PODS))
    authorizer = Authorizer(NodeAuthorizer(cluster, graph, node_rules()), roles)
    get_pod = parse("GET", "/api/v1/namespaces/team-0/pods/web", {})
    cases: dict[str, tuple[User, RequestInfo]] = {
        "a master": (User("admin", groups=("system:masters",)), get_pod),
        "a service account, allowed": (account(0), get_pod),
        "a service account, refused": (account(1), get_pod),
        "the scheduler": (User("system:kube-scheduler", groups=(AUTHENTICATED,)), parse("GET", "/api/v1/pods", {})),
        "a node, by one of its pods": (
            User("system:node:n1", groups=("system:nodes", AUTHENTICATED)),
            parse("GET", "/api/v1/namespaces/team-0/secrets/s-7", {}),
        ),
    }
    print(f"{number} bindings, {PODS_OF_A_NODE} pods on the node")
    for name, (user, info) in cases.items():
        print(f"{name + ':':28} {microseconds(partial(authorizer.decide, user, info), 100_000):6.2f} µs")

    def first() -> None:
        roles.role_changed()
        authorizer.decide(account(0), cases["a service account, allowed"][1])

    print(f"{'first after a change:':28} {microseconds(first, 2000):6.2f} µs")

    def scan() -> int:
        found = cluster.list(resources.ROLEBINDINGS, "")
        return sum(any(s["name"] == "robot" and s["namespace"] == "team-0" for s in one["subjects"]) for one in found)

    print(f"{'a scan of all bindings:':28} {microseconds(scan, 20):6.0f} µs")


if __name__ == "__main__":
    main()
