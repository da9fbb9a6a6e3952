"""Certificates for TLS between dcm and its peers, made on the spot by openssl."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.peers.dcmtk import run_tool
from tests.peers.process import HOST, require_program

_EXTENSIONS = f"""
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
subjectAltName = IP:{HOST}, DNS:localhost
[req]
distinguished_name = name
[name]
"""


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, as PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Certificates:
    """A certification authority, a certificate by it for each side, and one for 127.0.0.1 by somebody else."""

    ca: KeyPair
    server: KeyPair
    client: KeyPair
    stranger: KeyPair

    def dcmtk_options(self, own: KeyPair) -> list[str]:
        """TLS with authentication of both sides, for DCMTK's tools."""
        return ["+tls", str(own.key), str(own.certificate), "+cf", str(self.ca.certificate)]


def make_certificates(directory: Path) -> Certificates:
    """Make them; takes some tenths of a second."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "openssl.cnf").write_text(_EXTENSIONS)
    ca = _authority(directory, "ca")
    other = _authority(directory, "other-ca")
    return Certificates(
        ca, _leaf(directory, "server", ca), _leaf(directory, "client", ca), _leaf(directory, "stranger", other)
    )


def _openssl(*arguments: str | Path) -> None:
    run_tool([require_program("openssl", "openssl"), *map(str, arguments)])


def _authority(directory: Path, name: str) -> KeyPair:
    pair = KeyPair(directory / f"{name}.pem", directory / f"{name}.key")
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN=dcm test {name}"),
        *("-config", directory / "openssl.cnf", "-extensions", "ca", "-keyout", pair.key, "-out", pair.certificate),
    )
    return pair


def _leaf(directory: Path, name: str, ca: KeyPair) -> KeyPair:
    pair = KeyPair(directory / f"{name}.pem", directory / f"{name}.key")
    config, request = directory / "openssl.cnf", directory / f"{name}.csr"
    _openssl(
        *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=dcm test {name}", "-config", config),
        *("-keyout", pair.key, "-out", request),
    )
    _openssl(
        *("x509", "-req", "-in", request, "-CA", ca.certificate, "-CAkey", ca.key, "-CAcreateserial", "-days", "2"),
        *("-extfile", config, "-extensions", "leaf", "-out", pair.certificate),
    )
    return pair
