"""Containers that another runtime makes: the handlers that RuntimeClasses name, through the OCI command line.

A pod keeps its sandbox, its supervisor, its logs and its exit codes whatever makes its containers; only the step
from a config to a process is another program's. In the node agent:

    registry.py     which handlers this node has, and what they can do
    bundle.py       what a container becomes: a config.json for that program; pure

and in the pod's supervisor, which loads them for pods with a handler alone:

    commands.py     one run of the program (create, start, exec, kill, delete), in a mount namespace of its own
    process.py      a process that the program has made, from the first command to its end
    container.py    a container of such processes

Source: https://github.com/opencontainers/runtime-spec/blob/main/runtime.md and, for the command line,
https://github.com/opencontainers/runtime-tools/blob/master/docs/command-line-interface.md
"""
