"""Who may call a listener: AE titles, addresses and networks, how often at a time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from dcm.conf import DcmConfig
from dcm.errors import AssociationRejectedError, NodeSyntaxError, UsageError
from dcm.net import AccessPolicy, DcmNode, DicomEvent, LocalEntity
from tests.net.scripted import HOST, ConnectionEndedError, calling
from tests.peers import echoscu, free_port

pytestmark = pytest.mark.usefixtures("nothing_left")

VERIFICATION, IMPLICIT = "1.2.840.10008.1.1", "1.2.840.10008.1.2"


async def take(event: DicomEvent) -> int:
    return 0


def entity(policy: AccessPolicy, host: str = HOST) -> LocalEntity:
    return LocalEntity(DcmNode(host, "LOCALAE", 0), policy=policy)


def pynetdicom_echo(port: int, calling_ae: str = "PYECHO", called: str = "LOCALAE", host: str = HOST) -> bool:
    """C-ECHO by pynetdicom's application."""
    command = [sys.executable, "-m", "pynetdicom", "echoscu", "-aet", calling_ae, "-aec", called, host, str(port)]
    return subprocess.run(command, capture_output=True, timeout=25, check=False).returncode == 0


@pytest.mark.parametrize(
    ("allowed", "let_in", "kept_out"),
    [
        (("10.1.2.3",), ("10.1.2.3", "::ffff:10.1.2.3", "::ffff:a01:203"), ("10.1.2.4", "::10.1.2.3", "")),
        (("10.0.0.0/8",), ("10.255.0.1", "::ffff:10.9.9.9"), ("11.0.0.1", "a00::1")),
        (("::ffff:10.0.0.0/104",), ("10.255.0.1", "::ffff:10.9.9.9"), ("11.0.0.1",)),
        (("::ffff:10.1.2.3",), ("10.1.2.3",), ("10.1.2.2",)),
        (("fd00::/8",), ("fd12:3456::1", "FD12:0::1"), ("fe80::1", "253.0.0.1")),
        (("fe80::/10",), ("fe80::1%eth0",), ("fec0::1%eth0",)),
        (("::1", "127.0.0.0/8"), ("::1", "127.0.0.1", "127.8.8.8"), ("::2", "128.0.0.1")),
        (("0.0.0.0/0",), ("192.0.2.7", "::ffff:192.0.2.7"), ("::1",)),
        (("::/0",), ("::1", "fd00::1"), ("no address", "localhost")),
    ],
)
def test_addresses_and_networks(allowed: tuple[str, ...], let_in: tuple[str, ...], kept_out: tuple[str, ...]) -> None:
    policy = AccessPolicy(addresses=frozenset(allowed))
    assert [address for address in let_in if not policy.admits_address(address)] == []
    assert [address for address in kept_out if policy.admits_address(address)] == []
    assert AccessPolicy().admits_address("whatever")


@pytest.mark.parametrize(
    ("settings", "message", "hint"),
    [
        ({"addresses": {"10.1.2.3/8"}}, "not an address or a network: '10.1.2.3/8'", "network is 10.0.0.0/8, the add"),
        ({"addresses": {"scanner.example.org"}}, "not an address or a network", "10.1.2.3 is an address"),
        ({"addresses": {"10.0.0.0/33"}}, "not an address or a network", "10.0.0.0/8 a network"),
        ({"addresses": {"fe80::1%eth0"}}, "not an address or a network", "is not looked at: fe80::1 is the address"),
        ({"addresses": set()}, "no addresses at all: nobody could call", "leave it out"),
        ({"addresses": "10.0.0.1"}, "addresses are a list, not '10.0.0.1'", ""),
        ({"calling_ae_titles": "AE"}, "calling AE titles are a list, not 'AE'", ""),
        ({"calling_ae_titles": []}, "no calling AE titles at all", "leave it out"),
        ({"max_associations": 0}, "max associations must be at least 1, not 0", ""),
        ({"max_per_peer": -1}, "max per peer must be at least 1, not -1", ""),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(settings: dict[str, object], message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        AccessPolicy(**settings)  # type: ignore[arg-type]  # that is what is tested
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_ae_titles_are_checked_and_stripped() -> None:
    policy = AccessPolicy(calling_ae_titles=frozenset({"SCANNER1 "}))
    assert policy.admits_caller("SCANNER1")
    assert not policy.admits_caller("scanner1")  # AE titles are case sensitive (PS3.5 section 6.2)
    assert policy == AccessPolicy(calling_ae_titles=frozenset({"SCANNER1"}))
    with pytest.raises(NodeSyntaxError, match="not an AE title"):
        AccessPolicy(calling_ae_titles=frozenset({"far too long for an AE title"}))


async def test_real_callers_by_ae_title_and_by_what_they_call_us() -> None:
    policy = AccessPolicy(calling_ae_titles=frozenset({"FRIEND"}), require_called_ae=True)
    async with entity(policy).listen(take) as port:
        answers = await asyncio.gather(
            asyncio.to_thread(echoscu, port, "LOCALAE", calling="FRIEND", check=False),
            asyncio.to_thread(echoscu, port, "LOCALAE", calling="STRANGER", check=False),
            asyncio.to_thread(echoscu, port, "OTHER", calling="FRIEND", check=False),
            asyncio.to_thread(pynetdicom_echo, port, "FRIEND"),
            asyncio.to_thread(pynetdicom_echo, port, "STRANGER"),
        )
    assert list(answers) == [True, False, False, True, False]


async def test_real_callers_by_network() -> None:
    async with entity(AccessPolicy(addresses=frozenset({"127.0.0.0/8"}))).listen(take) as port:
        assert await asyncio.to_thread(echoscu, port, "LOCALAE")
        assert await asyncio.to_thread(pynetdicom_echo, port)
    async with entity(AccessPolicy(addresses=frozenset({"10.0.0.0/8", "::1"}))).listen(take) as port:
        assert not await asyncio.to_thread(echoscu, port, "LOCALAE", check=False)


async def test_a_peer_has_so_many_associations_at_a_time_and_others_are_not_its_business() -> None:
    async with entity(AccessPolicy(max_per_peer=2)).listen(take) as port:
        async with calling(port) as one, calling(port) as two:
            await one.associate((VERIFICATION, IMPLICIT), calling="BUSY")
            await two.associate((VERIFICATION, IMPLICIT), calling="BUSY")
            async with calling(port) as three:
                with pytest.raises(ConnectionEndedError):
                    await three.associate((VERIFICATION, IMPLICIT), calling="BUSY")
                assert three.seen == ["rejected"]
            assert await asyncio.to_thread(echoscu, port, "LOCALAE", calling="OTHER")
            await one.release()
            assert await asyncio.to_thread(echoscu, port, "LOCALAE", calling="BUSY")
            await two.release()
        for _ in range(3):  # what is over counts no more
            assert await asyncio.to_thread(echoscu, port, "LOCALAE", calling="BUSY")


async def test_who_is_told_to_come_back_later_is_told_so() -> None:
    """A transient rejection by the presentation layer, local limit exceeded (PS3.8 table 9-21): senders try again."""
    async with entity(AccessPolicy(max_per_peer=1)).listen(take) as port, calling(port) as one:
        await one.associate((VERIFICATION, IMPLICIT), calling="BUSY")
        remote = DcmNode(HOST, "LOCALAE", port)
        with pytest.raises(AssociationRejectedError) as caught:
            await LocalEntity(DcmNode(HOST, "BUSY", 0)).echo(remote)
        assert (caught.value.result, caught.value.source, caught.value.reason) == (2, 3, 2)
        await one.release()


async def test_the_settings_of_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "dcm_conf.toml"
    path.write_text(
        f'[local_nodes.default]\nhost = "{HOST}"\nae_title = "LOCALAE"\nport = {free_port()}\n'
        'allowed_ae_titles = ["FRIEND", "BUSY"]\nallowed_addresses = ["127.0.0.0/8"]\nrequire_called_ae = true\n'
        "max_assoc_per_peer = 1\n"
    )
    conf = await asyncio.to_thread(DcmConfig, path)
    async with conf.entity().listen(take) as port:
        answers = await asyncio.gather(
            asyncio.to_thread(echoscu, port, "LOCALAE", calling="FRIEND", check=False),
            asyncio.to_thread(echoscu, port, "LOCALAE", calling="STRANGER", check=False),
            asyncio.to_thread(pynetdicom_echo, port, "FRIEND", "OTHER"),
        )
        assert list(answers) == [True, False, False]
        async with calling(port) as one:
            await one.associate((VERIFICATION, IMPLICIT), calling="BUSY")
            assert not await asyncio.to_thread(echoscu, port, "LOCALAE", calling="BUSY", check=False)
            await one.release()
