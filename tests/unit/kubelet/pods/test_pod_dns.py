"""Whom pods ask for names, by their dnsPolicy and dnsConfig."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from kubelet.pods.pod_dns import ClusterDNS, asks_itself, resolver
from tests.support.pods import pod

NODE_RESOLV = "nameserver 192.0.2.1\nsearch corp.example.\noptions timeout:1\n"
DNS = ClusterDNS(("10.96.0.10",), "cluster.local")


def text(obj: Object, dns: ClusterDNS = DNS) -> str:
    made = resolver(obj, node=NODE_RESOLV, dns=dns)
    assert made.problems == ()
    return made.text


def test_pods_ask_the_clusters_dns_first() -> None:
    assert text(pod()) == (
        "search default.svc.cluster.local svc.cluster.local cluster.local corp.example\n"
        "nameserver 10.96.0.10\n"
        "options ndots:5\n"
    )


def test_without_a_cluster_dns_pods_ask_what_the_node_asks() -> None:
    expected = "search corp.example\nnameserver 192.0.2.1\noptions timeout:1\n"
    assert text(pod(), ClusterDNS()) == expected
    assert text(pod(dnsPolicy="Default")) == expected
    assert text(pod(hostNetwork=True)) == expected


def test_a_pod_may_bring_its_own_dns_configuration() -> None:
    own = {
        "nameservers": ["192.0.2.53"],
        "searches": ["example.org"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}],
    }
    alone = text(pod(dnsPolicy="None", dnsConfig=own))
    assert alone == "search example.org\nnameserver 192.0.2.53\noptions ndots:2 rotate\n"
    added = text(pod(dnsConfig=own))
    assert "nameserver 10.96.0.10\nnameserver 192.0.2.53\n" in added
    assert "options ndots:2 rotate\n" in added


def test_a_pod_on_the_nodes_network_asks_the_clusters_dns_if_it_says_so() -> None:
    named = pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet")
    assert text(named) == text(pod())


@pytest.mark.parametrize("domains", [33, 40])
def test_more_search_domains_than_32_are_left_out_and_that_is_told(domains: int) -> None:
    own = {"nameservers": ["192.0.2.53"], "searches": [f"d{number}.example" for number in range(domains)]}
    made = resolver(pod(dnsPolicy="None", dnsConfig=own), node=NODE_RESOLV, dns=DNS)
    applied = " ".join(f"d{number}.example" for number in range(32))
    assert made.text == f"search {applied}\nnameserver 192.0.2.53\n"
    assert made.problems == (
        "Search Line limits were exceeded, some search paths have been omitted, "
        f"the applied search line is: {applied}",
    )


def test_search_domains_may_have_2048_characters_together_and_253_each() -> None:
    long = [f"{number:03}." + "a" * 246 + ".b" for number in range(10)]
    own = {"nameservers": ["192.0.2.53"], "searches": ["x" * 254, *long]}
    made = resolver(pod(dnsPolicy="None", dnsConfig=own), node=NODE_RESOLV, dns=DNS)
    search = made.text.splitlines()[0].removeprefix("search ")
    assert search.split() == long[:8] and len(search) <= 2048 and made.problems[0].endswith(search)


def test_more_name_servers_than_three_are_left_out_and_that_is_told() -> None:
    own = {"nameservers": [f"192.0.2.{number}" for number in range(4)]}
    made = resolver(pod(dnsConfig=own), node=NODE_RESOLV, dns=DNS)
    assert made.problems == (
        "Nameserver limits were exceeded, some nameservers have been omitted, "
        "the applied nameserver line is: 10.96.0.10 192.0.2.0 192.0.2.1",
    )


def test_what_is_named_twice_counts_once() -> None:
    own = {"nameservers": ["10.96.0.10"], "searches": ["cluster.local"]}
    assert text(pod(dnsConfig=own)) == text(pod())


@pytest.mark.parametrize(
    ("servers", "alone"),
    [
        (["127.0.0.53"], True),
        (["127.0.0.1", "::1"], True),
        (["127.0.0.53", "192.0.2.1"], False),
        (["192.0.2.1"], False),
        ([], False),
    ],
)
def test_a_node_that_asks_only_itself_is_known(servers: list[str], alone: bool) -> None:
    assert asks_itself("".join(f"nameserver {server}\n" for server in servers)) is alone
