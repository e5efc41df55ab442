"""Names are refused in Kubernetes' own words."""

from __future__ import annotations

import pytest

from apimachinery import names

LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)


@pytest.mark.parametrize(
    ("check", "value", "problems"),
    [
        (names.dns1123_label, "web-1", []),
        (names.dns1123_label, "web.example", ["must not contain dots"]),
        (names.dns1123_label, "Web", [LABEL]),
        (names.dns1123_label, "a" * 64, ["must be no more than 63 characters"]),
        (names.qualified_name, "app.kubernetes.io/name", []),
        (names.qualified_name, "/name", ["prefix part must be non-empty"]),
        (names.qualified_name, "", ["name part must be non-empty", f"name part {QUALIFIED}"]),
        (names.qualified_name, "a b", [f"name part {QUALIFIED}"]),
        (
            names.qualified_name,
            "a/b/c",
            [
                f"a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' "
                "(e.g. 'example.com/MyName')"
            ],
        ),
        (names.env_name, "1.odd name", []),
        (names.env_name, "", ["environment variable name must be non-empty"]),
        (names.config_key, "..data", ["must not start with '..'"]),
        (names.config_key, "..", ["must not be '..'"]),
    ],
)
def test_a_name_is_refused_in_kubernetes_words(check, value, problems):
    assert check(value) == problems
