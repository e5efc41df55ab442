"""Secrets are encrypted at rest: AES-256-GCM under a key in a file of mode 0600 beside the database.

A value is bound to its place (resource, namespace, name, revision), so that it can't be copied onto another row.
"""

from __future__ import annotations

import os
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from apiserver.storage.log import StorageError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

PREFIX = b"wherry:aesgcm:v1:"
KEY_BYTES, NONCE_BYTES = 32, 12
ENCRYPTED = frozenset({"core/secrets"})


class Encryption:
    """Encrypts the values of some resources; the key is made when it is first needed. Its calls block."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._making = threading.Lock()

    @cached_property
    def _cipher(self) -> AESGCM:
        # Imported at the first secret: it costs more memory than all the rest of the storage.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            with self._making:
                return AESGCM(self._key())
        except (OSError, ValueError) as error:
            raise StorageError(f"the key of the secrets, {self._key_file}, can't be used: {error}") from error

    def _key(self) -> bytes:
        try:
            return self._key_file.read_bytes()
        except FileNotFoundError:
            key = os.urandom(KEY_BYTES)
        # Whole or not at all, and on disk before anything is encrypted with it.
        temporary = self._key_file.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._key_file)
        folder = os.open(self._key_file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return key

    def seal(self, resource: str, place: str, value: bytes) -> bytes:
        """What is stored for a value: itself, or its encrypted form. Raises StorageError."""
        if resource not in ENCRYPTED:
            return value
        nonce = os.urandom(NONCE_BYTES)
        return PREFIX + nonce + self._cipher.encrypt(nonce, value, place.encode())

    def open(self, place: str, stored: bytes) -> bytes:
        """The value of what `is_sealed`. Raises StorageError if it was tampered with or the key is another one."""
        nonce, sealed = stored[len(PREFIX) :][:NONCE_BYTES], stored[len(PREFIX) + NONCE_BYTES :]
        cipher = self._cipher
        from cryptography.exceptions import InvalidTag

        try:
            return cipher.decrypt(nonce, sealed, place.encode())
        except InvalidTag as error:
            raise StorageError(
                f"{place} can't be decrypted: it was altered, or {self._key_file} is not the key it was made with"
            ) from error


def is_sealed(stored: bytes) -> bool:
    """Whether it has been encrypted."""
    return stored.startswith(PREFIX)
