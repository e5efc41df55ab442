"""How fast pods are bound: the workloads of Kubernetes' own scheduler benchmark, end to end through the API."""
