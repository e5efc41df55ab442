"""A pod on its node, from the moment the node hears of it until nothing of it is left; start with `pod_worker`."""
