"""Tokens of an expression.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from apimachinery.cel.errors import Issue

# One alternation in order of preference: longer forms first. No part can match in more than one way, so that
# the time is linear in the length.
_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_PATTERN = re.compile(
    rf"""
    (?P<skip>[\t\ \r\n\f]+|//[^\n]*)
  | (?P<bytes_or_string>
      [bB]?(?:
        [rR](?:\"\"\"(?:[^\"]|\"(?!\"\"))*\"\"\"|'''(?:[^']|'(?!''))*'''|\"[^\"\n\r]*\"|'[^'\n\r]*')
      | \"\"\"(?:{_ESCAPE}|[^\\\"]|\"(?!\"\"))*\"\"\"
      | '''(?:{_ESCAPE}|[^\\']|'(?!''))*'''
      | \"(?:{_ESCAPE}|[^\\\"\n\r])*\"
      | '(?:{_ESCAPE}|[^\\'\n\r])*'
      ))
  | (?P<float>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)
  | (?P<int>0x[0-9a-fA-F]+[uU]?|[0-9]+[uU]?)
  | (?P<ident>[a-zA-Z_][a-zA-Z0-9_]*)
  | (?P<escaped>`[a-zA-Z0-9_.\-/\ ]+`)
  | (?P<op>==|!=|<=|>=|&&|\|\||[<>\[\]{{}}().,\-!?:+*/%])
""",
    re.VERBOSE,
)


class Token(NamedTuple):
    """`kind` is ident, escaped, int, uint, float, string, bytes, op or end; keywords are `op` (in) and `word`."""

    kind: str
    text: str
    offset: int


def tokens(expression: str, issues: list[Issue]) -> Iterator[Token]:
    """The tokens, then one of kind `end`; what is no token is an issue and is left out."""
    position, length = 0, len(expression)
    while position < length:
        match = _PATTERN.match(expression, position)
        if match is None:
            issues.append(Issue(position, f"Syntax error: token recognition error at: '{expression[position]}'"))
            position += 1
            continue
        kind, text = str(match.lastgroup), match[0]
        if kind != "skip":
            yield Token(_kind(kind, text), text, position)
        position = match.end()
    yield Token("end", "<EOF>", length)


def _kind(kind: str, text: str) -> str:
    if kind == "bytes_or_string":
        return "bytes" if text[0] in "bB" else "string"
    if kind == "int":
        return "uint" if text[-1] in "uU" else "int"
    if kind == "ident":
        if text == "in":
            return "op"
        if text in ("true", "false", "null"):
            return "word"
    return kind


_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def unquote(text: str) -> str:
    """The characters of a string token. Raises ValueError for code points that are none."""
    body, raw = _body(text)
    if raw or "\\" not in body:
        return body
    return re.sub(_ESCAPE, _unescape, body)


def unquote_bytes(text: str) -> bytes:
    """The bytes of a bytes token: escapes are bytes, other characters their UTF-8. Raises ValueError."""
    body, raw = _body(text[1:])
    if raw or "\\" not in body:
        return body.encode()
    parts = re.split(f"({_ESCAPE})", body)
    return b"".join(_unescape_bytes(part) if n % 2 else part.encode() for n, part in enumerate(parts))


def _body(text: str) -> tuple[str, bool]:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    raw = text[0] in "rR"
    if raw:
        text = text[1:]
    quotes = 3 if len(text) >= 6 and text[:3] in ('"""', "'''") else 1
    return text[quotes:-quotes], raw


def _unescape(match: re.Match[str]) -> str:
    escape = match[0][1:]
    if escape[0] in "xXuU" or escape[0] in "0123":
        point = int(escape[1:], 16) if escape[0] in "xXuU" else int(escape, 8)
        if point > 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise ValueError("invalid unicode code point")
        return chr(point)
    return _SIMPLE.get(escape, escape)


def _unescape_bytes(text: str) -> bytes:
    escape = text[1:]
    if escape[0] in "uU":
        raise ValueError("unable to unescape string")
    if escape[0] in "xX":
        return bytes([int(escape[1:], 16)])
    if escape[0] in "0123":
        return bytes([int(escape, 8)])
    return _SIMPLE.get(escape, escape).encode()
