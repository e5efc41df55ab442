"""TLS towards the API server: whom to trust, and who we are."""

from __future__ import annotations

import os
import ssl

from apiclient.kubeconfig import Config, KubeconfigError


def client_context(config: Config) -> ssl.SSLContext:
    """Trusts the configuration's authority alone, or without one those that the machine trusts.

    Raises KubeconfigError for certificates and keys that can't be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not config.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if config.ca_pem is not None:
            context.load_verify_locations(cadata=config.ca_pem)
        elif config.verify_tls:
            context.load_default_certs()  # takes fifty milliseconds: there are hundreds
        if config.client_cert_pem and config.client_key_pem:
            _load_identity(context, f"{config.client_cert_pem}\n{config.client_key_pem}")
    except ssl.SSLError as error:
        raise KubeconfigError(
            f"{config.context or config.server}: a certificate or key is damaged: {error}"
        ) from error
    return context


def _load_identity(context: ssl.SSLContext, pem: str) -> None:
    """The ssl module reads certificates from files only: this one is in memory, and gone at once."""
    descriptor = os.memfd_create("identity")
    with os.fdopen(descriptor, "w") as file:
        file.write(pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
