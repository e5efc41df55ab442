"""This node's runtime as an OCI command, for other engines to call: `wherry-runtime create`, `start`, `state`, …

Each run is a short process, so that nothing is loaded which its command does not need:

    main.py             what is run and how mistakes are told
    arguments.py        the command line, which is runc's
    state.py            ROOT/ID/: what is known of a container, and whether it runs
    bundle.py           a bundle's config.json as a plan for launch.py; pure but for reading files
    first_process.py    create: from clone3(2) to the wait for `start`, out of launch.py's steps
    further_process.py  exec: a process that joins a container
    creating.py         create: what becomes of the plan, and of the process that carries it out
    lifecycle.py        start, run, kill, delete
    foreground.py       run and exec without --detach: signals, terminals and the exit code
    hooks.py            programs that the config wants run on the way
    resources.py        pause, resume, update, events
    about.py            state, list, ps, features, spec: what only tells

The container's process is a child of `create`, which ends: whoever called it (conmon, containerd's shim) adopts the
process by being a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)), and hears how it ends.

Sources: https://github.com/opencontainers/runtime-spec/blob/main/runtime.md and, for the command line, runc(8).
"""
