"""Lets requests in: certificates of the cluster's authority and tokens, whose rights the API server knows.

Whose a token is, and what its owner may do, is asked of the API server as this node, and remembered for a while.
Masters may do everything without being asked about. Nobody gets in without a name.

Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apiclient.clock import Clock
from apiclient.rest import Client
from apiclient.serving.reviews import Reviews
from apiclient.serving.users import MASTERS, User
from apimachinery.errors import forbidden
from kubelet.server import attributes


class Access:
    """Who may do what on this node's server. Without a `client` there are no tokens, and only masters get in."""

    def __init__(self, node_name: str, client: Client | None, clock: Clock) -> None:
        self._node = {"group": "", "version": "v1", "resource": "nodes", "name": node_name}
        self._reviews = Reviews(client, clock)

    async def admit(self, certificate: Mapping[str, Any] | None, authorization: str, method: str, path: str) -> User:
        """Who asks. Raises ApiError 401 for nobody, 403 for whoever may not, 500 if that can't be found out."""
        user = await self._reviews.user(certificate, authorization)
        if MASTERS in user.groups:
            return user
        verb, wanted = attributes.verb(method), attributes.subresources(path)
        for subresource in wanted:
            if await self._reviews.may(user, {**self._node, "verb": verb, "subresource": subresource}):
                return user
        refused = f"verb={verb}, resource=nodes, subresource(s)=[{' '.join(wanted)}]"
        raise forbidden(f"Forbidden (user={user.name}, {refused})")
