"""The cluster as the scheduler sees it: every node a row of columns, every pod counted on its node.

It follows the informers event by event and is ahead of them by the pods that are assumed: placed, but not yet
known by the API server to be. All changes happen between two placements, in one thread, so a placement always sees
one consistent state, and nothing is ever copied.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from apimachinery.meta import Object, get_path, labels, name
from apimachinery.taints import Taint
from scheduler.budgets import Budgets
from scheduler.columns import ROWS_FIRST, BoolColumn, CodedColumn, IntColumn, Journal, grown
from scheduler.groups import Groups
from scheduler.images import Images
from scheduler.nominations import Nominations, Nominee
from scheduler.pods import CPU, EPHEMERAL_STORAGE, MEMORY, PODS, HostPort, Requests, Usage, amounts, standing
from scheduler.residents import NOBODY, Resident, Residents
from scheduler.storage import Storage

ANY_ADDRESS = "0.0.0.0"


class Change(enum.Flag):
    """What has happened to a node (or on it) that may let a waiting pod fit."""

    NODE_ADDED = enum.auto()
    NODE_REMOVED = enum.auto()
    NODE_ALLOCATABLE = enum.auto()
    NODE_LABELS = enum.auto()
    NODE_TAINTS = enum.auto()
    POD_REMOVED = enum.auto()
    # Not of a node: of a claim, a volume, a class of storage, or who uses them.
    STORAGE = enum.auto()


NOTHING = Change(0)

Taints = tuple[Taint, ...]
UNKNOWN: Object = {"metadata": {}, "spec": {}}


@dataclass(slots=True, eq=False)
class PlacedPod:
    """A pod and the node that it is counted on; `standing` is its priority and when it was started."""

    node: str
    usage: Usage
    resident: Resident
    assumed: bool
    pod: Object
    standing: tuple[int, str]


class Snapshot:
    """All nodes as columns. Rows below `height` are in use or free (`present` is false); free rows are used again."""

    def __init__(self) -> None:
        self.height = 0
        self.journal = Journal()
        # The rows on which something has changed that matters only where room is made for others.
        self.standings = Journal()
        self.nominations = Nominations()
        self.budgets = Budgets()
        # How many pods have which priority.
        self.priorities: Counter[int] = Counter()
        self.storage = Storage()
        self.groups = Groups()
        self.residents = Residents()
        self.images = Images()
        self.present: BoolColumn = np.zeros(ROWS_FIRST, dtype=np.bool_)
        self.unschedulable: BoolColumn = np.zeros(ROWS_FIRST, dtype=np.bool_)
        self.nominated: BoolColumn = np.zeros(ROWS_FIRST, dtype=np.bool_)
        self.scored_cpu: IntColumn = np.zeros(ROWS_FIRST, dtype=np.int64)
        self.scored_memory: IntColumn = np.zeros(ROWS_FIRST, dtype=np.int64)
        self.taints: CodedColumn[Taints] = CodedColumn(ROWS_FIRST)
        self._none: IntColumn = np.zeros(ROWS_FIRST, dtype=np.int64)
        self._allocatable: dict[str, IntColumn] = {}
        self._requested: dict[str, IntColumn] = {}
        self._labels: dict[str, CodedColumn[str]] = {}
        self._ports: dict[tuple[str, int], dict[int, list[str]]] = {}
        self._rows: dict[str, int] = {}
        self._nodes: list[Object | None] = []
        self._free: list[int] = []
        self._pods: dict[str, PlacedPod] = {}
        self._pods_of: dict[str, dict[str, PlacedPod]] = {}
        for resource in (CPU, MEMORY, EPHEMERAL_STORAGE, PODS):
            self._allocatable[resource] = np.zeros(ROWS_FIRST, dtype=np.int64)
            self._requested[resource] = np.zeros(ROWS_FIRST, dtype=np.int64)

    # What plugins ask.

    @property
    def node_count(self) -> int:
        """How many nodes there are."""
        return len(self._rows)

    @property
    def position(self) -> tuple[int, int]:
        """Tells whether anything has changed that what nodes are asked depends on, storage aside."""
        return self.journal.position, self.residents.renamed

    @property
    def circumstances(self) -> int:
        """Grows whenever pods may have to be described anew though they are the same."""
        return self.groups.version + self.residents.version + self.images.version

    def row(self, node: str) -> int | None:
        """The row of a node."""
        return self._rows.get(node)

    def node(self, row: int) -> Object | None:
        """The node of a row; None if the row is free."""
        return self._nodes[row]

    def node_name(self, row: int) -> str:
        """The name of the node of a row that is in use."""
        node = self._nodes[row]
        assert node is not None, "a free row has no name"
        return name(node)

    def allocatable(self, resource: str) -> IntColumn:
        """How much of a resource each node has for pods."""
        return self._allocatable.get(resource, self._none)

    def requested(self, resource: str) -> IntColumn:
        """How much of it the pods of each node have asked for."""
        return self._requested.get(resource, self._none)

    def label(self, key: str) -> CodedColumn[str]:
        """The values of a label; made when first asked for and kept up to date from then on."""
        column = self._labels.get(key)
        if column is None:
            column = self._labels[key] = CodedColumn(len(self.present))
            for row in self._rows.values():
                column.set(row, labels(self._known(row)).get(key))
        return column

    def rows_with_port(self, wanted: HostPort) -> Iterator[int]:
        """The nodes on which a pod already has this port."""
        for row, addresses in self._ports.get((wanted.protocol, wanted.port), {}).items():
            if wanted.ip == ANY_ADDRESS or wanted.ip in addresses or ANY_ADDRESS in addresses:
                yield row

    def pods_on(self, row: int) -> Iterable[PlacedPod]:
        """The pods that are counted on a node."""
        return self._pods_of.get(self.node_name(row), {}).values()

    def nominees(self, row: int) -> Mapping[str, Nominee]:
        """The pods that wait for room on a node, by uid."""
        return self.nominations.on(self.node_name(row))

    # What happens to nodes.

    def set_node(self, node: Object) -> Change:
        """Take a node as it now is; tells what about it is new and may matter to a pod."""
        row = self._rows.get(name(node))
        if row is None:
            row, before = self._take_row(node), None
            change = Change.NODE_ADDED
        else:
            before = self._known(row)
            change = _difference(before, node)
            self._nodes[row] = node
        if change:
            self._write_node(row, node)
        if self.images.changed(row, before, node) or change:
            self.journal.append(row)
        return change

    def remove_node(self, node: str) -> None:
        """Forget a node. Its pods stay counted under its name, should it come back before they are gone."""
        row = self._rows.pop(node, None)
        if row is None:
            return
        for pod in self._pods_of.get(node, {}).values():
            self._count(row, pod, -1)
        for column in self._allocatable.values():
            column[row] = 0
        for labelled in self._labels.values():
            labelled.set(row, None)
        self.taints.set(row, None)
        self.images.changed(row, self._known(row), None)
        self.present[row] = self.unschedulable[row] = self.nominated[row] = False
        self._nodes[row] = None
        self._free.append(row)
        self.journal.append(row)

    def _take_row(self, node: Object) -> int:
        if self._free:
            row = self._free.pop()
            self._nodes[row] = node
        else:
            row = self.height
            self.height += 1
            self._nodes.append(node)
            if self.height > len(self.present):
                self._grow(2 * len(self.present))
        self._rows[name(node)] = row
        self.nominated[row] = bool(self.nominations.on(name(node)))
        for pod in self._pods_of.get(name(node), {}).values():
            self._count(row, pod, 1)
        return row

    def _write_node(self, row: int, node: Object) -> None:
        self.present[row] = True
        self.unschedulable[row] = bool(node["spec"].get("unschedulable")) if node.get("spec") else False
        has = _allocatable(node)
        for resource in has:
            if resource not in self._allocatable:
                self._allocatable[resource] = np.zeros(len(self.present), dtype=np.int64)
        for resource, column in self._allocatable.items():
            column[row] = has.get(resource, 0)
        self.taints.set(row, _taints(node) or None)
        found = labels(node)
        for key, labelled in self._labels.items():
            labelled.set(row, found.get(key))
        self._drop_outgrown()

    def _drop_outgrown(self) -> None:
        """Nodes that come and go with labels of their own must not fill the memory with values of the past."""
        for key in [key for key, column in self._labels.items() if column.outgrown]:
            del self._labels[key]
        if self.taints.outgrown:
            self.taints = CodedColumn(len(self.present))
            for row in self._rows.values():
                self.taints.set(row, _taints(self._known(row)) or None)

    def _grow(self, rows: int) -> None:
        self.present = grown(self.present, rows)
        self.unschedulable = grown(self.unschedulable, rows)
        self.nominated = grown(self.nominated, rows)
        self.scored_cpu = grown(self.scored_cpu, rows)
        self.scored_memory = grown(self.scored_memory, rows)
        self._none = grown(self._none, rows)
        self._allocatable = {resource: grown(column, rows) for resource, column in self._allocatable.items()}
        self._requested = {resource: grown(column, rows) for resource, column in self._requested.items()}
        self.taints.grow(rows)
        self.residents.grow(rows)
        for column in self._labels.values():
            column.grow(rows)

    def _known(self, row: int) -> Object:
        node = self._nodes[row]
        assert node is not None, "a row in use has its node"
        return node

    # What happens to pods.

    def place(
        self,
        uid: str,
        node: str,
        usage: Usage,
        resident: Resident = NOBODY,
        *,
        assumed: bool = False,
        pod: Object = UNKNOWN,
    ) -> None:
        """Count a pod on a node, and no longer where or as it was counted before."""
        old = self._pods.get(uid)
        if old is not None and old.node == node and old.usage == usage:
            old.assumed = old.assumed and assumed
            if old.resident != resident:
                self._rename(old, resident)
            self._take_standing(old, pod)
            return
        self.remove(uid)
        placed = self._pods[uid] = PlacedPod(node, usage, resident, assumed, pod, standing(pod))
        self._pods_of.setdefault(node, {})[uid] = placed
        self._count_priority(placed, 1)
        row = self._rows.get(node)
        if row is not None:
            self._count(row, placed, 1)
            self.journal.append(row)

    def _rename(self, pod: PlacedPod, resident: Resident) -> None:
        """A pod is another for others, and for its node the same: zones become labels of pods once they are bound."""
        row = self._rows.get(pod.node)
        if row is not None:
            self.residents.rename(row, pod.resident, resident)
            self.standings.append(row)
        pod.resident = resident

    def _take_standing(self, placed: PlacedPod, pod: Object) -> None:
        self._count_priority(placed, -1)
        placed.pod = pod
        before, placed.standing = placed.standing, standing(pod)
        self._count_priority(placed, 1)
        row = self._rows.get(placed.node)
        if row is not None and before != placed.standing:
            self.standings.append(row)

    def remove(self, uid: str) -> PlacedPod | None:
        """No longer count a pod; tells where and as what it was counted."""
        placed = self._pods.pop(uid, None)
        if placed is None:
            return None
        self._count_priority(placed, -1)
        pods = self._pods_of[placed.node]
        del pods[uid]
        if not pods:
            del self._pods_of[placed.node]
        row = self._rows.get(placed.node)
        if row is not None:
            self._count(row, placed, -1)
            self.journal.append(row)
        return placed

    def _count_priority(self, placed: PlacedPod, sign: int) -> None:
        priority, _ = placed.standing
        self.priorities[priority] += sign
        if not self.priorities[priority]:
            del self.priorities[priority]

    def placed(self, uid: str) -> PlacedPod | None:
        """Where a pod is counted."""
        return self._pods.get(uid)

    def nominate(self, uid: str, nominee: Nominee) -> None:
        """Keep room on a node for a pod that waits for it, and nowhere else."""
        self.forget_nomination(uid)
        self.nominations.add(uid, nominee)
        self._nominees_changed(nominee.node)

    def forget_nomination(self, uid: str) -> Nominee | None:
        """Keep no room for a pod any more; tells where that was."""
        nominee = self.nominations.discard(uid)
        if nominee is not None:
            self._nominees_changed(nominee.node)
        return nominee

    def _nominees_changed(self, node: str) -> None:
        row = self._rows.get(node)
        if row is not None:
            self.nominated[row] = bool(self.nominations.on(node))
            self.standings.append(row)

    @contextmanager
    def supposing(self, rows: NDArray[np.intp], usage: Usage) -> Iterator[None]:
        """Have each of these (different) nodes count one pod more for a while; host ports are not supposed."""
        columns = [(self._counted(resource), value) for resource, value in usage.requests]
        columns += [(self._requested[PODS], 1)]
        columns += [(self.scored_cpu, usage.scored_cpu), (self.scored_memory, usage.scored_memory)]
        for column, value in columns:
            column[rows] += value
        try:
            yield
        finally:
            for column, value in columns:
                column[rows] -= value

    def _count(self, row: int, pod: PlacedPod, sign: int) -> None:
        self.residents.count(row, pod.resident, sign)
        self.count_usage(row, pod.usage, sign)

    def count_usage(self, row: int, usage: Usage, sign: int) -> None:
        """Count on a node what a pod takes up, or no longer; whoever only supposes that takes it back."""
        for resource, value in usage.requests:
            self._counted(resource)[row] += sign * value
        self._requested[PODS][row] += sign
        self.scored_cpu[row] += sign * usage.scored_cpu
        self.scored_memory[row] += sign * usage.scored_memory
        for port in usage.ports:
            used = self._ports.setdefault((port.protocol, port.port), {})
            if sign > 0:
                used.setdefault(row, []).append(port.ip)
            else:
                used[row].remove(port.ip)
                if not used[row]:
                    del used[row]
                if not used:
                    del self._ports[port.protocol, port.port]

    def _counted(self, resource: str) -> IntColumn:
        column = self._requested.get(resource)
        if column is None:
            column = self._requested[resource] = np.zeros(len(self.present), dtype=np.int64)
        return column


def _allocatable(node: Object) -> Requests:
    return amounts(get_path(node, "status", "allocatable"))


def _taints(node: Object) -> Taints:
    listed: list[Mapping[str, str]] = get_path(node, "spec", "taints", default=[])
    return tuple(map(Taint.of, listed))


def _difference(old: Object, new: Object) -> Change:
    """What differs between two versions of a node; a heartbeat makes no difference."""
    change = NOTHING
    if get_path(old, "status", "allocatable") != get_path(new, "status", "allocatable"):
        change |= Change.NODE_ALLOCATABLE
    if labels(old) != labels(new):
        change |= Change.NODE_LABELS
    old_spec, new_spec = old.get("spec") or {}, new.get("spec") or {}
    if any(old_spec.get(field) != new_spec.get(field) for field in ("taints", "unschedulable")):
        change |= Change.NODE_TAINTS
    return change
