"""/livez and /readyz tell whether the server lives and serves, and to anybody no more than that."""

from typing import Any

import pytest
from multidict import MultiDict

from apiserver.health import Health


@pytest.fixture
def state() -> dict[str, str | None]:
    return {"etcd": None}


@pytest.fixture
def health(state: dict[str, str | None]) -> Health:
    made = Health()
    made.add("etcd", lambda: state["etcd"])
    made.add("shutdown", lambda: None, ["readyz"])
    return made


def ask(health: Health, path: str, *query: tuple[str, str]) -> tuple[int, str]:
    answer: Any = health.answer(path, MultiDict(query))
    return answer.status, answer.body.decode()


def test_a_server_that_is_well_says_ok(health: Health) -> None:
    assert ask(health, "/readyz") == (200, "ok")


def test_verbose_lists_the_checks(health: Health) -> None:
    told = "[+]ping ok\n[+]etcd ok\n[+]shutdown ok\nreadyz check passed\n"
    assert ask(health, "/readyz", ("verbose", "")) == (200, told)
    assert ask(health, "/livez", ("verbose", "1"))[1] == "[+]ping ok\n[+]etcd ok\nlivez check passed\n"


def test_a_failed_check_is_named_and_its_reason_is_not(health: Health, state: dict[str, str | None]) -> None:
    state["etcd"] = "disk /dev/sda full"
    status, text = ask(health, "/livez")
    assert status == 500
    assert "[-]etcd failed: reason withheld\n" in text and text.endswith("livez check failed\n")
    assert "sda" not in text


def test_a_check_can_be_left_out(health: Health, state: dict[str, str | None]) -> None:
    state["etcd"] = "full"
    assert ask(health, "/livez", ("exclude", "etcd")) == (200, "ok")
    told = ask(health, "/livez", ("exclude", "etcd"), ("exclude", "none"), ("verbose", ""))[1]
    assert "[+]etcd excluded: ok\n" in told
    assert 'warn: some health checks cannot be excluded: no matches for "none"\n' in told


def test_one_check_can_be_asked_for_alone(health: Health, state: dict[str, str | None]) -> None:
    assert ask(health, "/readyz/etcd") == (200, "ok")
    state["etcd"] = "full"
    assert ask(health, "/readyz/etcd") == (500, "internal server error: full\n")
    assert ask(health, "/readyz/ping") == (200, "ok")
    assert ask(health, "/readyz/none")[0] == 404


def test_how_often_checks_were_well_is_counted(health: Health, state: dict[str, str | None]) -> None:
    ask(health, "/readyz")
    state["etcd"] = "full"
    ask(health, "/readyz/etcd")
    lines = health.figures().decode().splitlines()
    assert 'kubernetes_healthcheck{name="etcd",type="readyz"} 0' in lines
    assert 'kubernetes_healthcheck{name="shutdown",type="readyz"} 1' in lines
    assert 'kubernetes_healthchecks_total{name="etcd",status="success",type="readyz"} 1' in lines
    assert 'kubernetes_healthchecks_total{name="etcd",status="error",type="readyz"} 2' in lines
