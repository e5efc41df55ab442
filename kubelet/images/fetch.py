"""A pull for a node agent: what is wanted comes as JSON on standard input, the outcome goes out as one line of JSON.

{"reference": R, "keys": [{pattern, username, password, …, secret}, …]}
{"id": ID, "offer": N}   or   {"reason": "ErrImagePull", "error": words}
"""

from __future__ import annotations

import argparse
import os
import signal
import sys

import orjson

from kubelet.images import registries
from kubelet.images.auth import Credential
from kubelet.images.index import PulledWith
from kubelet.images.keyring import Key
from kubelet.images.pull import Offer, Puller
from kubelet.images.reference import parse
from kubelet.images.store import ImageError, ImageStore
from kubelet.images.unpackers import Unpackers
from kubelet.runtime import syscalls


def run_fetch(args: argparse.Namespace) -> int:
    """Pull, tell, and see all of it onto the disk."""
    # Without the node agent nobody wants the image any more; the template behind `unpackers` takes away what is half
    # there. The agent may have died before this line: then the pipe has no reader.
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    with Unpackers() as unpackers:
        wanted = orjson.loads(sys.stdin.buffer.read())
        store = ImageStore(args.image_dir)
        keys = [Key(**{**key, "secret": tuple(key["secret"])}) for key in wanted["keys"]]
        offers = [
            Offer(Credential(k.username, k.password, k.identity_token, k.registry_token), _pulled(k)) for k in keys
        ]
        try:
            puller = Puller(store, unpackers, registries.load(store.root))
            pulled = puller.pull(parse(wanted["reference"]), offers)
        except (ImageError, registries.RegistriesError) as error:
            reason = error.reason if isinstance(error, ImageError) else "ErrImagePull"
            _tell({"reason": reason, "error": str(error)})
            return 0
        _tell({"id": pulled.image.id, "offer": pulled.offer})
        if not pulled.was_present:
            store.make_durable()
    return 0


def _pulled(key: Key) -> PulledWith:
    if not key.secret:
        return {"node": True}
    return {"secrets": [[*key.secret, key.hash]]}


def _tell(answer: dict[str, object]) -> None:
    os.write(sys.stdout.fileno(), orjson.dumps(answer) + b"\n")
