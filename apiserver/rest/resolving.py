"""What a path stands for: the resource, in which version, in which namespace, and whether that can be asked for."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from apimachinery.errors import method_not_allowed, path_not_found
from apimachinery.resources import BINDINGS, NAMESPACES
from apiserver.catalog import Catalog
from apiserver.request_info import RequestInfo, User
from apiserver.rest.call import Call

# What a node agent answers, and the rest of whose path is its own matter.
STREAMS = ("log", "exec", "attach", "portforward", "proxy")
_OF_ONE_OBJECT = ("update", "patch", "delete")


def resolve(
    catalog: Catalog,
    http: web.BaseRequest,
    info: RequestInfo,
    user: User,
    query: Mapping[str, str],
    *,
    asked: bool = False,
) -> Call:
    """What a path stands for; `asked`: somebody answers there. Raises ApiError 404 for what is not served, 405 for
    what can't be done there.
    """
    endpoint = catalog.find(info.group, info.version, info.resource)
    # What nobody answers has no place here.
    if endpoint is None or not (asked or "get" in endpoint.verbs or endpoint.resource.key == BINDINGS.key):
        raise path_not_found()
    resource = endpoint.resource
    if info.subresource and info.subresource not in resource.subresources:
        raise path_not_found()
    if (info.rest and info.subresource not in STREAMS) or (info.subresource and info.verb == "watch"):
        raise path_not_found()
    namespace = info.namespace if resource.namespaced else ""
    # Only a namespace itself is found under /namespaces/NAME without being inside of it. Anything else of that name
    # was authorized with the roles of a namespace that it does not belong to.
    is_itself = resource.key == NAMESPACES.key and info.namespace == info.name
    if info.namespace != namespace and not is_itself:
        raise path_not_found()
    if resource.namespaced and info.name and not namespace:
        raise path_not_found()
    if (info.verb in _OF_ONE_OBJECT and not info.name) or not (info.subresource or info.verb in endpoint.verbs):
        raise method_not_allowed()
    return Call(
        http,
        info,
        user,
        query,
        resource,
        endpoint.strategy,
        namespace,
        info.name,
        versions=endpoint.versions,
        deprecation=endpoint.warning,
        terminating=endpoint.terminating,
    )
