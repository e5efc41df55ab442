"""One container of a pod: what it is started with, its start, hooks and end, and what its status says of it."""
