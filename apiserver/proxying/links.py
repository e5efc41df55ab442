"""Rewrites what an answer says of its own server's paths, so that it holds for who got there through this one.

A pod's page knows nothing of `/api/v1/namespaces/…/pods/…/proxy`. Redirects and the links of HTML pages that begin
with a slash, or name the server by its address, are put behind that prefix. Pure.

Source: k8s.io/apimachinery/pkg/util/proxy/transport.go.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape, unescape
from html.parser import HTMLParser
from itertools import accumulate
from urllib.parse import SplitResult, urlsplit, urlunsplit

# Which attributes of which elements hold links.
_LINKS = {
    **dict.fromkeys(("a", "area", "base", "link"), ("href",)),
    **dict.fromkeys(("blockquote", "del", "ins", "q"), ("cite",)),
    **dict.fromkeys(("audio", "embed", "script", "source"), ("src",)),
    **dict.fromkeys(("frame", "iframe"), ("longdesc", "src")),
    "applet": ("codebase",),
    "body": ("background",),
    "button": ("formaction",),
    "command": ("icon",),
    "form": ("action",),
    "head": ("profile",),
    "html": ("manifest",),
    "img": ("longdesc", "src", "usemap"),
    "input": ("src", "usemap", "formaction"),
    "object": ("classid", "codebase", "data", "usemap"),
    "video": ("poster", "src"),
}
_ATTRIBUTE = re.compile(r"""(\s)([a-zA-Z]+)(\s*=\s*)(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")


@dataclass(frozen=True, slots=True)
class Links:
    """How links are rewritten: `prefix` is the path to the server; `hosts` are what it may call itself."""

    prefix: str
    hosts: tuple[str, ...]
    # What those are told who follow the link: "" for wherever they are.
    scheme: str = ""
    host: str = ""

    def rewrite(self, link: str) -> str:
        """A link as it leads through this server; what leads elsewhere, or is relative, stays as it is."""
        try:
            parts = urlsplit(link)
        except ValueError:
            return link  # no link that anybody could follow
        if (parts.netloc and parts.netloc not in self.hosts) or not parts.path.startswith("/"):
            return link
        path = parts.path
        if not path.startswith(self.prefix):
            path = posixpath.normpath(self.prefix + path)
            if parts.path.endswith("/") and not path.endswith("/"):
                path += "/"
        return urlunsplit(SplitResult(self.scheme, self.host, path, parts.query, parts.fragment))

    def rewrite_page(self, page: str) -> str:
        """An HTML page whose links lead through this server."""
        return _Rewriter(page, self.rewrite).result()


class _Rewriter(HTMLParser):
    """Finds the tags of a page (and none in its scripts and comments); all but their links stays as it is."""

    def __init__(self, page: str, rewrite: Callable[[str], str]) -> None:
        super().__init__(convert_charrefs=False)
        self._page = page
        self._rewrite = rewrite
        self._lines = [0, *accumulate(len(line) for line in page.split("\n"))]
        self._pieces: list[str] = []
        self._copied = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """A tag that may hold links."""
        names, text = _LINKS.get(tag), self.get_starttag_text()
        if names is None or text is None:
            return

        def link(found: re.Match[str]) -> str:
            if found[2].lower() not in names:
                return found[0]
            value = next(value for value in found.groups()[3:] if value is not None)
            rewritten = self._rewrite(unescape(value))
            return f'{found[1]}{found[2]}{found[3]}"{escape(rewritten)}"' if rewritten != value else found[0]

        line, column = self.getpos()
        # A line's start counts the line breaks before it, which the lengths of lines leave out.
        start = self._lines[line - 1] + line - 1 + column
        self._pieces += [self._page[self._copied : start], _ATTRIBUTE.sub(link, text)]
        self._copied = start + len(text)

    handle_startendtag = handle_starttag

    def result(self) -> str:
        """The page, rewritten."""
        return "".join([*self._pieces, self._page[self._copied :]])
