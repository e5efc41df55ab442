"""Hollow nodes: many node agents without a runtime, in one process.

To the API they are as real ones: each has its Node, its Lease and its status, and says of its pods that they are
created, run, are ready, end and are gone, after delays that can be set. Nothing runs. So schedulers and controllers
are tried at a size that no single machine could run.

    settings.py    what the nodes are like, and how pods behave on them: flags, and annotations of pods
    node_plan.py   what a hollow Node says of itself; pure
    pod_plan.py    what a pod's containers would be doing at a moment; pure
    addresses.py   which addresses the pods have; pure
    nodes.py       registers the nodes, keeps their Leases and statuses
    pods.py        tells the statuses of their pods, and takes away those that are deleted
    agent.py       all of it together

Clock, randomness and client are passed in, so that a whole cluster can be run under virtual time.
"""
