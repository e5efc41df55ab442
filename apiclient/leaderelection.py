"""Leader election on a Lease: of several candidates exactly one leads.

A candidate takes the Lease over when it has not changed for its whole duration as measured by the candidate's
own monotonic clock, so that clocks need not agree. A leader that can't renew stops leading before another may
begin; one that was stopped, and so can't notice in time, must ask `leads` before it does anything. A candidate
need not wait for a leader of its own machine whose process has certainly ended: what is killed is followed at once
by what is started in its place.

Source: https://kubernetes.io/docs/concepts/architecture/leases/ and client-go's leaderelection package.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from apiclient.clock import Clock, SystemClock
from apiclient.events import EventRecorder
from apiclient.logs import kv
from apiclient.process_identity import has_ended
from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object
from apimachinery.resources import LEASES
from apimachinery.time import rfc3339_micro

logger = logging.getLogger(__name__)

# As in Kubernetes: whoever has not stopped leading by then is stuck.
STOPPING_SECONDS_MAX = 20.0
_KIND = {"apiVersion": LEASES.api_version, "kind": LEASES.kind}


class LeaderElector:
    """One candidate for one Lease."""

    def __init__(
        self,
        client: Client,
        namespace: str,
        name: str,
        identity: str,
        *,
        clock: Clock | None = None,
        lease_duration_seconds: float = 15.0,
        renew_deadline_seconds: float = 10.0,
        retry_period_seconds: float = 2.0,
        has_ended: Callable[[str], bool] = has_ended,
    ) -> None:
        """`identity` names this process (`own_identity`), and `has_ended` tells of other processes by their names."""
        self._client = client
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._clock = clock or SystemClock()
        self._duration = lease_duration_seconds
        self._renew_deadline = renew_deadline_seconds
        self._retry = retry_period_seconds
        self._observed: tuple[object, float] = (None, 0.0)
        self._told = ""
        self._lease: Object | None = None
        # Until when nobody else can lead, by the monotonic clock.
        self._safe_until = -math.inf
        self._has_ended = has_ended

    @property
    def leads(self) -> bool:
        """Whether this process leads at this very moment."""
        return self._clock.monotonic() < self._safe_until

    def problem(self) -> str:
        """What a leader is to be ended for: its lead is over for long, and it has not stopped; "" if all is well."""
        if self._safe_until == -math.inf or self._clock.monotonic() < self._safe_until + STOPPING_SECONDS_MAX:
            return ""
        return f"failed election to renew leadership on lease {self._name}"

    def tell(self, recorder: EventRecorder) -> None:
        """Record an event about the Lease that says who leads now."""
        if self._lease is not None:
            recorder.event({**self._lease, **_KIND}, "Normal", "LeaderElection", f"{self.identity} became leader")

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Wait to become the leader, then run `lead` until it ends or the leadership is lost; then return.

        Loss cancels `lead`; an orderly end releases the Lease, so that another candidate follows at once.
        """
        while not await self._take():
            await self._clock.sleep(self._retry)
        logger.info(kv("leading", lease=self._name, identity=self.identity))
        work = asyncio.ensure_future(lead())
        renewal = asyncio.ensure_future(self._renew())
        try:
            await asyncio.wait({work, renewal}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            else:
                logger.error(kv("leadership lost", lease=self._name, identity=self.identity))
        finally:
            for task in (work, renewal):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            self._safe_until = -math.inf
            await self._within(self._renew_deadline, self._release())

    async def _take(self) -> bool:
        """Take the Lease or renew it; what counts is when that was begun, not when the answer came."""
        before = self._clock.monotonic()
        if not await self._try():
            return False
        self._safe_until = before + self._renew_deadline
        return True

    async def _renew(self) -> None:
        while (left := self._safe_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(min(self._retry, left))
            # Too late is lost: somebody else may have led meanwhile, even if nobody does now.
            if self.leads:
                await self._within(self._safe_until - self._clock.monotonic(), self._take())

    async def _within(self, seconds: float, call: Coroutine[Any, Any, bool]) -> bool:
        """Succeed, or be refused, or give up: a server that hangs must not keep us from stopping in time."""
        attempt = asyncio.ensure_future(call)
        alarm = asyncio.ensure_future(self._clock.sleep(max(0.0, seconds)))
        try:
            await asyncio.wait({attempt, alarm}, return_when=asyncio.FIRST_COMPLETED)
            return attempt.done() and attempt.result()
        finally:
            for task in (attempt, alarm):
                task.cancel()
            await asyncio.gather(attempt, alarm, return_exceptions=True)

    async def _try(self) -> bool:
        """Take or renew the Lease if that is allowed; True if it is ours."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
        except ApiError as error:
            if not is_not_found(error):
                return self._refused(error)
            return await self._write(None)
        spec = lease.get("spec") or {}
        seen = (spec.get("holderIdentity"), spec.get("renewTime"), spec.get("leaseTransitions"))
        if self._observed[0] != seen:
            self._observed = (seen, self._clock.monotonic())
        holder = spec.get("holderIdentity")
        expires = self._observed[1] + (spec.get("leaseDurationSeconds") or self._duration)
        if holder and holder != self.identity and self._clock.monotonic() < expires:
            if not self._has_ended(holder):
                return False
            logger.info(kv("the leader's process has ended", lease=self._name, holder=holder))
        return await self._write(lease)

    async def _write(self, lease: Object | None) -> bool:
        stamp = rfc3339_micro(self._clock.now())
        old = (lease or {}).get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, int(self._duration)),
            "acquireTime": old.get("acquireTime") if ours else stamp,
            "renewTime": stamp,
            "leaseTransitions": (old.get("leaseTransitions") or 0) + (0 if ours or lease is None else 1),
        }
        try:
            if lease is None:
                metadata = {"name": self._name, "namespace": self._namespace}
                new = {**_KIND, "metadata": metadata, "spec": spec}
                self._lease = await self._client.create(LEASES, new, self._namespace)
            else:
                self._lease = await self._client.update(LEASES, {**lease, "spec": spec})
            return True
        except ApiError as error:
            # A conflict means that another candidate was faster: daily business.
            return False if error.code == 409 else self._refused(error)

    def _refused(self, error: ApiError) -> bool:
        """Tell once of each reason why the Lease can't be had, such as a missing permission."""
        if error.message != self._told:
            self._told = error.message
            logger.warning(kv("lease not to be had", lease=self._name, error=error.message))
        return False

    async def _release(self) -> bool:
        """Give the Lease back, if it is ours; who can't is followed when it is over."""
        try:
            lease = await self._client.get(LEASES, self._name, self._namespace)
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") != self.identity:
                return False
            stamp = rfc3339_micro(self._clock.now())
            free = {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": stamp, "acquireTime": stamp}
            await self._client.update(LEASES, {**lease, "spec": {**spec, **free}})
        except ApiError as error:
            logger.debug(kv("lease not released", lease=self._name, error=error.message))
            return False
        return True
