"""IP addresses and CIDR blocks.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-ip-address-library
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.library.strings import traversal
from apimachinery.cel.types import BOOL, INT, STRING, CelType, opaque

LIBRARY = Library()
IP_TYPE, CIDR_TYPE = opaque("net.IP"), opaque("net.CIDR")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_CIDR_BYTES = {4: 4, 6: 16}


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    address: Address
    cel_type: ClassVar[CelType] = IP_TYPE


@dataclass(frozen=True, slots=True)
class Cidr:
    """An address and how many of its first bits name the network; the other bits are kept."""

    address: Address
    bits: int
    cel_type: ClassVar[CelType] = CIDR_TYPE

    def masked(self) -> Cidr:
        """The same network with the other bits zero."""
        network = ipaddress.ip_network((self.address, self.bits), strict=False)
        return Cidr(network.network_address, self.bits)

    def contains(self, address: Address) -> bool:
        """Whether an address lies in the network."""
        shift = self.address.max_prefixlen - self.bits
        return address.version == self.address.version and int(address) >> shift == int(self.address) >> shift


def parse_ip(text: str) -> Address:
    """An address in its plain form. Raises CelEvaluationError."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise CelEvaluationError(
            f'IP Address "{text}" parse error during conversion from string: ParseAddr("{text}"): unable to parse IP'
        )
    if "%" in text:
        raise CelEvaluationError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelEvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return address


def parse_cidr(text: str) -> Cidr:
    """An address with a prefix length. Raises CelEvaluationError."""
    host, slash, digits = text.rpartition("/")
    failed = CelEvaluationError(
        f'network address parse error during conversion from string: netip.ParsePrefix("{text}"): invalid'
    )
    if not slash or not (digits.isascii() and digits.isdigit()) or (len(digits) > 1 and digits[0] == "0"):
        raise failed
    if len(digits) > 3 or "%" in host:
        raise failed
    address = parse_ip(host)
    if int(digits) > address.max_prefixlen:
        raise failed
    return Cidr(address, int(digits))


def _succeeds(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def is_valid(text: str) -> bool:
        try:
            parse(text)
        except CelEvaluationError:
            return False
        return True

    return is_valid


LIBRARY.function("ip", STRING, result=IP_TYPE, cost=traversal)(lambda text: Ip(parse_ip(text)))
LIBRARY.function("isIP", STRING, result=BOOL, cost=traversal)(_succeeds(parse_ip))
LIBRARY.function("string", IP_TYPE, result=STRING)(lambda ip: str(ip.address))


@LIBRARY.function("ip.isCanonical", STRING, result=BOOL, cost=lambda _result, text: strings_cost(2 * len(text)))
def _is_canonical(text: str) -> bool:
    return str(parse_ip(text)) == text


def _is_global_unicast(address: Address) -> bool:
    """As Go has it: private addresses are, too."""
    special = address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    return not special and str(address) != "255.255.255.255"


_LINK_LOCAL_MULTICAST = ipaddress.ip_network("224.0.0.0/24")


def _is_link_local_multicast(address: Address) -> bool:
    if address.version == 4:
        return address in _LINK_LOCAL_MULTICAST
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


LIBRARY.method("family", IP_TYPE, result=INT)(lambda ip: ip.address.version)
LIBRARY.method("isUnspecified", IP_TYPE, result=BOOL)(lambda ip: ip.address.is_unspecified)
LIBRARY.method("isLoopback", IP_TYPE, result=BOOL)(lambda ip: ip.address.is_loopback)
LIBRARY.method("isLinkLocalMulticast", IP_TYPE, result=BOOL)(lambda ip: _is_link_local_multicast(ip.address))
LIBRARY.method("isLinkLocalUnicast", IP_TYPE, result=BOOL)(lambda ip: ip.address.is_link_local)
LIBRARY.method("isGlobalUnicast", IP_TYPE, result=BOOL)(lambda ip: _is_global_unicast(ip.address))


def _ip_cost(_result: bool, cidr: Cidr, _ip: Any) -> int:
    return strings_cost(2 * _CIDR_BYTES[cidr.address.version])


def _cidr_cost(_result: bool, cidr: Cidr, _other: Any) -> int:
    size = _CIDR_BYTES[cidr.address.version]
    return strings_cost(2 * size) + strings_cost(size) + 1


LIBRARY.function("cidr", STRING, result=CIDR_TYPE, cost=traversal)(parse_cidr)
LIBRARY.function("isCIDR", STRING, result=BOOL, cost=traversal)(_succeeds(parse_cidr))
LIBRARY.function("string", CIDR_TYPE, result=STRING)(lambda cidr: f"{cidr.address}/{cidr.bits}")
LIBRARY.method("ip", CIDR_TYPE, result=IP_TYPE)(lambda cidr: Ip(cidr.address))
LIBRARY.method("prefixLength", CIDR_TYPE, result=INT)(lambda cidr: cidr.bits)
LIBRARY.method("masked", CIDR_TYPE, result=CIDR_TYPE)(Cidr.masked)


@LIBRARY.method("containsIP", CIDR_TYPE, STRING, result=BOOL, cost=_ip_cost)
def _contains_ip_text(cidr: Cidr, text: str) -> bool:
    return cidr.contains(parse_ip(text))


@LIBRARY.method("containsIP", CIDR_TYPE, IP_TYPE, result=BOOL, cost=_ip_cost)
def _contains_ip(cidr: Cidr, ip: Ip) -> bool:
    return cidr.contains(ip.address)


@LIBRARY.method("containsCIDR", CIDR_TYPE, STRING, result=BOOL, cost=_cidr_cost)
def _contains_cidr_text(cidr: Cidr, text: str) -> bool:
    return _contains_cidr(cidr, parse_cidr(text))


@LIBRARY.method("containsCIDR", CIDR_TYPE, CIDR_TYPE, result=BOOL, cost=_cidr_cost)
def _contains_cidr(cidr: Cidr, other: Cidr) -> bool:
    return cidr.bits <= other.bits and cidr.contains(other.address)
