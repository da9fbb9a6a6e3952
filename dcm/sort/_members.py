"""Placing what is in an archive."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dcm._atomic import TempFile
from dcm.errors import DcmError, InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.peek import Header, peek_file
from dcm.sort._archives import Member, members
from dcm.sort._look import SORT_TAGS, Placed, claim_key, judge, placed
from dcm.store import reason_of

if TYPE_CHECKING:
    from dcm.sort._preview import Preview
    from dcm.store.local_dir import LocalDir

__all__ = ["MemberSorter"]

_STEP = 32
_STEP_BYTES = 8 << 20


class MemberSorter:
    """Places the members of an archive, some at a time. Blocks; one thread at a time uses it.

    Parameters
    ----------
    archive : str
        Its path.
    dest : LocalDir
    preview : Preview or None
        Where nothing is to be written.
    claimed : set of int
        The keys (see `dcm.sort._look.claim_key`) of all paths that have been claimed, by members of this archive, too.
    """

    def __init__(self, archive: str, dest: LocalDir, preview: Preview | None, claimed: set[int]) -> None:
        self._dest = dest
        self._preview = preview
        self._claimed = claimed
        self._tags = dest.out_fmt.tags | SORT_TAGS
        self._members: Iterator[Member] = members(archive, self._new_temp)

    def step(self) -> list[tuple[str, Placed, int]]:
        """Place some: name, what became of it, bytes. None are left where it is empty."""
        done: list[tuple[str, Placed, int]] = []
        try:
            self._some(done)
        except StoreError as exc:  # no room to unpack anything, say
            self._members = iter(())
            done.append(("", Placed("failed", "", f"not read to its end: {reason_of(exc)}"), 0))
        return done

    def _some(self, done: list[tuple[str, Placed, int]]) -> None:
        n_bytes = 0
        for member in self._members:
            size = member.temp.size if member.temp is not None else 0
            done.append((member.name, self._place(member), size))
            n_bytes += size
            if done[-1][1].fatal or len(done) >= _STEP or n_bytes >= _STEP_BYTES:
                break

    def close(self) -> None:
        """Close the archive."""
        close = getattr(self._members, "close", None)
        if close is not None:
            close()

    def _new_temp(self) -> TempFile:
        if self._preview is None:
            return self._dest.new_temp()
        try:
            return TempFile.create(tempfile.gettempdir())
        except OSError as exc:
            raise StoreError(f"cannot write to {tempfile.gettempdir()}: {exc.strerror}") from exc

    def _place(self, member: Member) -> Placed:
        temp = member.temp
        if temp is None:
            return Placed(member.state, "", member.reason)
        try:
            header = peek_file(temp.fd, self._tags)
            why = judge(header)
            return self._stored(temp, header) if why is None else Placed(why.state, "", why.text)
        except InvalidDicomError:
            return Placed("foreign", "", "not a DICOM file" if temp.size else "empty")
        except DcmError as exc:
            return Placed("failed", "", reason_of(exc) if isinstance(exc, StoreError) else exc.message)
        finally:
            temp.discard()

    def _stored(self, temp: TempFile, header: Header) -> Placed:
        uids = header.sop_class_uid, header.sop_instance_uid, header.transfer_syntax_uid
        with Instance.from_temp(*uids, temp, header.data_offset, b"") as instance:
            parts = self._dest.parts_of(instance, header)
            if self._preview is not None:
                return self._preview.place(parts, instance)
            key = claim_key("/".join(parts), self._dest.conflict)
            (result,) = self._dest.store_each([(parts, instance)], keeps=key in self._claimed)
            self._claimed.add(key)
            return placed(parts, result)
