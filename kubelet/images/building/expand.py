"""Words of a Dockerfile: quotes, escapes and variables, as all instructions but RUN, CMD and ENTRYPOINT read them.

    $NAME ${NAME}            its value, "" if it has none
    ${NAME:-word} ${NAME-word}      word if it has none (with the colon: or an empty one)
    ${NAME:+word} ${NAME+word}      word if it has one
    ${NAME:?word} ${NAME?word}      an error that says word, if it has none
    ${NAME#pattern} ##  % %%        without a prefix or suffix that matches
    ${NAME/pattern/word} //         with the first match, or all, replaced

In '…' nothing has a meaning; in "…" only variables and the escape character do.

Source: https://docs.docker.com/reference/dockerfile/#environment-replacement
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

from kubelet.images.building.errors import BuildError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?!$-]")
DEPTH_MAX = 16


def expand(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> str:
    """One value, its quotes removed and its variables replaced. Raises BuildError."""
    return _Reader(text, variables, escape).value()


def words(text: str, variables: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The words of a line, likewise. Raises BuildError."""
    return [expand(word, variables, escape=escape) for word in split(text, escape=escape)]


def split(text: str, *, escape: str = "\\") -> list[str]:
    """The words of a line as they stand there, quotes and all: blanks in quotes do not end a word."""
    found: list[str] = []
    word, quote, position = "", "", 0
    while position < len(text):
        character = text[position]
        if character == escape and quote != "'" and position + 1 < len(text):
            word += text[position : position + 2]
            position += 2
            continue
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character.isspace():
            if word:
                found.append(word)
            word, position = "", position + 1
            continue
        word += character
        position += 1
    if word:
        found.append(word)
    return found


class _Reader:
    """Reads one text from its beginning to its end."""

    def __init__(self, text: str, variables: Mapping[str, str], escape: str, depth: int = 0) -> None:
        if depth > DEPTH_MAX:
            raise BuildError("variables are nested too deeply")
        self._text, self._variables, self._escape, self._depth = text, variables, escape, depth
        self._position = 0

    def value(self) -> str:
        """All of it."""
        out = []
        while self._position < len(self._text):
            character = self._text[self._position]
            if character == "'":
                out.append(self._single_quoted())
            elif character == '"':
                out.append(self._double_quoted())
            elif character == "$":
                out.append(self._variable())
            elif character == self._escape:
                self._position += 1
                out.append(self._take(1) if self._position < len(self._text) else self._escape)
            else:
                out.append(self._take(1))
        return "".join(out)

    def _take(self, count: int) -> str:
        taken = self._text[self._position : self._position + count]
        self._position += count
        return taken

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position + 1)
        if end < 0:
            raise BuildError("unexpected end of statement while looking for matching single-quote")
        text = self._text[self._position + 1 : end]
        self._position = end + 1
        return text

    def _double_quoted(self) -> str:
        self._position += 1
        out: list[str] = []
        while self._position < len(self._text):
            character = self._text[self._position]
            if character == '"':
                self._position += 1
                return "".join(out)
            if character == "$":
                out.append(self._variable())
            elif character == self._escape and self._text[self._position + 1 : self._position + 2] in (
                '"',
                "$",
                self._escape,
            ):
                self._position += 1
                out.append(self._take(1))
            else:
                out.append(self._take(1))
        raise BuildError("unexpected end of statement while looking for matching double-quote")

    def _variable(self) -> str:
        self._position += 1
        if self._text[self._position : self._position + 1] == "{":
            return self._braced()
        match = _NAME.match(self._text, self._position)
        if match is None:
            return "$"
        self._position = match.end()
        return self._variables.get(match[0], "")

    def _braced(self) -> str:
        inner = self._to_closing_brace()
        match = _NAME.match(inner)
        if match is None:
            raise BuildError(f"${{{inner}}}: bad substitution")
        name, rest = match[0], inner[match.end() :]
        value = self._variables.get(name)
        if not rest:
            return value or ""
        operator = rest[:2] if rest[:2] in (":-", ":+", ":?", "##", "%%", "//") else rest[:1]
        return self._operate(name, value, operator, rest[len(operator) :])

    def _operate(self, name: str, value: str | None, operator: str, word: str) -> str:
        is_set = bool(value) if operator.startswith(":") else value is not None
        match operator.lstrip(":"):
            case "-":
                return (value or "") if is_set else self._inner(word)
            case "+":
                return self._inner(word) if is_set else ""
            case "?":
                if not is_set:
                    raise BuildError(f"{name}: {self._inner(word) or 'not allowed to be unset'}")
                return value or ""
            case "#" | "##" | "%" | "%%":
                return _trimmed(value or "", self._inner(word), operator)
            case "/" | "//":
                pattern, _, into = word.partition("/")
                expression = fnmatch.translate(self._inner(pattern)).removesuffix(r"\Z").replace(".*", ".*?")
                count = 0 if operator == "//" else 1
                return re.sub(expression, lambda _: self._inner(into), value or "", count=count)
        raise BuildError(f"unsupported modifier ({operator}) in substitution of {name}")

    def _inner(self, word: str) -> str:
        return _Reader(word, self._variables, self._escape, self._depth + 1).value()

    def _to_closing_brace(self) -> str:
        depth, begin = 1, self._position + 1
        position = begin
        while position < len(self._text):
            character = self._text[position]
            if character == self._escape:
                position += 1
            elif character == "{":
                depth += 1
            elif character == "}":
                depth -= 1
                if not depth:
                    self._position = position + 1
                    return self._text[begin:position]
            position += 1
        raise BuildError("syntax error: missing '}'")


def _trimmed(value: str, pattern: str, operator: str) -> str:
    """Without the shortest (#, %) or longest (##, %%) prefix or suffix that matches."""
    lengths = range(len(value) + 1)
    for length in lengths if len(operator) == 1 else reversed(lengths):
        part = value[:length] if operator[0] == "#" else value[len(value) - length :]
        if fnmatch.fnmatchcase(part, pattern):
            return value[length:] if operator[0] == "#" else value[: len(value) - length]
    return value
