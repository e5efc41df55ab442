"""Pseudo-terminals of containers, opened in the container's own devpts; see pty(7) and ioctl_tty(2)."""

from __future__ import annotations

import fcntl
import os
import struct
import termios

from kubelet.runtime import syscalls as sc

# From asm-generic/ioctls.h: the termios module lacks them.
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441
TTY_GROUP = 5


def open_in_container(root_fd: int) -> tuple[int, int]:
    """A new terminal below root_fd: master and slave (both close-on-exec)."""
    master = sc.openat2(root_fd, "/dev/pts/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    fcntl.ioctl(master, TIOCSPTLCK, struct.pack("i", 0))
    # The peer is opened through the master: a path could be made to name another terminal meanwhile.
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def take(slave: int, uid: int) -> None:
    """Make the slave this session's controlling terminal and its standard streams."""
    os.fchown(slave, uid, -1)
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(slave, fd, inheritable=True)
    os.close(slave)


def resize(master: int, width: int, height: int) -> None:
    """Tell the terminal its size; the kernel sends SIGWINCH to who reads it."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
