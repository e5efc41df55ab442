"""/metrics: Kubernetes' names, in a form that Prometheus reads, with a limit to what clients can make it hold."""

import re

import pytest

from apimachinery.resources import DEPLOYMENTS, PODS, Resource, by_plural
from apiserver.metrics import Metrics
from apiserver.request_info import parse

SAMPLE = re.compile(r'[a-z_]+(\{([a-z_]+="([^"\\\n]|\\.)*",?)*\})? [0-9.e+-]+')


def resource(group: str, version: str, plural: str) -> Resource | None:
    return by_plural(group, plural, version)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(resource)


def serve(metrics: Metrics, method: str, path: str, code: int = 200, seconds: float = 0.01, **query: str) -> None:
    info = parse(method, path, query)
    metrics.begin(info)
    metrics.end(info, code, seconds)


def lines(metrics: Metrics) -> list[str]:
    return metrics.text([(PODS, 7), (DEPLOYMENTS, 2)], 3).decode().splitlines()


def find(metrics: Metrics, name: str, *parts: str) -> list[str]:
    return [line for line in lines(metrics) if line.startswith(f"{name}{{") and all(part in line for part in parts)]


def test_every_line_is_a_comment_or_a_sample(metrics: Metrics) -> None:
    serve(metrics, "GET", "/api/v1/pods")
    serve(metrics, "GET", "/readyz")
    for line in lines(metrics):
        assert line.startswith(("# HELP ", "# TYPE ")) or SAMPLE.fullmatch(line), line


def test_requests_are_counted_by_verb_resource_and_code(metrics: Metrics) -> None:
    serve(metrics, "GET", "/api/v1/namespaces/a/pods")
    serve(metrics, "GET", "/api/v1/namespaces/a/pods")
    serve(metrics, "POST", "/apis/apps/v1/namespaces/a/deployments", code=409)
    [listed] = find(metrics, "apiserver_request_total", 'verb="LIST"', 'resource="pods"', 'scope="namespace"')
    assert 'code="200"' in listed and listed.endswith(" 2")
    [refused] = find(metrics, "apiserver_request_total", 'verb="POST"', 'group="apps"')
    assert 'code="409"' in refused and refused.endswith(" 1")


def test_a_histogram_grows_to_its_count(metrics: Metrics) -> None:
    for seconds in (0.004, 0.3, 100.0):
        serve(metrics, "GET", "/api/v1/namespaces/a/pods/web", seconds=seconds)
    buckets = find(metrics, "apiserver_request_duration_seconds_bucket")
    counts = [int(line.split()[-1]) for line in buckets]
    assert counts == sorted(counts) and counts[0] == 1 and counts[-1] == 3
    assert 'le="+Inf"' in buckets[-1]
    [total] = find(metrics, "apiserver_request_duration_seconds_count")
    assert total.endswith(" 3")


def test_watches_are_counted_while_they_last_and_not_timed(metrics: Metrics) -> None:
    info = parse("GET", "/api/v1/pods", {"watch": "1"})
    metrics.begin(info)
    assert find(metrics, "apiserver_longrunning_requests")[0].endswith(" 1")
    metrics.end(info, 200, 300.0)
    assert find(metrics, "apiserver_longrunning_requests")[0].endswith(" 0")
    assert not find(metrics, "apiserver_request_duration_seconds_count")


def test_requests_that_are_being_served_are_shown(metrics: Metrics) -> None:
    info = parse("DELETE", "/api/v1/namespaces/a/pods/web", {})
    metrics.begin(info)
    assert 'apiserver_current_inflight_requests{request_kind="mutating"} 1' in lines(metrics)
    metrics.end(info, 200, 0.1)
    assert 'apiserver_current_inflight_requests{request_kind="mutating"} 0' in lines(metrics)


def test_what_clients_make_up_does_not_grow_the_page(metrics: Metrics) -> None:
    serve(metrics, "GET", "/none")
    before = len(lines(metrics))
    for number in range(50):
        serve(metrics, "GET", f"/api/v1/made{number}", code=404)
        serve(metrics, "GET", f"/api/v{number + 2}/pods", code=404)
        serve(metrics, "GET", f"/path{number}", code=404)
        serve(metrics, f"VERB{number}", "/readyz", code=405)
        serve(metrics, "GET", f"/api/v1/namespaces/a/pods/web/sub{number}", code=404)
    assert len(lines(metrics)) < before + 150


def test_stored_objects_and_the_process_itself_are_shown(metrics: Metrics) -> None:
    shown = lines(metrics)
    assert 'apiserver_storage_objects{resource="deployments.apps"} 2' in shown
    assert 'apiserver_resource_objects{group="apps",resource="deployments"} 2' in shown
    assert "apiserver_registered_watchers 3" in shown
    assert any(line.startswith("process_resident_memory_bytes ") for line in shown)
