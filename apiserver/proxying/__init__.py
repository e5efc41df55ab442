"""What others answer in this server's place, having been asked by it: node agents, pods, services.

Who asks has been authenticated and authorized before; nothing of their credentials is passed on.
"""

from apiserver.proxying.serve import Proxying

__all__ = ["Proxying"]
