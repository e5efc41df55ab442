"""Small checks that many resources' fields share; each adds what is wrong to a list, in Kubernetes' words.

A path is the field's own. What is absent, null or empty counts as Go's zero value does: it is not set.

Source: k8s.io/apimachinery/pkg/util/validation and kubernetes/pkg/apis/core/validation.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any

import orjson

from apimachinery import names
from apimachinery.field import FieldError, invalid_value, not_supported, required

Fields = Mapping[str, Any]
Errors = list[FieldError]

NOT_NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
PORT_RANGE = "must be between 1 and 65535, inclusive"
PROTOCOLS = ("SCTP", "TCP", "UDP")
INT32_MAX = 2**31 - 1
FILE_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_PORT_CHARACTERS = re.compile(r"[-a-z0-9]+")
_LETTER = re.compile(r"[a-z]")
_PERCENT = re.compile(r"[0-9]+%")
_LEADING_ZEROS = re.compile(r"(^|\.)0+(?=\d)")
_PERCENT_MESSAGE = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)

# The same names come again and again, in every pod of a workload.
_label_problems = lru_cache(maxsize=4096)(names.dns1123_label)
subdomain_problems = lru_cache(maxsize=4096)(names.dns1123_subdomain)
_qualified_problems = lru_cache(maxsize=4096)(names.qualified_name)


def _checker(problems: Callable[[str], list[str]]) -> Callable[[str, str, Errors], None]:
    def check(value: str, path: str, errors: Errors) -> None:
        if found := problems(value):
            errors += [invalid_value(path, value, why) for why in found]

    return check


dns_label = _checker(_label_problems)
dns_subdomain = _checker(subdomain_problems)
qualified_name = _checker(_qualified_problems)
service_name = _checker(names.dns1035_label)
wildcard_subdomain = _checker(names.wildcard_subdomain)
path_segment = _checker(names.path_segment)


def required_name(value: str | None, check: Callable[[str, str, Errors], None], path: str, errors: Errors) -> None:
    """A name that must be set and pass a check."""
    if value:
        check(value, path, errors)
    else:
        errors.append(required(path))


def choice(value: Any, allowed: Collection[str], path: str, errors: Errors) -> None:
    """One of a fixed set, and set at all."""
    if value in allowed:
        return
    errors.append(not_supported(path, value, sorted(allowed)) if value else required(path))


def optional_choice(value: Any, allowed: Collection[str], path: str, errors: Errors) -> None:
    """One of a fixed set, if it is set."""
    if value is not None and value not in allowed:
        errors.append(not_supported(path, value, sorted(allowed)))


def not_negative(value: int | None, path: str, errors: Errors) -> None:
    """Zero or more."""
    if value is not None and value < 0:
        errors.append(invalid_value(path, value, NOT_NEGATIVE))


def positive(value: int | None, path: str, errors: Errors) -> None:
    """One or more."""
    if (value or 0) <= 0:
        errors.append(invalid_value(path, value or 0, NOT_POSITIVE))


def in_range(value: int, low: int, high: int, path: str, errors: Errors) -> None:
    """A number between two, both allowed."""
    if not low <= value <= high:
        errors.append(invalid_value(path, value, f"must be between {low} and {high}, inclusive"))


def user_or_group(value: int | None, path: str, errors: Errors) -> None:
    """A user or group id, if it is set."""
    if value is not None:
        in_range(value, 0, INT32_MAX, path, errors)


def port_number(value: int, path: str, errors: Errors) -> None:
    """The number of a port."""
    if not 1 <= value <= 65535:
        errors.append(invalid_value(path, value, PORT_RANGE))


def port_name_problems(value: str) -> list[str]:
    """The name of a port, as IANA knows them: 15 small letters, digits and single hyphens, one letter at least."""
    found = []
    if len(value) > 15:
        found.append("must be no more than 15 characters")
    if not _PORT_CHARACTERS.fullmatch(value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _LETTER.search(value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def port(value: int | str | None, path: str, errors: Errors) -> None:
    """The number of a port, or its name in the pod."""
    if isinstance(value, str):
        errors += [invalid_value(path, value, why) for why in port_name_problems(value)]
    else:
        port_number(value or 0, path, errors)


def protocol(value: str | None, path: str, errors: Errors) -> None:
    """TCP, UDP or SCTP."""
    choice(value, PROTOCOLS, path, errors)


def file_mode(value: int | None, path: str, errors: Errors) -> None:
    """The permissions of a file, if they are set."""
    if value is not None and not 0 <= value <= 0o777:
        errors.append(invalid_value(path, value, FILE_MODE))


def count_or_percent(value: int | str | None, path: str, errors: Errors) -> None:
    """A number of pods, or a share such as `25%`."""
    if isinstance(value, str):
        if not _PERCENT.fullmatch(value):
            errors.append(invalid_value(path, value, _PERCENT_MESSAGE))
    else:
        not_negative(value, path, errors)


def count_or_percent_number(value: int | str | None) -> int:
    """The number in a count or a share, whichever it is; 0 for what is neither."""
    if isinstance(value, str):
        digits = value.removesuffix("%")
        return int(digits) if digits.isascii() and digits.isdigit() else 0
    return value or 0


def at_most_all(value: int | str | None, path: str, errors: Errors) -> None:
    """A share is 100% at most."""
    if isinstance(value, str) and _PERCENT.fullmatch(value) and int(value[:-1]) > 100:
        errors.append(invalid_value(path, value, "must not be greater than 100%"))


def parse_ip(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with the leading zeros that Go's older parser allows."""
    try:
        return ipaddress.ip_address(_LEADING_ZEROS.sub(r"\1", value) if "." in value else value)
    except ValueError:
        return None


def ip_address(value: str, path: str, errors: Errors) -> None:
    """An IP address."""
    if parse_ip(value) is None:
        errors.append(invalid_value(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"))


def cidr(value: str, path: str, errors: Errors) -> None:
    """A network, as `10.9.8.0/24`."""
    address, _, bits = value.partition("/")
    parsed = parse_ip(address)
    if parsed is None or not (bits.isascii() and bits.isdigit()) or int(bits) > parsed.max_prefixlen:
        message = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        errors.append(invalid_value(path, value, message))


def strict_ip_address(value: str, path: str, errors: Errors) -> None:
    """An IP address in its one canonical form, for fields that no older client has ever filled."""
    errors += [invalid_value(path, value, why) for why in strict_ip_problems(value)]


def strict_ip_problems(value: str) -> list[str]:
    """What is wrong with an address that must be canonical."""
    parsed = parse_ip(value)
    if parsed is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    if parsed.version == 6 and parsed.ipv4_mapped is not None:
        return ["must not be an IPv4-mapped IPv6 address"]
    if value == str(parsed):
        return []
    return ["must not have leading 0s"] if parsed.version == 4 else [f'must be in canonical form ("{parsed}")']


def strict_cidr(value: str, path: str, errors: Errors) -> None:
    """A network in its one canonical form."""
    before = len(errors)
    cidr(value, path, errors)
    if len(errors) > before:
        return
    address, _, bits = value.partition("/")
    parsed = parse_ip(address)
    if parsed is None:
        return
    network = ipaddress.ip_network(f"{parsed}/{int(bits)}", strict=False)
    why = ""
    if bits != str(int(bits)) or (parsed.version == 4 and address != str(parsed)):
        why = "must not have leading 0s in IP or prefix length"
    elif parsed.version == 6 and parsed.ipv4_mapped is not None:
        why = "must not have an IPv4-mapped IPv6 address"
    elif parsed != network.network_address:
        why = "must not have bits set beyond the prefix length"
    elif value != str(network):
        why = f'must be in canonical form ("{network}")'
    if why:
        errors.append(invalid_value(path, value, why))


def one_of_each_family(addresses: Collection[str]) -> bool:
    """True if no two addresses or networks are of the same IP family."""
    families = [":" in address for address in addresses]
    return len(set(families)) == len(families)


def reachable_address(value: str, path: str, errors: Errors) -> None:
    """An address that other machines can reach."""
    address = parse_ip(value)
    if address is None:
        errors.append(invalid_value(path, value, "must be a valid IP address"))
        return
    if address.is_unspecified:
        errors.append(invalid_value(path, value, f"may not be unspecified ({value})"))
    if address.is_loopback:
        message = "may not be in the loopback range (127.0.0.0/8, ::1/128)"
        errors.append(invalid_value(path, value, message))
    if address.is_link_local:
        message = "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
        errors.append(invalid_value(path, value, message))
    if address.is_multicast and address in _LINK_LOCAL_MULTICAST[address.version]:
        message = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        errors.append(invalid_value(path, value, message))


_LINK_LOCAL_MULTICAST: dict[int, Any] = {
    4: ipaddress.ip_network("224.0.0.0/24"),
    6: ipaddress.ip_network("ff02::/16"),
}


def relative_path(value: str, path: str, errors: Errors) -> None:
    """A path below some folder, which it does not leave."""
    if value.startswith("/"):
        errors.append(invalid_value(path, value, "must be a relative path"))
    no_backsteps(value, path, errors)


def no_backsteps(value: str, path: str, errors: Errors) -> None:
    """A path without `..`."""
    if ".." in value and ".." in value.split("/"):
        errors.append(invalid_value(path, value, "must not contain '..'"))


def file_in_volume(value: str, path: str, errors: Errors) -> None:
    """A path at which a volume has a file of its own; those beginning with `..` are the volume's internals."""
    relative_path(value, path, errors)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(invalid_value(path, value, "must not start with '..'"))


_PATH_FORM = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_PATH = re.compile(_PATH_FORM)


def domain_path(value: str, path: str, errors: Errors) -> None:
    """A path in somebody's domain, as `acme.io/foo`."""
    if not value:
        errors.append(required(path))
        return
    host, _, rest = value.partition("/")
    if not host or not rest:
        errors.append(invalid_value(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")'))
        return
    dns_subdomain(host, path, errors)
    if not _PATH.fullmatch(rest):
        why = f"Invalid path (regex used for validation is '{_PATH_FORM}')"
        errors.append(invalid_value(path, rest, why))


def domain_key(value: str, path: str, errors: Errors) -> None:
    """The key of a label in somebody's domain, as `acme.io/foo`."""
    if not value:
        errors.append(required(path))
    elif problems := _qualified_problems(value):
        errors += [invalid_value(path, value, why) for why in problems]
    elif "/" not in value:
        errors.append(invalid_value(path, value, 'must be a domain-prefixed key (such as "acme.io/foo")'))


def repeated(items: Sequence[Any]) -> set[int]:
    """The numbers of the items that are like one before them, found in one go however many there are."""
    seen: set[Any] = set()
    found: set[int] = set()
    for number, item in enumerate(items):
        key = item if isinstance(item, str) else orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
        if key in seen:
            found.add(number)
        seen.add(key)
    return found
