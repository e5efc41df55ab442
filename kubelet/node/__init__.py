"""The node itself: its machine, its Node object and Lease, its cgroups by QoS class, its routes to other nodes."""
