"""Two ways to fetch (PS3.4 section C.4.2 and C.4.3), each on one association that is opened when it is needed.

With C-GET the instances come on the association that asks for them; with C-MOVE the peer opens another one to our
listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from dcm.errors import MoveDestinationError, NoContextError
from dcm.net._connect import connect
from dcm.net._contexts import MAX_CONTEXTS, class_groups, query_contexts, storage_contexts
from dcm.net._identifier import encode_identifier
from dcm.net._operations import context_for, get, is_pending, move
from dcm.net._registry import GET_CLASSES, MOVE_CLASSES, class_name
from dcm.net._units import identifier_for

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence

    from dcm.net._association import Association
    from dcm.net._operations import SubOperations
    from dcm.net._owner import Owner
    from dcm.net._units import Unit
    from dcm.node import DcmNode, QueryModel, RemoteNode

__all__ = ["GetLine", "Line", "MoveLine", "StorageRefusedError"]

MOVE_DESTINATION_UNKNOWN = 0xA801


class Line(Protocol):
    """Asks for units, one after the other.

    Attributes
    ----------
    operation : str
        ``C-GET`` or ``C-MOVE``.
    settle : float
        How many seconds after the final response, or after the last instance that came, another one may still come.
    """

    operation: str
    settle: float

    async def ask(self, unit: Unit, missing: Callable[[Unit], Sequence[str]]) -> list[SubOperations]:
        """Ask for a unit; returns the final response of each request that it took.

        Parameters
        ----------
        unit : Unit
        missing : callable
            Says what of the unit has not come yet.
        """

    def refused(self, unit: Unit, missing: Sequence[str]) -> tuple[list[str], str]:
        """Which of the missing instances cannot come as the peer took no context for them, and that in words."""

    async def close(self) -> None:
        """Release the association."""


class StorageRefusedError(NoContextError):
    """The peer takes C-GET, but will not send us instances of the SOP classes at hand."""


class _Line:
    """What both ways share: the association, and the information model that the peer accepted."""

    def __init__(self, local: DcmNode, remote: RemoteNode, owner: Owner) -> None:
        self._local = local
        self._remote = remote
        self._owner = owner
        self._association: Association | None = None

    async def close(self) -> None:
        """Release the association."""
        association, self._association = self._association, None
        if association is not None:
            await association.release()

    def _model(self, association: Association, classes: Mapping[QueryModel, str]) -> QueryModel:
        """The first information model of the settings that the peer accepted."""
        accepted = {context.abstract_syntax for context in association.wire.contexts.values()}
        for model in self._remote.query_models:
            if classes[model] in accepted:
                return model
        # Raises: the peer accepted something, but not this service.
        context_for(association, classes[self._remote.query_models[0]])
        raise AssertionError


class GetLine(_Line):
    """Fetches with C-GET; proposes contexts for the SOP classes of what it is asked for, with us as their SCP."""

    operation = "C-GET"
    settle = 0.2

    def __init__(self, local: DcmNode, remote: RemoteNode, owner: Owner) -> None:
        super().__init__(local, remote, owner)
        self._classes: tuple[str, ...] = ()
        self._refused: set[str] = set()
        self._room = MAX_CONTEXTS - len(remote.query_models)

    async def ask(self, unit: Unit, missing: Callable[[Unit], Sequence[str]]) -> list[SubOperations]:
        """Ask for a unit, once for each group of SOP classes that fits in one association.

        Raises
        ------
        StorageRefusedError
            The peer takes no context for any of the SOP classes.
        NetworkError
        """
        finals: list[SubOperations] = []
        refusal: StorageRefusedError | None = None
        parts = [unit]
        for classes in class_groups(unit.classes, self._remote, self._room, unit.modality, unit.again):
            try:
                association = await self._open(classes, keep=not unit.again)
            except StorageRefusedError as error:
                refusal = error
                continue
            finals += [await self._request(association, part) for part in parts]
            if unit.expected:
                left = missing(unit)
                if not left:
                    break
                parts = list(unit.finer(left))
        if refusal is not None and not finals:
            raise refusal
        return finals

    async def _request(self, association: Association, unit: Unit) -> SubOperations:
        model = self._model(association, GET_CLASSES)
        sop_class = GET_CLASSES[model]
        syntax = context_for(association, sop_class).transfer_syntax
        return await _final(get(association, sop_class, encode_identifier(identifier_for(unit, model), syntax)))

    async def _open(self, classes: tuple[str, ...], *, keep: bool) -> Association:
        association = self._association
        if association is not None and association.usable and set(classes) <= set(self._classes):
            return association
        await self.close()
        if keep:
            # What was needed before may be needed again: keep it where there is room.
            groups = class_groups(dict.fromkeys((*classes, *self._classes)), self._remote, self._room)
            classes = groups[0] if set(classes) <= set(groups[0]) else classes
        self._classes = classes
        contexts = query_contexts(GET_CLASSES[model] for model in self._remote.query_models)
        storage = storage_contexts(self._classes, self._remote, self._room)
        self._association = association = await connect(
            self._local,
            self._remote,
            contexts + storage,
            self._owner,
            roles=dict.fromkeys(self._classes, (False, True)),
        )
        accepted = {context.abstract_syntax for context in association.wire.contexts.values()}
        self._refused.update(uid for uid in self._classes if uid not in accepted)
        if accepted.isdisjoint(self._classes):
            names = ", ".join(map(class_name, classes[:3])) + (", ..." if len(classes) > 3 else "")
            raise StorageRefusedError(
                f"{association.peer} accepts no presentation context to send us {names} by C-GET",
                peer=association.peer,
                hint="it may know C-MOVE only: put MOVE first in its retrieve_methods",
            )
        return association

    def refused(self, unit: Unit, missing: Sequence[str]) -> tuple[list[str], str]:
        """Which of the missing instances cannot come as the peer took no context for them, and that in words."""
        uids = [uid for uid in missing if unit.expected[uid] in self._refused]
        names = ", ".join(sorted({class_name(unit.expected[uid]) for uid in uids}))
        return uids, f"{self._remote} accepts no presentation context to send us {names} by C-GET"


class MoveLine(_Line):
    """Fetches with C-MOVE, to our own AE title if not to another.

    Parameters
    ----------
    local, remote : DcmNode, RemoteNode
    owner : Owner
        Of the association that asks.
    listening : callable
        Awaited before anything is asked for: our listener is open afterwards.
    destination : DcmNode, optional
        Another one than ourselves.
    """

    operation = "C-MOVE"
    settle = 3.0

    def __init__(
        self,
        local: DcmNode,
        remote: RemoteNode,
        owner: Owner,
        listening: Callable[[], Awaitable[None]],
        destination: DcmNode | None = None,
    ) -> None:
        super().__init__(local, remote, owner)
        self._listening = listening
        self._destination = destination or local

    async def ask(self, unit: Unit, missing: Callable[[Unit], Sequence[str]]) -> list[SubOperations]:
        """Ask for a unit, in one request.

        Raises
        ------
        MoveDestinationError
            The peer does not know our AE title.
        NetworkError
        """
        association = self._association
        if association is None or not association.usable:
            await self.close()
            await self._listening()
            contexts = query_contexts(MOVE_CLASSES[model] for model in self._remote.query_models)
            association = self._association = await connect(self._local, self._remote, contexts, self._owner)
        model = self._model(association, MOVE_CLASSES)
        sop_class = MOVE_CLASSES[model]
        syntax = context_for(association, sop_class).transfer_syntax
        identifier = encode_identifier(identifier_for(unit, model), syntax)
        final = await _final(move(association, sop_class, identifier, self._destination.ae_title))
        if final.status == MOVE_DESTINATION_UNKNOWN:
            raise self._unknown(association)
        return [final]

    def refused(self, unit: Unit, missing: Sequence[str]) -> tuple[list[str], str]:
        """Nothing is known of the association on which the instances come."""
        return [], ""

    def _unknown(self, association: Association) -> MoveDestinationError:
        title, ours = self._destination.ae_title, self._destination is self._local
        where = f"this machine's address and port {self._local.port}" if ours else "its address and port"
        return MoveDestinationError(
            f"{association.peer} does not know {'our AE title' if ours else 'the AE title'} {title} (0xA801)",
            peer=association.peer,
            hint=f"register {title} with {where} there"
            + (", or try C-GET: retrieve_methods = ['GET']" if ours else ""),
            status=MOVE_DESTINATION_UNKNOWN,
        )


async def _final(responses: AsyncGenerator[SubOperations, None]) -> SubOperations:
    final: SubOperations | None = None
    async for response in responses:
        if not is_pending(response.status):
            final = response
    assert final is not None, "an exchange ends with a final response or an error"
    return final
