"""What strings of a format look like. A format that is not named here constrains nothing.

Names are compared without their hyphens: `date-time` and `datetime` are one.

Source: k8s.io/kube-openapi/pkg/validation/strfmt and the Go packages that it parses with.
"""

from __future__ import annotations

import ipaddress
import re
from calendar import monthrange
from collections.abc import Callable

from apimachinery.duration import parse_duration
from apimachinery.structural.patterns import matches
from apimachinery.structural.uris import is_request_uri

Check = Callable[[str], bool]

_HOSTNAME = (
    r"^([a-zA-Z0-9\p{S}\p{L}]((-?[a-zA-Z0-9\p{S}\p{L}]{0,62})?)|"
    r"([a-zA-Z0-9\p{S}\p{L}](([a-zA-Z0-9-\p{S}\p{L}]{0,61}[a-zA-Z0-9\p{S}\p{L}])?)(\.)){1,}([a-zA-Z\p{L}]){2,63})$"
)
_BITS = re.compile(r"[0-9]{1,3}")
_DATE = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(.\d+)?(z|([+-]\d\d:\d\d))", re.ASCII)
_SCALA_DURATION = re.compile(r"\d+\s*([A-Za-zµ]+)", re.ASCII)
_SCALA_UNITS = (
    *(("ns", "nano"), ("us", "µs", "micro"), ("ms", "milli"), ("s", "sec")),
    *(("m", "min"), ("h", "hr", "hour"), ("d", "day"), ("w", "wk", "week")),
)
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x80-\U0010ffff]+"
_ADDRESS = rf'({_ATOM}(\.{_ATOM})*|"([^"\\\r\n]|\\.)*")@({_ATOM}(\.{_ATOM})*|\[[^\[\]\\]*\])'
_EMAIL = re.compile(rf"\s*({_ADDRESS}|[^<>@]*<\s*{_ADDRESS}\s*>)\s*")
_MACS = [
    re.compile(form, re.IGNORECASE)
    for count in (6, 8, 20)
    for form in (
        rf"[0-9a-f]{{2}}(:[0-9a-f]{{2}}){{{count - 1}}}",
        rf"[0-9a-f]{{2}}(-[0-9a-f]{{2}}){{{count - 1}}}",
        rf"[0-9a-f]{{4}}(\.[0-9a-f]{{4}}){{{count // 2 - 1}}}",
    )
]
_BYTE = r"0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5]"
_CARD = (
    r"4[0-9]{12}(?:[0-9]{3})?|5[1-5][0-9]{14}|6(?:011|5[0-9][0-9])[0-9]{12}|3[47][0-9]{13}|"
    r"3(?:0[0-5]|[68][0-9])[0-9]{11}|(?:2131|1800|35\d{3})\d{11}"
)
_SHORT_NAME = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"


def _looks(pattern: str, flags: int = 0) -> Check:
    compiled = re.compile(pattern, flags | re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _uuid(version: str = "[0-9a-f]", variant: str = "[0-9a-f]") -> Check:
    form = rf"[0-9a-f]{{8}}-?[0-9a-f]{{4}}-?{version}[0-9a-f]{{3}}-?{variant}[0-9a-f]{{3}}-?[0-9a-f]{{12}}"
    return _looks(form, re.IGNORECASE)


def _hostname(text: str) -> bool:
    return (
        len(text.encode()) <= 255 and all(len(p.encode()) <= 63 for p in text.split(".")) and matches(_HOSTNAME, text)
    )


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An IP address; leading zeros are no matter."""
    try:
        return ipaddress.ip_address(re.sub(r"(^|[.:])0+(?=\d)", r"\1", text) if "." in text else text)
    except ValueError:
        return None


def _ipv4(text: str) -> bool:
    return "." in text and "%" not in text and _address(text) is not None


def _ipv6(text: str) -> bool:
    try:
        return ":" in text and "%" not in text and bool(ipaddress.ip_address(text) or True)
    except ValueError:
        return False


def _cidr(text: str) -> bool:
    host, _, bits = text.partition("/")
    parsed = _address(host) if "%" not in host else None
    return parsed is not None and _BITS.fullmatch(bits) is not None and int(bits) <= parsed.max_prefixlen


def _date(text: str) -> bool:
    found = _DATE.fullmatch(text)
    if found is None:
        return False
    year, month, day = map(int, found.groups())
    return 1 <= month <= 12 and 1 <= day <= monthrange(year or 2000, month)[1]


def _date_time(text: str) -> bool:
    date, _, time = text.lower().partition("t")
    found = _TIME.fullmatch(time)
    return found is not None and _date(date) and found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def _duration(text: str) -> bool:
    try:
        parse_duration(text)
        return True
    except ValueError:
        return any(_is_unit(found[1].strip().lower()) for found in _SCALA_DURATION.finditer(text))


def _is_unit(unit: str) -> bool:
    return any(unit in names or unit.startswith(names[-1]) for names in _SCALA_UNITS)


def _mac(text: str) -> bool:
    return any(form.fullmatch(text) for form in _MACS)


def _credit_card(text: str) -> bool:
    digits = re.sub("[^0-9]+", "", text)
    if not re.fullmatch(_CARD, digits, re.ASCII):
        return False
    doubled = [int(digit) * (1 + number % 2) for number, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch("[0-9]{9}[0-9X]", digits):
        return False
    values = [10 if digit == "X" else int(digit) for digit in digits]
    return sum((place + 1) * value for place, value in enumerate(values)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch("[0-9]{13}", digits):
        return False
    return sum(int(digit) * (1, 3)[place % 2] for place, digit in enumerate(digits)) % 10 == 0


FORMATS: dict[str, Check] = {
    "bsonobjectid": _looks("[0-9a-fA-F]{24}"),
    "uri": is_request_uri,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": _hostname,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "cidr": _cidr,
    "mac": _mac,
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4", "[89ab]"),
    "uuid5": _uuid("5", "[89ab]"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _looks(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _looks("#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _looks(rf"rgb\(\s*({_BYTE})\s*,\s*({_BYTE})\s*,\s*({_BYTE})\s*\)"),
    "byte": _looks("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})"),
    "password": lambda text: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": lambda text: len(text) <= 63 and re.fullmatch(_SHORT_NAME, text) is not None,
    "k8slongname": lambda text: (
        len(text) <= 253 and re.fullmatch(rf"{_SHORT_NAME}(\.{_SHORT_NAME})*", text) is not None
    ),
}


def normalized(name: str) -> str:
    """The name under which a format stands in FORMATS."""
    return name.replace("-", "")


def is_known(name: str) -> bool:
    """Whether a format constrains anything."""
    return normalized(name) in FORMATS
