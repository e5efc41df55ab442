"""Which flow a request is of. Every request is asked this, so what was found out is remembered by user."""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.meta import Object
from apiserver.flowcontrol import rules
from apiserver.flowcontrol.flows import Flow, Schema
from apiserver.request_info import RequestInfo, User

# So many users, and of each so many kinds of requests, are remembered.
USERS_MAX, KINDS_MAX = 4096, 1024

_Kind = tuple[str, ...]


class Classifier:
    """The FlowSchemas that are in force, in order of precedence; the last one takes what no other does."""

    def __init__(self, schemas: Sequence[tuple[Object, Schema]]) -> None:
        self._schemas = schemas
        self._users: dict[User, _Known] = {}

    def flow(self, user: User, info: RequestInfo) -> Flow:
        """The flow of a request."""
        known = self._users.get(user)
        if known is None:
            if len(self._users) >= USERS_MAX:
                self._users.clear()
            known = self._users[user] = _Known(user, self._schemas)
        return known.only or known.flow(info)


class _Known:
    """What there is to know of one user. `only` is the flow of all of their requests, if that is one."""

    def __init__(self, user: User, schemas: Sequence[tuple[Object, Schema]]) -> None:
        self._user = user
        self._about = [(schema, found) for obj, schema in schemas if (found := rules.rules_about(obj, user))]
        self._last = schemas[-1][1]
        self._flows: dict[_Kind, Flow] = {}
        self._made: dict[tuple[str, str], Flow] = {}
        self.only: Flow | None = None
        if self._about:
            first, found = self._about[0]
            if first.distinguisher != rules.BY_NAMESPACE and any(map(rules.is_about_all, found)):
                self.only = self._make(first, "")

    def flow(self, info: RequestInfo) -> Flow:
        """The flow of one of the user's requests."""
        if info.resource:
            kind: _Kind = (info.verb, info.group, info.resource, info.subresource, info.namespace)
        else:
            kind = (info.verb, info.path)
        flow = self._flows.get(kind)
        if flow is None:
            if len(self._flows) >= KINDS_MAX:
                self._flows.clear()
                self._made.clear()
            flow = self._flows[kind] = self._make(self._schema(info), info.namespace)
        return flow

    def _schema(self, info: RequestInfo) -> Schema:
        return next((schema for schema, found in self._about if rules.ask_for(found, info)), self._last)

    def _make(self, schema: Schema, namespace: str) -> Flow:
        match schema.distinguisher:
            case rules.BY_USER:
                distinguisher = self._user.name
            case rules.BY_NAMESPACE:
                distinguisher = namespace
            case _:
                distinguisher = ""
        if schema.level.exempt and not distinguisher:
            distinguisher = self._user.name  # the turns of those who are exempt are shared by user
        key = (schema.name, distinguisher)
        return self._made.get(key) or self._made.setdefault(key, Flow(schema, distinguisher))
