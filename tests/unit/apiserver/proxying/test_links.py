"""Links of pages and redirects that have come through the `proxy` subresource."""

from __future__ import annotations

import pytest

from apiserver.proxying.links import Links

PREFIX = "/api/v1/namespaces/a/pods/web/proxy"
LINKS = Links(PREFIX, ("10.0.0.5:8080", "api:6443"), scheme="https", host="api:6443")
HERE = f"https://api:6443{PREFIX}"


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("/login", f"{HERE}/login"),
        ("/login/", f"{HERE}/login/"),
        ("/", f"{HERE}/"),
        ("/a?b=c#d", f"{HERE}/a?b=c#d"),
        ("http://10.0.0.5:8080/login", f"{HERE}/login"),
        ("https://api:6443/login", f"{HERE}/login"),
        (f"{PREFIX}/login", f"{HERE}/login"),
        ("login", "login"),
        ("../login", "../login"),
        ("?page=2", "?page=2"),
        ("#top", "#top"),
        ("https://elsewhere/login", "https://elsewhere/login"),
        ("mailto:a@b", "mailto:a@b"),
        ("http://[broken", "http://[broken"),
    ],
)
def test_links_to_the_same_server_lead_through_this_one(link: str, expected: str) -> None:
    assert LINKS.rewrite(link) == expected


def test_the_links_of_a_page_are_rewritten_and_nothing_else() -> None:
    page = """<!DOCTYPE html>
<html><head><link rel="stylesheet" href='/style.css'><script src=/app.js></script>
<script>if (1 < 2) location = "/not/a/link"; // <a href="/nor/this"></script></head>
<!-- <a href="/comment"> -->
<body><a class="x" href="/page?a=1&amp;b=2">A &lt; B</a> <img SRC="/i.png" alt="/alt"/>
<form action="/send"><a href="relative">r</a><a href>empty</a></form></body></html>
"""
    expected = (
        page.replace("href='/style.css'", f'href="{HERE}/style.css"')
        .replace("src=/app.js", f'src="{HERE}/app.js"')
        .replace('href="/page?a=1&amp;b=2"', f'href="{HERE}/page?a=1&amp;b=2"')
        .replace('SRC="/i.png"', f'SRC="{HERE}/i.png"')
        .replace('action="/send"', f'action="{HERE}/send"')
    )
    assert LINKS.rewrite_page(page) == expected


@pytest.mark.parametrize("page", ["", "plain text", "<a href='/x", "<<<>>>", "<a\nhref\n=\n'/x'>", "é <a href='/é'>"])
def test_no_page_is_too_strange(page: str) -> None:
    assert isinstance(LINKS.rewrite_page(page), str)
