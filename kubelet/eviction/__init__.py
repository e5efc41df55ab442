"""What a node does when it runs out of memory, disk or process ids: it says so, takes no more, and ends pods.

    thresholds.py     when the node is short of what, and since when: pure
    ranking.py        which pod ends first: pure
    messages.py       what people are told: pure
    local_storage.py  pods that use more of the disk than their own limits: pure
    pressures.py      what the node is short of, for all who ask
    figures.py        what the node has free and what each pod uses
    stalls.py         the kernel's sign that memory is short
    manager.py        the loop

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/ and
kubernetes/pkg/kubelet/eviction
"""
