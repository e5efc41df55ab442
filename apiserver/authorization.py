"""May they: whether a user may do what a request asks for.

The masters may do everything. Nodes are looked at next, since what they may do depends on the pods that are bound to
them; then the roles decide. What nobody grants is refused.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
"""

from __future__ import annotations

from apiserver.decision import ALLOWED, NO_OPINION, Decision, forbidden
from apiserver.node_authorization import NodeAuthorizer, identify
from apiserver.rbac.authorizer import RbacAuthorizer
from apiserver.request_info import RequestInfo, User

MASTERS = "system:masters"
_OPENED_BY_GET = (("pods", "exec"), ("pods", "attach"), ("pods", "portforward"))


class Authorizer:
    """All authorizers, asked one after the other until one grants."""

    def __init__(self, nodes: NodeAuthorizer, roles: RbacAuthorizer) -> None:
        self._nodes = nodes
        self.roles = roles

    def authorize(self, user: User, info: RequestInfo) -> None:
        """Return if the request may go on. Raises ApiError 403."""
        if MASTERS in user.groups:
            return  # the most frequent case
        decision = self.decide(user, info)
        if not decision.allowed:
            raise forbidden(user, info, decision.reason)
        if info.verb == "get" and (info.resource, info.subresource) in _OPENED_BY_GET:
            # A WebSocket is opened by a GET whatever runs in it: reading rights must not be enough for that.
            self.authorize(user, info._replace(verb="create"))

    def decide(self, user: User, info: RequestInfo) -> Decision:
        """Whether a user may do something, and why."""
        if MASTERS in user.groups:
            return ALLOWED
        node = identify(user)
        by_node = self._nodes.decide(node, info) if node is not None else NO_OPINION
        if by_node.allowed:
            return by_node
        by_roles = self.roles.decide(user, info)
        if by_roles.allowed or not by_node.reason:
            return by_roles
        return Decision(False, "\n".join(filter(None, (by_node.reason, by_roles.reason))))
