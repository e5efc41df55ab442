"""The protocols of commands and ports over WebSockets."""

from __future__ import annotations

import pytest

from apiserver.pod_streams import Location
from apiserver.proxying import channels
from apiserver.proxying.remote_commands import expected


def test_the_clients_order_decides() -> None:
    found = channels.of_commands(["v9.channel.k8s.io", channels.V4, channels.V5])
    assert found is not None and found.name == channels.V4
    assert channels.of_commands(["v9.channel.k8s.io"]) is None
    unnamed = channels.of_commands([])
    assert unnamed is not None and unnamed.name == "" and not unnamed.statuses
    assert channels.of_ports(["channel.k8s.io"]) is None


@pytest.mark.parametrize("name", [channels.V5, "v4.base64.channel.k8s.io"])
def test_messages_are_read_as_they_were_put(name: str) -> None:
    protocol = channels.of_commands([name])
    assert protocol is not None
    assert protocol.decode(protocol.encode(channels.STDOUT, b"\x00data")) == (channels.STDOUT, b"\x00data")


def test_what_is_no_message_is_none() -> None:
    binary, text = channels.of_commands([channels.V5]), channels.of_commands(["base64.channel.k8s.io"])
    assert binary is not None and text is not None
    assert binary.decode("") is None and binary.decode(b"") is None
    assert [text.decode(message) for message in (b"1x", "", "x", "1%%")] == [None] * 4


def test_text_and_bytes_are_the_same_message() -> None:
    binary, text = channels.of_commands([channels.V4]), channels.of_commands(["base64.channel.k8s.io"])
    assert binary is not None and text is not None
    assert binary.decode("\0h\u00f6") == binary.decode("\0h\u00f6".encode()) == (channels.STDIN, "h\u00f6".encode())
    assert text.decode("1aGk=") == text.decode(b"1aGk=") == (channels.STDOUT, b"hi")


def test_before_the_fourth_version_only_failures_were_told() -> None:
    assert channels.outcome_in_words(b'{"status":"Success"}') == b""
    assert channels.outcome_in_words(b'{"status":"Failure","message":"it broke"}') == b"it broke"
    assert channels.outcome_in_words(b"no document") == b"no document"


@pytest.mark.parametrize(
    ("asked", "version", "streams"),
    [
        ("output error", "v4.channel.k8s.io", "error stdout stderr"),
        ("input output error", "v4.channel.k8s.io", "error stdin stdout stderr"),
        ("input output error tty", "v4.channel.k8s.io", "error stdin stdout resize"),
        ("input output tty", "v2.channel.k8s.io", "error stdin stdout"),
    ],
)
def test_a_client_opens_a_stream_for_each_thing_that_it_asks_for(asked: str, version: str, streams: str) -> None:
    location = Location("n1", "/exec/a/web/c", tuple((word, "1") for word in asked.split()))
    assert expected(location, version) == set(streams.split())
