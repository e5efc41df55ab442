"""Probes of containers, what they run when they start and stop, and the handlers of both.

Source: kubernetes/pkg/apis/core/validation/validation.go (validateProbe, validateHandler, validateLifecycle).
"""

from __future__ import annotations

import re

from apimachinery.field import forbidden_field, invalid_value, required
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROBE_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOK_HANDLERS = ("exec", "httpGet", "tcpSocket", "sleep")
_HEADER = re.compile(r"[-A-Za-z0-9]+")
_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_SIGNALS = frozenset(
    (
        *("SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL", "SIGINT"),
        *("SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT", "SIGSEGV"),
        *("SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP", "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG"),
        *("SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH", "SIGXCPU", "SIGXFSZ", "SIGRTMIN", "SIGRTMAX"),
        *(f"SIGRTMIN+{number}" for number in range(1, 16)),
        *(f"SIGRTMAX-{number}" for number in range(1, 15)),
    )
)


def validate_probes(container: Fields, grace: int | None, path: str, errors: Errors) -> None:
    """All probes of a container; `grace` is the pod's grace period in seconds."""
    for key in PROBES:
        probe = container.get(key)
        if probe is not None:
            _validate_probe(probe, key, grace, f"{path}.{key}", errors)


def _validate_probe(probe: Fields, key: str, grace: int | None, path: str, errors: Errors) -> None:
    _validate_handler(probe, _PROBE_HANDLERS, grace, path, errors)
    for field in _NUMBERS:
        checks.not_negative(probe.get(field), f"{path}.{field}", errors)
    seconds = probe.get("terminationGracePeriodSeconds")
    if seconds is not None:
        at = f"{path}.terminationGracePeriodSeconds"
        if seconds <= 0:
            errors.append(invalid_value(at, seconds, "must be greater than 0"))
        if key == "readinessProbe":
            errors.append(invalid_value(at, seconds, "must not be set for readinessProbes"))
    if key != "readinessProbe" and probe.get("successThreshold") != 1:
        errors.append(invalid_value(f"{path}.successThreshold", probe.get("successThreshold") or 0, "must be 1"))


def validate_lifecycle(lifecycle: Fields, os: str | None, grace: int | None, path: str, errors: Errors) -> None:
    """What a container runs right after its start and before its stop; `os` is the pod's, if it names one."""
    for key in ("postStart", "preStop"):
        if lifecycle.get(key) is not None:
            _validate_handler(lifecycle[key], _HOOK_HANDLERS, grace, f"{path}.{key}", errors)
    signal = lifecycle.get("stopSignal")
    if signal is not None:
        at = f"{path}.stopSignal"
        if os is None:
            errors.append(forbidden_field(at, "may not be set for containers with empty `spec.os.name`"))
        else:
            allowed = ("SIGKILL", "SIGTERM") if os == "windows" else _SIGNALS
            checks.optional_choice(signal, allowed, at, errors)


def _validate_handler(handler: Fields, kinds: tuple[str, ...], grace: int | None, path: str, errors: Errors) -> None:
    set_here = [kind for kind in kinds if handler.get(kind) is not None]
    if not set_here:
        errors.append(required(path, "must specify a handler type"))
        return
    first = set_here[0]
    action, at = handler[first], f"{path}.{first}"
    if first == "exec":
        if not action.get("command"):
            errors.append(required(f"{at}.command"))
    elif first == "httpGet":
        _validate_http(action, at, errors)
    elif first == "sleep":
        seconds = action.get("seconds") or 0
        if grace is not None and not 0 <= seconds <= grace:
            why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            errors.append(invalid_value(at, seconds, why))
    else:
        checks.port(action.get("port"), f"{at}.port", errors)
    for kind in set_here[1:]:
        errors.append(forbidden_field(f"{path}.{kind}", "may not specify more than 1 handler type"))


def _validate_http(action: Fields, path: str, errors: Errors) -> None:
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    checks.port(action.get("port"), f"{path}.port", errors)
    checks.optional_choice(action.get("scheme") or "", ("HTTP", "HTTPS"), f"{path}.scheme", errors)
    for header in action.get("httpHeaders") or ():
        name = header.get("name") or ""
        if not _HEADER.fullmatch(name):
            why = (
                "a valid HTTP header must consist of alphanumeric characters or '-' (e.g. 'X-Header-Name', regex "
                "used for validation is '[-A-Za-z0-9]+')"
            )
            errors.append(invalid_value(f"{path}.httpHeaders", name, why))
