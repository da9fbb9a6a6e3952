"""DIMSE messages out of the presentation data values that carry them (PS3.7 section 6.3, PS3.8 annex E)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcm.net.wire.command import Command, MalformedCommandError
from dcm.net.wire.events import CommandReceived, DataReceived
from dcm.net.wire.pdu import COMMAND_BIT, INVALID_VALUE, LAST_BIT, UNEXPECTED_PDU, ViolationError

if TYPE_CHECKING:
    from dcm.net.wire.events import Event
    from dcm.net.wire.pdu import Limits

__all__ = ["MessageReader"]


class MessageReader:
    """Collects command sets, and hands on data sets as they come.

    Messages follow one another: all fragments of a command set, then all of its data set, in one presentation context
    (PS3.8 annex E.1).

    Parameters
    ----------
    limits : Limits
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._command = bytearray()
        self._context_id = 0
        self._data_due = False
        self._data_size = 0
        self._control = 0

    def begin(self, context_id: int, control: int) -> None:
        """Judge a presentation data value by its header.

        Parameters
        ----------
        context_id : int
            An accepted presentation context.
        control : int
            The message control header; its reserved bits "shall not be tested" (PS3.8 annex E.2).

        Raises
        ------
        ViolationError
            If this fragment does not belong here.
        """
        if control & COMMAND_BIT:
            if self._data_due:
                raise ViolationError("a command fragment where a data set is due (PS3.8 annex E.1)", UNEXPECTED_PDU)
            if not self._command:
                self._context_id = context_id
        elif not self._data_due:
            raise ViolationError("a data set fragment without a command (PS3.8 annex E.1)", UNEXPECTED_PDU)
        if context_id != self._context_id:
            raise ViolationError("one message in two presentation contexts (PS3.8 annex E.1)", INVALID_VALUE)
        self._control = control

    def fragment(self, data: memoryview, ends: bool, events: list[Event]) -> None:
        """Take bytes of the value that began last.

        Parameters
        ----------
        data : memoryview
        ends : bool
            Whether these are the last of the value.
        events : list of Event
            What they complete is added to it.

        Raises
        ------
        ViolationError
            If a limit is exceeded, or a command set cannot be read.
        """
        last = ends and bool(self._control & LAST_BIT)
        if self._control & COMMAND_BIT:
            if len(self._command) + len(data) > self._limits.max_command:
                raise ViolationError(f"a command set of more than {self._limits.max_command} bytes", INVALID_VALUE)
            self._command += data
            if last:
                events.append(self._command_received())
            return
        self._data_size += len(data)
        if self._data_size > self._limits.max_data_set:
            raise ViolationError(f"a data set of more than {self._limits.max_data_set} bytes", INVALID_VALUE)
        if last:
            self._data_due = False
            self._data_size = 0
        elif not data:
            return
        events.append(DataReceived(data, last))

    def _command_received(self) -> CommandReceived:
        try:
            command = Command.decode(self._command)
        except MalformedCommandError as error:
            raise ViolationError(f"a malformed command set: {error} (PS3.7 section 6.3.1)", INVALID_VALUE) from None
        self._command.clear()
        self._data_due = command.has_data
        return CommandReceived(self._context_id, command)
