"""TLS, in both directions, with DCMTK on the other side."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dcm.errors import ConfigError, ConnectionFailedError, NetworkError, UsageError
from dcm.net import DcmNode, DicomEvent, LocalEntity, RemoteNode, Timeouts, TlsConfig
from dcm.report import TransferReport
from tests import data
from tests.net.scripted import HOST, calling
from tests.net.support import bytes_of, data_sets
from tests.peers import Certificates, DcmtkStorescp, KeyPair, echoscu, storescu

pytestmark = pytest.mark.usefixtures("nothing_left")


def config(certificates: Certificates, own: KeyPair | None, ca: Path | None = None, **settings: bool) -> TlsConfig:
    return TlsConfig(
        ca=str(ca or certificates.ca.certificate),
        cert=str(own.certificate) if own else None,
        key=str(own.key) if own else None,
        **settings,
    )


@pytest.fixture
def secure_receiver(tmp_path: Path, certificates: Certificates) -> Iterator[DcmtkStorescp]:
    """A storescp that wants TLS, and a certificate of ours."""
    options = ("+xa", *certificates.dcmtk_options(certificates.server))
    with DcmtkStorescp(tmp_path / "storescp", options=options) as peer:
        yield peer


def secure(peer: DcmtkStorescp, tls: TlsConfig) -> RemoteNode:
    return RemoteNode(HOST, peer.ae_title, peer.port, tls=tls, timeouts=Timeouts(association=5))


def test_sending_over_tls(
    local: LocalEntity,
    secure_receiver: DcmtkStorescp,
    certificates: Certificates,
    samples: list[data.Sample],
    tmp_path: Path,
) -> None:
    node = secure(secure_receiver, config(certificates, certificates.client))
    large = data.write_multi_frame(tmp_path / "large.dcm", 5 << 20)
    for _ in range(2):
        assert asyncio.run(local.echo(node))
    asyncio.run(local.upload(node, [*(sample.path for sample in samples), large.path]))
    assert data_sets(secure_receiver.received()) == bytes_of([*samples, large])


async def test_a_certificate_that_is_not_trusted(
    local: LocalEntity, secure_receiver: DcmtkStorescp, certificates: Certificates
) -> None:
    wrong = config(certificates, certificates.client, certificates.stranger.certificate)
    with pytest.raises(ConnectionFailedError, match=r"the TLS certificate of .* is not trusted") as caught:
        await local.echo(secure(secure_receiver, wrong))
    assert "check ca" in caught.value.hint
    unverified = replace(wrong, verify=False)
    assert await local.echo(secure(secure_receiver, unverified))


async def test_a_host_name_that_is_not_in_the_certificate(
    local: LocalEntity, secure_receiver: DcmtkStorescp, certificates: Certificates
) -> None:
    tls = config(certificates, certificates.client)
    node = RemoteNode("127.0.0.2", secure_receiver.ae_title, secure_receiver.port, tls=tls)
    with pytest.raises(ConnectionFailedError, match="mismatch"):
        await local.echo(node)
    assert await local.echo(replace(node, tls=replace(tls, check_hostname=False)))


async def test_without_a_certificate_of_ours(
    local: LocalEntity, secure_receiver: DcmtkStorescp, certificates: Certificates
) -> None:
    for own in (None, certificates.stranger):
        with pytest.raises(NetworkError) as caught:
            await local.echo(secure(secure_receiver, config(certificates, own)))
        assert str(secure_receiver.port) in str(caught.value)


async def test_tls_with_a_peer_that_has_none_and_the_other_way_round(
    local: LocalEntity, dcmtk_receiver: DcmtkStorescp, secure_receiver: DcmtkStorescp, certificates: Certificates
) -> None:
    with pytest.raises(ConnectionFailedError, match=r"no TLS with|no connection to"):
        await local.echo(secure(dcmtk_receiver, config(certificates, certificates.client)))
    with pytest.raises(NetworkError):
        await local.echo(secure_receiver.node)


def test_listening_with_tls(certificates: Certificates, samples: list[data.Sample]) -> None:
    got: set[bytes] = set()

    async def handler(event: DicomEvent) -> int:
        if event.instance is not None:
            got.add(bytes(event.instance.read(0, event.instance.size)))
        return 0

    async def receive() -> None:
        entity = LocalEntity(DcmNode(HOST, "LOCALAE", 0), tls=config(certificates, certificates.server))
        async with entity.listen(handler) as port:
            options = ["-R", *certificates.dcmtk_options(certificates.client)]
            explicit = [sample.path for sample in samples if sample.transfer_syntax_uid != "1.2.840.10008.1.2"]
            await asyncio.to_thread(storescu, port, "LOCALAE", explicit, options=options)
            strangers = certificates.dcmtk_options(certificates.stranger)
            assert not await asyncio.to_thread(echoscu, port, "LOCALAE", options=strangers, check=False)
            assert not await asyncio.to_thread(echoscu, port, "LOCALAE", check=False)

    asyncio.run(receive())
    assert got == bytes_of(sample for sample in samples if sample.transfer_syntax_uid != "1.2.840.10008.1.2")


async def test_a_listener_with_tls_closes_though_a_handshake_hangs(certificates: Certificates) -> None:
    async def handler(event: DicomEvent) -> int:
        return 0

    # In its debug mode asyncio logs each handshake that fails.
    asyncio.get_running_loop().set_debug(False)
    entity = LocalEntity(
        DcmNode(HOST, "LOCALAE", 0), tls=config(certificates, certificates.server), timeouts=Timeouts(association=1)
    )
    async with entity.listen(handler) as port:
        link = calling(port)
        silent = await link.__aenter__()
    assert (await silent.rest())[-1] == "end"
    await link.__aexit__(None, None, None)


async def test_both_sides_of_ours(local: LocalEntity, certificates: Certificates, samples: list[data.Sample]) -> None:
    got: list[str] = []

    async def handler(event: DicomEvent) -> int:
        if event.instance is not None:
            got.append(event.instance.sop_instance_uid)
        return 0

    entity = LocalEntity(DcmNode(HOST, "SECURE", 0), tls=config(certificates, certificates.server))
    async with entity.listen(handler) as port:
        report = TransferReport()
        node = RemoteNode(HOST, "SECURE", port, tls=config(certificates, certificates.client))
        await local.upload(node, [sample.path for sample in samples], report)
        assert report.ok, report.summary()
    assert got == [sample.sop_instance_uid for sample in samples]


def test_configurations_that_cannot_be(certificates: Certificates, local: LocalEntity, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without its certificate"):
        TlsConfig(key="key.pem")
    missing = TlsConfig(ca=str(tmp_path / "missing.pem"))
    with pytest.raises(ConfigError, match=r"cannot read the CA certificates in .*missing\.pem"):
        asyncio.run(local.echo(RemoteNode(HOST, "X", 1, tls=missing)))
    mixed = TlsConfig(
        ca=str(certificates.ca.certificate), cert=str(certificates.client.certificate), key=str(certificates.server.key)
    )
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        asyncio.run(local.echo(RemoteNode(HOST, "X", 1, tls=mixed)))

    async def handler(event: DicomEvent) -> int:
        return 0

    async def listen() -> None:
        async with LocalEntity(DcmNode(HOST, "LOCALAE", 0), tls=TlsConfig()).listen(handler):
            raise AssertionError("it listens")

    with pytest.raises(ConfigError, match="needs a certificate"):
        asyncio.run(listen())
