"""Makes room for a pod that fits nowhere, by sending less important pods away from a node.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#preemption
"""

from __future__ import annotations

from functools import partial

from scheduler.diagnosis import histogram, none_available
from scheduler.framework import Attempt, Plugin, Remedy
from scheduler.preemption import Share, Trials, hangs_together, room_is_being_made

NAME = "DefaultPreemption"
NEVER = "not eligible due to preemptionPolicy=Never."
UNDER_WAY = "not eligible due to a terminating pod on the nominated node."
TRIALS_KEPT = 16


def post_filter(share: Share, attempt: Attempt) -> Remedy:
    """Who has to go from which node for this pod; or why nobody is sent away for it."""
    if why := _not_eligible(attempt):
        return Remedy(None, message=f"preemption: {why}")
    snapshot, trials = attempt.snapshot, _trials(attempt)
    trials.catch_up(snapshot)
    own = snapshot.nominations.get(attempt.applicant.uid)
    at_home = snapshot.row(own.node) if own is not None else None
    if at_home is not None:
        # Others find this pod's own room kept there, it does not.
        trials.forget(at_home)
    row = trials.best(snapshot, attempt.helpable, attempt.applicant, share)
    found = trials.victims[row].pods if row is not None else ()
    counts = trials.why_not(snapshot, attempt.helpable) if row is None else None
    if at_home is not None:
        trials.forget(at_home)
    if row is None:
        assert counts is not None, "it has been counted why no node can be helped"
        return Remedy("", message=f"preemption: {none_available(snapshot.node_count, histogram(counts))}")
    return Remedy(snapshot.node_name(row), found)


def _not_eligible(attempt: Attempt) -> str:
    """Why nobody may be sent away for a pod; "" if they may."""
    if attempt.pod["spec"].get("preemptionPolicy") == "Never":
        return NEVER
    own = attempt.snapshot.nominations.get(attempt.applicant.uid)
    row = attempt.snapshot.row(own.node) if own is not None else None
    if row is None or not attempt.helpable[row]:
        return ""
    return UNDER_WAY if room_is_being_made(attempt.snapshot, row, attempt.applicant.priority) else ""


def _trials(attempt: Attempt) -> Trials:
    """What is known already for pods like this one; nothing where that can't be told from the nodes' changes."""
    profile, pod_class, priority = attempt.profile, attempt.pod_class, attempt.applicant.priority
    together = hangs_together(profile, pod_class, attempt.snapshot)
    if together or pod_class.fleeting:
        return Trials(profile, pod_class, priority, together)
    key, memory = (NAME, pod_class, priority), attempt.memory
    found = memory.get(key)
    if found is None:
        found = memory[key] = Trials(profile, pod_class, priority, together)
        if len(memory) > TRIALS_KEPT:
            memory.popitem(last=False)
    else:
        memory.move_to_end(key)
    known: Trials = found
    return known


def plugin(share: Share | None = None) -> Plugin:
    """The plugin, with how many candidates are compared."""
    return Plugin(NAME, post_filter=partial(post_filter, share or Share()))


PLUGIN = plugin()
