"""Reserved words, and how a property whose name is no identifier is called in expressions.

Source: https://kubernetes.io/docs/reference/using-api/cel/#escaping
"""

from __future__ import annotations

import re

RESERVED = frozenset(
    (
        *("as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in"),
        *("let", "loop", "package", "namespace", "null", "return", "true", "var", "void", "while"),
    )
)
_PROPERTY = re.compile(r"[A-Za-z_.\-/][A-Za-z0-9_.\-/]*")
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}


def escape(property_name: str) -> str | None:
    """The name of a property in expressions: `foo-bar` is `foo__dash__bar`; None if it has none."""
    if not _PROPERTY.fullmatch(property_name):
        return None
    if property_name in RESERVED:
        return f"__{property_name}__"
    return re.sub(r"__|[.\-/]", lambda match: _ESCAPES[match[0]], property_name)
