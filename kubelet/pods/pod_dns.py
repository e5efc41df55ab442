"""Whom a pod asks for names: its resolv.conf, by its dnsPolicy and dnsConfig. Pure.

Source: https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object
from kubelet.pods import pod_spec

NAMESERVERS_MAX, SEARCH_DOMAINS_MAX, SEARCH_CHARACTERS_MAX = 3, 32, 2048
# Some resolvers abort at a longer one (glibc 2.28).
SEARCH_DOMAIN_CHARACTERS_MAX = 253


@dataclass(frozen=True, slots=True)
class ClusterDNS:
    """The DNS that pods with the policy ClusterFirst ask; without servers they ask what the node asks."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


@dataclass(frozen=True, slots=True)
class Resolver:
    """The text of a resolv.conf, and what had to be left out of it, in the words of the event that tells of it."""

    text: str
    problems: tuple[str, ...] = ()


def resolver(pod: Object, *, node: str, dns: ClusterDNS) -> Resolver:
    """What a pod's resolv.conf says; `node` is the text of the node's own."""
    servers, searches, options = _by_policy(pod, node, dns)
    config: dict[str, Any] = pod["spec"].get("dnsConfig") or {}
    servers = list(dict.fromkeys([*servers, *(config.get("nameservers") or ())]))
    searches = list(dict.fromkeys([*searches, *(config.get("searches") or ())]))
    options = _merged_options(options, config.get("options") or ())
    problems = []
    if len(servers) > NAMESERVERS_MAX:
        servers = servers[:NAMESERVERS_MAX]
        problems.append(_problem("Nameserver", "nameservers", "nameserver", servers))
    fitting = _fitting(searches)
    if fitting != searches:
        searches = fitting
        problems.append(_problem("Search Line", "search paths", "search", searches))
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers]
    lines += [f"options {' '.join(options)}"] if options else []
    return Resolver("".join(f"{line}\n" for line in lines), tuple(problems))


def asks_itself(node: str) -> bool:
    """Whether a node asks only a server of its own, which a pod with a network of its own does not reach."""
    servers, _, _ = _parsed(node)
    return bool(servers) and all(server.startswith("127.") or server == "::1" for server in servers)


def _by_policy(pod: Object, node: str, dns: ClusterDNS) -> tuple[list[str], list[str], list[str]]:
    """(name servers, search domains, options) before the pod's own are added."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pod_spec.host_network(pod):
        policy = "Default"
    if policy == "None":
        return [], [], []
    servers, searches, options = _parsed(node)
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet") and dns.servers:
        namespace = pod["metadata"]["namespace"]
        cluster = [f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
        return list(dns.servers), [*cluster, *searches], ["ndots:5"]
    return servers, searches, options


def _parsed(text: str) -> tuple[list[str], list[str], list[str]]:
    """(name servers, search domains, options) of a resolv.conf (resolv.conf(5): the last search counts)."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *domains]:
                searches = [domain.rstrip(".") or "." for domain in domains]
            case ["options", *given]:
                options = given
    return servers, searches, options


def _fitting(searches: Sequence[str]) -> list[str]:
    fitting = [domain for domain in searches[:SEARCH_DOMAINS_MAX] if len(domain) <= SEARCH_DOMAIN_CHARACTERS_MAX]
    while len(" ".join(fitting)) > SEARCH_CHARACTERS_MAX:
        fitting.pop()
    return fitting


def _merged_options(options: Sequence[str], more: Sequence[dict[str, str]]) -> list[str]:
    merged = {option.partition(":")[0]: option for option in options}
    for entry in more:
        value = entry.get("value")
        merged[entry["name"]] = f"{entry['name']}:{value}" if value else entry["name"]
    return list(merged.values())


def _problem(limits: str, what: str, line: str, applied: Sequence[str]) -> str:
    text = f"{limits} limits were exceeded, some {what} have been omitted, the applied {line} line is: "
    return text + " ".join(applied)
