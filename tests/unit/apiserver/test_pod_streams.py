"""Logs and commands: which container of which node is meant, and what is refused before any node is asked."""

from typing import Any

import pytest
from multidict import MultiDict

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.pod_streams import Location, choose_container, log_location, stream_location
from apiserver.proxying.agents import agent_address


def pod(*containers: str, node: str = "n1", **spec: Any) -> Object:
    listed = [{"name": name} for name in containers]
    return {"metadata": {"name": "web", "namespace": "a"}, "spec": {"nodeName": node, "containers": listed, **spec}}


def refusal(call: Any, *arguments: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        call(*arguments)
    return refused.value


def query(*pairs: tuple[str, str]) -> MultiDict[str]:
    return MultiDict(pairs)


def test_the_only_container_need_not_be_named() -> None:
    assert choose_container(pod("c"), "") == "c"


def test_one_of_several_must_be_named() -> None:
    error = refusal(choose_container, pod("a", "b"), "")
    assert error.code == 400
    assert error.message == "a container name must be specified for pod web, choose one of: [a b]"


def test_the_name_must_be_one_of_the_pods() -> None:
    error = refusal(choose_container, pod("a"), "x")
    assert error.message == "container x is not valid for pod web"


def test_init_and_ephemeral_containers_can_be_named() -> None:
    found = pod("c", initContainers=[{"name": "setup"}], ephemeralContainers=[{"name": "debug"}])
    assert choose_container(found, "setup") == "setup"
    assert choose_container(found, "debug") == "debug"
    assert choose_container(found, "") == "c"


def test_a_log_is_asked_of_the_node() -> None:
    asked = query(("follow", "true"), ("tailLines", "5"), ("timestamps", "0"), ("sinceTime", "2026-01-02T03:04:05Z"))
    assert log_location(pod("c"), asked) == Location(
        "n1",
        "/containerLogs/a/web/c",
        (("follow", "true"), ("tailLines", "5"), ("sinceTime", "2026-01-02T03:04:05Z")),
    )


def test_a_pod_without_a_node_has_no_log_yet() -> None:
    assert log_location(pod("c", node=""), query()) is None


@pytest.mark.parametrize(
    ("pairs", "code", "told"),
    [
        ([("tailLines", "-1")], 422, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ([("limitBytes", "0")], 422, "limitBytes: Invalid value: 0: must be greater than 0"),
        ([("sinceSeconds", "0")], 422, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ([("stream", "Both")], 422, 'stream: Unsupported value: "Both"'),
        ([("tailLines", "many")], 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
        ([("follow", "yes")], 400, 'strconv.ParseBool: parsing "yes": invalid syntax'),
        ([("sinceTime", "today")], 400, 'parsing time "today"'),
        (
            [("sinceTime", "2026-01-02T03:04:05Z"), ("sinceSeconds", "5")],
            422,
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ],
)
def test_log_options_that_make_no_sense_are_refused(pairs: list[tuple[str, str]], code: int, told: str) -> None:
    error = refusal(log_location, pod("c"), query(*pairs))
    assert error.code == code and told in error.message


def test_a_command_is_passed_on_word_for_word() -> None:
    asked = query(("command", "sh"), ("command", "-c"), ("command", "a b"), ("stdin", "true"), ("stdout", "1"))
    found = stream_location(pod("c"), "exec", asked)
    assert found.path == "/exec/a/web/c"
    assert found.params == (("input", "1"), ("output", "1"), ("command", "sh"), ("command", "-c"), ("command", "a b"))


def test_joining_needs_no_command() -> None:
    assert stream_location(pod("c"), "attach", query(("stdout", "true"), ("tty", "true"))) == Location(
        "n1", "/attach/a/web/c", (("output", "1"), ("tty", "1"))
    )


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([("command", "ls")], "you must specify at least 1 of stdin, stdout, stderr"),
        ([("command", "ls"), ("tty", "1")], "you must specify at least 1 of stdin, stdout, stderr"),
        ([("stdout", "1")], "you must specify a command to run"),
    ],
)
def test_a_command_without_streams_or_words_is_refused(pairs: list[tuple[str, str]], told: str) -> None:
    error = refusal(stream_location, pod("c"), "exec", query(*pairs))
    assert error.code == 400 and error.message == told


def test_a_pod_without_a_node_runs_nothing() -> None:
    asked = query(("command", "ls"), ("stdout", "1"))
    error = refusal(stream_location, pod("c", node=""), "exec", asked)
    assert error.message == "pod web does not have a host assigned"


def test_a_node_is_reached_at_its_internal_address() -> None:
    addresses = [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.11"}]
    assert agent_address({"status": {"addresses": addresses}}) == "10.0.0.11"
    assert agent_address({"status": {"addresses": addresses[:1]}}) == "n1"
    assert agent_address({}) is None
