"""Secrets are encrypted at rest: AES-256-GCM under a key in a file of mode 0600 beside the database.

A value is bound to its place (resource, namespace, name, revision), so that it can't be copied onto another row.
"""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = b"wherry:aesgcm:v1:"
KEY_BYTES, NONCE_BYTES = 32, 12
ENCRYPTED = frozenset({"core/secrets"})


class Encryption:
    """Encrypts the values of some resources; the key is made when it is first needed."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    @cached_property
    def _cipher(self) -> AESGCM:
        # Imported at the first secret: it costs more memory than all the rest of the storage.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            key = self._key_file.read_bytes()
        except FileNotFoundError:
            key = os.urandom(KEY_BYTES)
            descriptor = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(file.fileno())
        return AESGCM(key)

    def seal(self, resource: str, place: str, value: bytes) -> bytes:
        """What is stored for a value: itself, or its encrypted form."""
        if resource not in ENCRYPTED:
            return value
        nonce = os.urandom(NONCE_BYTES)
        return PREFIX + nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, place: str, stored: bytes) -> bytes:
        """The value of what is stored. Raises cryptography's InvalidTag if it was tampered with."""
        if not stored.startswith(PREFIX):
            return stored
        nonce, sealed = stored[len(PREFIX) :][:NONCE_BYTES], stored[len(PREFIX) + NONCE_BYTES :]
        return self._cipher.decrypt(nonce, sealed, place.encode())
