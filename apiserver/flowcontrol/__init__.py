"""API Priority and Fairness: how many requests of whom run at once, and who goes first when all can't.

A request is matched to a FlowSchema (`rules.py`, `classifier.py`), which names its priority level and the flow within
it. Each level has seats (`shares.py` says how many), queues for what comes on top (`queues.py`, `sharding.py`) and a
share of every turn of the event loop (`level.py`, `turns.py`). What configures all of it are objects of the API
(`control.py`); `defaults.py` holds those that a cluster is born with, and `upkeep.py` keeps them.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/ and KEP-1040.
"""

from apiserver.flowcontrol.control import FlowControl
from apiserver.flowcontrol.request import Request
from apiserver.flowcontrol.upkeep import Upkeep

__all__ = ["FlowControl", "Request", "Upkeep"]
