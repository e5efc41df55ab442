"""What hollow nodes are like, and how pods behave on them.

How a pod behaves is said for all pods by the settings, and for one by its annotations:

    hollow.wherry.io/start-delay    from when the node takes it on until its containers run
    hollow.wherry.io/ready-delay    from then until they are ready
    hollow.wherry.io/run-duration   how long each container runs before it ends by itself
    hollow.wherry.io/exit-code      with which code it does
    hollow.wherry.io/stop-delay     how long containers take to end when the pod is deleted

Each but the code is a duration (`1.5s`), a range out of which each pod draws its own (`1s-5s`), or `never`.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apimachinery import meta
from apimachinery.duration import parse_duration
from apimachinery.meta import Object
from kubelet.node.node_lease import DEFAULT_DURATION_SECONDS
from kubelet.node.node_settings import DEFAULT_PODS_MAX, Taint
from kubelet.pods import pod_spec

DOMAIN = "hollow.wherry.io"
# What every hollow node is labelled with; "true".
NODE_LABEL = f"{DOMAIN}/node"
# "true" on a Node: it falls silent, as if its machine were lost, until that is taken away.
SILENT = f"{DOMAIN}/silent"
START_DELAY, READY_DELAY, STOP_DELAY = f"{DOMAIN}/start-delay", f"{DOMAIN}/ready-delay", f"{DOMAIN}/stop-delay"
RUN_DURATION, EXIT_CODE = f"{DOMAIN}/run-duration", f"{DOMAIN}/exit-code"
NEVER = "never"


@dataclass(frozen=True, slots=True)
class Span:
    """A duration in seconds, or a range of them; infinite is never."""

    least: float
    most: float

    def draw(self, rng: random.Random) -> float:
        """One of these durations."""
        return self.least if self.least == self.most else rng.uniform(self.least, self.most)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process of hollow nodes is told.

    Their names are `prefix-0`, `prefix-1`…. `labels` and `taints` are given to all of them; of `zones` each has one,
    in turn. `capacity` is all that a node has, `pods` included. Pods' addresses are out of `pod_network`, a /24 for
    each node; without it out of what the controllers give. `run_duration` and `exit_code` are of pods whose
    containers are not restarted always.
    """

    count: int
    prefix: str = "hollow"
    capacity: Mapping[str, str] = field(default_factory=lambda: parse_capacity(""))
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: Sequence[Taint] = ()
    zones: Sequence[str] = ()
    node_network: str = "198.18.0.0/15"
    pod_network: str = "100.64.0.0/10"
    lease_duration_seconds: int = DEFAULT_DURATION_SECONDS
    start_delay: Span = Span(0.0, 0.0)
    ready_delay: Span = Span(0.0, 0.0)
    run_duration: Span = Span(1.0, 1.0)
    exit_code: int = 0
    stop_delay: Span = Span(0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What one pod does, in seconds; infinite is never."""

    start_seconds: float = 0.0
    ready_seconds: float = 0.0
    run_seconds: float = math.inf
    exit_code: int = 0
    stop_seconds: float = 0.0


def behaviour(pod: Object, settings: Settings, rng: random.Random) -> Behaviour:
    """What this pod does. Raises ValueError, which names the annotation that can't be understood."""
    asked = meta.annotations(pod)

    def draw(key: str, usual: Span) -> float:
        try:
            return (parse_span(asked[key]) if key in asked else usual).draw(rng)
        except ValueError as error:
            raise ValueError(f"{key}: {error}") from error

    lasts = Span(math.inf, math.inf) if pod_spec.restart_policy(pod) == "Always" else settings.run_duration
    try:
        code = parse_exit_code(asked[EXIT_CODE]) if EXIT_CODE in asked else settings.exit_code
    except ValueError as error:
        raise ValueError(f"{EXIT_CODE}: {error}") from error
    return Behaviour(
        start_seconds=draw(START_DELAY, settings.start_delay),
        ready_seconds=draw(READY_DELAY, settings.ready_delay),
        run_seconds=draw(RUN_DURATION, lasts),
        exit_code=code,
        stop_seconds=draw(STOP_DELAY, settings.stop_delay),
    )


def parse_span(text: str) -> Span:
    """`2s`, `1s-5s` or `never`. Raises ValueError."""
    if text == NEVER:
        return Span(math.inf, math.inf)
    least_text, dash, most_text = text.partition("-")
    least = parse_duration(least_text)
    most = parse_duration(most_text) if dash else least
    if most < least:
        raise ValueError(f"{text!r} ends before it begins")
    return Span(least, most)


def parse_exit_code(text: str) -> int:
    """0 to 255. Raises ValueError."""
    if not text.isdecimal() or int(text) > 255:
        raise ValueError(f"{text!r} is no exit code from 0 to 255")
    return int(text)


def parse_capacity(text: str) -> dict[str, str]:
    """`cpu=4,memory=32Gi,pods=110,example.com/gpu=2`; what is not given is as usual. Raises ValueError."""
    from apimachinery import names, quantity

    given = {"cpu": "4", "ephemeral-storage": "100Gi", "memory": "32Gi", "pods": str(DEFAULT_PODS_MAX)}
    for term in filter(None, text.split(",")):
        key, _, value = term.partition("=")
        if problems := names.qualified_name(key):
            raise ValueError(f"{term!r} is no amount of a resource such as cpu=8: {problems[0]}")
        given[key] = quantity.canonical(value)
    return given
