"""TLS for associations (PS3.15 annex B: the BCP 195 profiles)."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from dcm.errors import ConfigError

if TYPE_CHECKING:
    from dcm.node import TlsConfig

__all__ = ["client_context", "server_context"]


def client_context(config: TlsConfig) -> ssl.SSLContext:
    """The context with which we connect to a peer.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read or do not fit.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = config.verify and config.check_hostname
    context.verify_mode = ssl.CERT_REQUIRED if config.verify else ssl.CERT_NONE
    try:
        if config.ca is not None:
            context.load_verify_locations(config.ca)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot read the CA certificates in {config.ca}: {error}") from error
    _load_certificate(context, config)
    return context


def server_context(config: TlsConfig) -> ssl.SSLContext:
    """The context with which our listener takes associations; with `verify` callers must show a certificate.

    Raises
    ------
    ConfigError
        A certificate or key cannot be read or do not fit, or there is none.
    """
    if config.cert is None:
        raise ConfigError("a TLS listener needs a certificate", hint="set cert and key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.verify:
        context.verify_mode = ssl.CERT_REQUIRED
        try:
            if config.ca is not None:
                context.load_verify_locations(config.ca)
            else:
                context.load_default_certs(ssl.Purpose.CLIENT_AUTH)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"cannot read the CA certificates in {config.ca}: {error}") from error
    _load_certificate(context, config)
    return context


def _load_certificate(context: ssl.SSLContext, config: TlsConfig) -> None:
    if config.cert is None:
        return
    try:
        context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"cannot use the certificate {config.cert} with its key: {error}") from error
