"""A small archive on loopback: pynetdicom's services over a catalogue in memory and files in a temporary directory."""

from __future__ import annotations

import itertools
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_context, evt

from dcm.demo._catalogue import Catalogue, Holding, IdentifierError
from dcm.demo._samples import pydicom_files, write_samples
from dcm.levels import QueryLevel
from dcm.node import DcmNode

if TYPE_CHECKING:
    from pynetdicom.events import Event
    from pynetdicom.presentation import PresentationContext
    from typing_extensions import Self

__all__ = ["DemoArchive"]

HOST = "127.0.0.1"

_LOGGER = logging.getLogger("pynetdicom")

# DIMSE statuses (PS3.4 sections B.2.3, C.4.1.1.4, C.4.2.1.5 and C.4.3.1.4).
SUCCESS = 0x0000
PENDING = 0xFF00
CANCELLED = 0xFE00
IDENTIFIER_DOES_NOT_MATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNABLE_TO_PROCESS = 0xC001

VERIFICATION = "1.2.840.10008.1.1"
# The highest level of the information models, by the SOP classes of C-FIND, C-MOVE and C-GET (PS3.4 section C.6).
_ROOTS = {
    f"1.2.840.10008.5.1.4.1.2.{model}.{operation}": root
    for model, root in ((1, QueryLevel.PATIENT), (2, QueryLevel.STUDY))
    for operation in (1, 2, 3)
}


class DemoArchive:
    """An archive with sample studies, listening on this machine only, in threads of this process.

    It provides C-ECHO, C-FIND, C-GET and C-MOVE at all levels in the patient root and the study root information
    model, hierarchically, and C-STORE. It forgets what was stored when it ends.

    Parameters
    ----------
    ae_title : str
        What it is called; it rejects associations for anybody else.
    port : int
        Where it listens; 0 takes one that is free.
    destinations : mapping of str to DcmNode
        The AE titles that it may move to.
    files : iterable of Path, optional
        What it holds; without it, the sample studies and a few of pydicom's own files.

    Examples
    --------
    ::

        with DemoArchive() as archive:
            asyncio.run(local.echo(archive.node))
    """

    def __init__(
        self,
        ae_title: str = "DCMDEMO",
        port: int = 0,
        *,
        destinations: Mapping[str, DcmNode] | None = None,
        files: Iterable[Path] | None = None,
    ) -> None:
        self._node = DcmNode(HOST, ae_title, port)
        self._destinations = dict(destinations or {})
        self._files = files
        self._catalogue = Catalogue()
        self._numbers = itertools.count(1)
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._ae: AE | None = None
        self._log_level = logging.NOTSET

    @property
    def node(self) -> DcmNode:
        """Its address, with the port that it listens at."""
        return self._node

    def count(self, level: QueryLevel) -> int:
        """How many patients, studies, series or instances it holds."""
        return self._catalogue.count(level)

    def start(self) -> None:
        """Make the samples and begin to listen.

        Raises
        ------
        OSError
            The port is taken, or the temporary directory cannot be written.
        """
        self._directory = tempfile.TemporaryDirectory(prefix="dcm-demo-archive-")
        try:
            files = self._files
            if files is None:
                files = [*write_samples(Path(self._directory.name)), *pydicom_files()]
            for file in files:
                self._catalogue.add(file)
            self._listen()
        except BaseException:
            self._directory.cleanup()
            raise

    def stop(self) -> None:
        """Abort what is going on, stop listening and remove the samples. Idempotent."""
        ae, self._ae = self._ae, None
        if ae is not None:
            ae.shutdown()
            _LOGGER.setLevel(self._log_level)
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.cleanup()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _listen(self) -> None:
        # It narrates every message on a level that a user's log may well show: this is the peer, not what is shown.
        self._log_level = _LOGGER.level
        _LOGGER.setLevel(logging.CRITICAL)
        ae = AE(ae_title=self._node.ae_title)
        ae.require_called_aet = True
        ae.maximum_associations = 20
        ae.maximum_pdu_size = 0
        ae.add_supported_context(VERIFICATION)
        for model in _ROOTS:
            ae.add_supported_context(model)
        # In order of preference, where a context comes with several: what the samples are in is first.
        syntaxes = [ExplicitVRLittleEndian, *(uid for uid in ALL_TRANSFER_SYNTAXES if uid != ExplicitVRLittleEndian)]
        for context in AllStoragePresentationContexts:
            ae.add_supported_context(str(context.abstract_syntax), syntaxes, scu_role=True, scp_role=True)
        handlers: list[Any] = [
            (evt.EVT_C_ECHO, _on_echo),
            (evt.EVT_C_FIND, self._on_find),
            (evt.EVT_C_GET, self._on_get),
            (evt.EVT_C_MOVE, self._on_move),
            (evt.EVT_C_STORE, self._on_store),
        ]
        server = ae.start_server((HOST, self._node.port), block=False, evt_handlers=handlers)
        assert server is not None, "what a server that does not block is returned as"
        self._ae = ae
        self._node = DcmNode(HOST, self._node.ae_title, server.server_address[1])

    def _on_find(self, event: Event) -> Iterator[tuple[int, Dataset | None]]:
        """Answer a C-FIND; pynetdicom sends the final success itself."""
        try:
            for answer in self._catalogue.find(event.identifier, _root(event)):
                if event.is_cancelled:
                    yield CANCELLED, None
                    return
                answer.RetrieveAETitle = self._node.ae_title
                yield PENDING, answer
        except IdentifierError:
            yield IDENTIFIER_DOES_NOT_MATCH, None
        except (ValueError, NotImplementedError):
            # What pydicom raises for an identifier whose values are not what their VR allows.
            yield UNABLE_TO_PROCESS, None

    def _on_get(self, event: Event) -> Iterator[int | tuple[int, Dataset | None]]:
        """Answer a C-GET, as pynetdicom wants it: the number of instances, then each of them."""
        try:
            holdings = self._catalogue.select(event.identifier, _root(event))
        except IdentifierError:
            yield 1
            yield IDENTIFIER_DOES_NOT_MATCH, None
            return
        yield len(holdings)
        yield from _instances(event, holdings)

    def _on_move(self, event: Event) -> Iterator[Any]:
        """Answer a C-MOVE: the address, the number of instances, then each of them."""
        destination = self._destinations.get(event.move_destination or "")
        if destination is None:
            yield None, None
            return
        try:
            holdings = self._catalogue.select(event.identifier, _root(event))
        except IdentifierError:
            yield destination.host, destination.port
            yield 1
            yield IDENTIFIER_DOES_NOT_MATCH, None
            return
        yield destination.host, destination.port, {"contexts": _contexts(holdings)}
        yield len(holdings)
        yield from _instances(event, holdings)

    def _on_store(self, event: Event) -> int:
        """Keep an instance until the archive ends."""
        assert self._directory is not None
        # Numbered: what a peer calls an instance is no name for a file.
        path = Path(self._directory.name) / f"received-{next(self._numbers)}.dcm"
        path.write_bytes(event.encoded_dataset())
        try:
            self._catalogue.add(path)
        except (InvalidDicomError, ValueError):
            path.unlink()
            return CANNOT_UNDERSTAND
        return SUCCESS


def _on_echo(event: Event) -> int:
    """Answer a C-ECHO."""
    return SUCCESS


def _root(event: Event) -> QueryLevel:
    """The highest level of the information model that a request is made in."""
    return _ROOTS[event.context.abstract_syntax]


def _instances(event: Event, holdings: Iterable[Holding]) -> Iterator[tuple[int, Dataset | None]]:
    """The instances to be sent by a C-GET or a C-MOVE; pynetdicom counts what becomes of them."""
    for holding in holdings:
        if event.is_cancelled:
            yield CANCELLED, None
            return
        yield PENDING, dcmread(holding.path)


def _contexts(holdings: Iterable[Holding]) -> list[PresentationContext]:
    """What to propose to a move destination: each SOP class in the transfer syntaxes that there are of it."""
    pairs = {(str(holding.header.SOPClassUID), str(holding.header.file_meta.TransferSyntaxUID)) for holding in holdings}
    return [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)][:128]
