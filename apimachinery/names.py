"""What names, labels and annotations may look like; each check returns what is wrong, in Kubernetes' words.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/, RFC 1035, RFC 1123.
"""

from __future__ import annotations

import re

LABEL_MAX, SUBDOMAIN_MAX = 63, 253
_LABEL_1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_WILDCARD_SUBDOMAIN = re.compile(rf"\*\.{_SUBDOMAIN.pattern}")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ENV_NAME = re.compile(r"[ -<>-~]+")
_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+")


def _check(value: str, pattern: re.Pattern[str], maximum: int, message: str) -> list[str]:
    problems = []
    if len(value) > maximum:
        problems.append(f"must be no more than {maximum} characters")
    if not pattern.fullmatch(value):
        problems.append(message)
    return problems


def dns1123_label(value: str) -> list[str]:
    """A label of a DNS name: 63 lower-case letters, digits and hyphens."""
    message = (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
        "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    )
    if "." in value and _SUBDOMAIN.fullmatch(value):
        message = "must not contain dots"
    return _check(value, _LABEL_1123, LABEL_MAX, message)


def dns1035_label(value: str) -> list[str]:
    """A label of a DNS name that begins with a letter."""
    message = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
        "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
    )
    return _check(value, _LABEL_1035, LABEL_MAX, message)


def dns1123_subdomain(value: str) -> list[str]:
    """A DNS name: labels with dots between them, 253 characters."""
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and "
        "must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
        "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    return _check(value, _SUBDOMAIN, SUBDOMAIN_MAX, message)


def wildcard_subdomain(value: str) -> list[str]:
    """A DNS name whose first label is `*`."""
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
        "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. "
        "'*.example.com', regex used for validation is "
        "'\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    )
    return _check(value, _WILDCARD_SUBDOMAIN, SUBDOMAIN_MAX, message)


def qualified_name(value: str) -> list[str]:
    """A key of a label or annotation: a name, perhaps with a DNS name and a slash before it."""
    prefix, slash, rest = value.partition("/")
    must = (
        "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
        "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
        "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    )
    if not slash:
        prefix, rest = "", value
    if "/" in rest:
        return [f"a qualified name {must} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    problems = []
    if slash and not prefix:
        problems.append("prefix part must be non-empty")
    elif slash:
        problems += [f"prefix part {problem}" for problem in dns1123_subdomain(prefix)]
    if not rest:
        problems.append("name part must be non-empty")
    return problems + [f"name part {problem}" for problem in _check(rest, _QUALIFIED, LABEL_MAX, must)]


def label_value(value: str) -> list[str]:
    """A label's value: empty, or 63 letters, digits, `-`, `_` and `.`."""
    message = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
        "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
        "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
    )
    return _check(value, _QUALIFIED, LABEL_MAX, message) if value else []


def env_name(value: str) -> list[str]:
    """A name of an environment variable: printable ASCII without `=`."""
    if not value:
        return ["environment variable name must be non-empty"]
    message = "a valid environment variable name must consist only of printable ASCII characters other than '='"
    return [] if _ENV_NAME.fullmatch(value) else [message]


def config_key(value: str) -> list[str]:
    """A key of a ConfigMap or Secret: a file name of 253 letters, digits, `-`, `_` and `.`."""
    if value in (".", ".."):
        return [f"must not be '{value}'"]
    message = (
        "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
        "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
    )
    problems = _check(value, _CONFIG_KEY, SUBDOMAIN_MAX, message)
    return [*problems, "must not start with '..'"] if value.startswith("..") else problems


def path_segment(value: str) -> list[str]:
    """A name that may stand in a URL's path as it is: the widest that there is, as of roles."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in "/%" if character in value]
