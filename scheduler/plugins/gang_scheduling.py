"""Tells the pods of one group of a Workload from all others: they are placed together, and fail together.

What the group as a whole is held to is the work of `scheduler.gangs` and `scheduler.gang_cycle`.
Source: https://kubernetes.io/docs/concepts/scheduling-eviction/gang-scheduling/
"""

from __future__ import annotations

from scheduler.framework import Plugin
from scheduler.gangs import gang_of

PLUGIN = Plugin("GangScheduling", gang_of, gathers=True)
