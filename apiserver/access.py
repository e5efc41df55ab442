"""Puts together what decides who gets in and how far: authentication, authorization, the questions about both, and
the loops that hand out certificates and tokens.

The authorizers hear of every change of what they decide by before its writer is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from apimachinery import resources
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver import policy
from apiserver.authentication import Authenticator, read_token_file
from apiserver.authorization import Authorizer
from apiserver.bootstrap_tokens import BootstrapTokens
from apiserver.certificate_signer import CertificateSigner
from apiserver.following import follow
from apiserver.node_authorization import NodeAuthorizer
from apiserver.node_graph import NodeGraph
from apiserver.options import Options
from apiserver.pki import SIGNING_KEY
from apiserver.rbac.authorizer import RbacAuthorizer
from apiserver.rest.call import storage_key
from apiserver.rest.cluster import StoredCluster
from apiserver.rest.own_writes import OwnWrites
from apiserver.rest.questions import Question, Questions
from apiserver.reviews import Reviews
from apiserver.serviceaccounts.openid import OpenIDDiscovery
from apiserver.serviceaccounts.secrets import TokenSecrets
from apiserver.serviceaccounts.signing import SigningKey, read_keys
from apiserver.serviceaccounts.token_requests import TOKEN_REQUEST, TokenRequests, complete
from apiserver.serviceaccounts.verification import TokenVerifier
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from apiserver.storage.watch import DELETED, Event


class Access(NamedTuple):
    """The parts; `loops` are to be run for as long as the server does."""

    authenticator: Authenticator
    authorizer: Authorizer
    questions: Questions
    openid: OpenIDDiscovery
    loops: tuple[Callable[[], Coroutine[Any, Any, None]], ...]


def access(options: Options, store: Store, *, now: Callable[[], float]) -> Access:
    """All of it over a store. Raises OSError and TokenFileError for files that can't be used."""
    path = options.service_account_signing_key_file or options.data_dir / SIGNING_KEY
    key = SigningKey(path.read_bytes(), str(path))
    keys = [key.public, *read_keys(options.service_account_key_files)]
    issuers, audiences = options.service_account_issuers, options.api_audiences

    def find(resource: Resource, namespace: str, name: str) -> Entry | None:
        return store.get(storage_key(resource), namespace, name)

    bootstrap = BootstrapTokens(StoredCluster(store), now=now) if options.bootstrap_token_auth else None
    authenticator = Authenticator(
        read_token_file(options.token_auth_file or options.data_dir / "tokens.csv"),
        accounts=TokenVerifier(keys, find, issuers=issuers, audiences=audiences, now=now),
        bootstrap=bootstrap,
        audiences=audiences,
        now=now,
        proxies=options.front_proxy,
        anonymous=options.anonymous_auth,
    )
    authorizer = _authorizer(store)
    requests = TokenRequests(
        key,
        StoredCluster(store),
        issuer=issuers[0],
        audiences=audiences,
        seconds_max=int(options.service_account_max_token_expiration_seconds),
        extend=options.service_account_extend_token_expiration,
        now=now,
    )
    questions = {
        **Reviews(authenticator, authorizer, now=now).questions(),
        (*resources.SERVICEACCOUNTS.key, "token"): Question(TOKEN_REQUEST, requests.answer, complete),
    }
    openid = OpenIDDiscovery(issuers[0], keys, server_url=options.server_url)
    return Access(authenticator, authorizer, questions, openid, _loops(options, store, key, now))


def _loops(
    options: Options, store: Store, key: SigningKey, now: Callable[[], float]
) -> tuple[Callable[[], Coroutine[Any, Any, None]], ...]:
    own, folder = OwnWrites(store, now), options.data_dir / "pki"
    signer = CertificateSigner(own, folder, seconds_max=options.cluster_signing_seconds, now=now)
    secrets_of = partial(store.objects, storage_key(resources.SECRETS))
    secrets = TokenSecrets(own, secrets_of, key, (folder / "ca.crt").read_bytes())
    return (
        partial(follow, store, resources.CERTIFICATESIGNINGREQUESTS, signer.handle),
        partial(follow, store, resources.SECRETS, secrets.secret_changed),
        partial(follow, store, resources.SERVICEACCOUNTS, secrets.account_changed),
    )


def _authorizer(store: Store) -> Authorizer:
    cluster = StoredCluster(store)
    roles = RbacAuthorizer(cluster)
    for resource in (resources.ROLES, resources.CLUSTERROLES):
        store.listen(storage_key(resource), lambda _: roles.role_changed())
    for resource in (resources.ROLEBINDINGS, resources.CLUSTERROLEBINDINGS):
        store.listen(storage_key(resource), lambda event: roles.binding_changed(*_before_and_after(event)))
    graph = NodeGraph(partial(cluster.list, resources.PODS))

    def pod_changed(event: Event) -> None:
        if graph.follows(event.entry.namespace):
            graph.pod_changed(*_before_and_after(event))

    store.listen(storage_key(resources.PODS), pod_changed)
    return Authorizer(NodeAuthorizer(cluster, graph, policy.node_rules()), roles)


def _before_and_after(event: Event) -> tuple[Object | None, Object | None]:
    before = event.previous.obj if event.previous is not None else None
    return before, None if event.type == DELETED else event.entry.obj
