"""How an instance gets a name in a directory, and what happens if something has the name."""

from __future__ import annotations

import enum
import errno
import os
import stat
from pathlib import Path
from typing import NamedTuple

from dcm._atomic import TempFile
from dcm.errors import ConflictError, InvalidDicomError, StoreError
from dcm.instance import Instance
from dcm.peek import peek_file
from dcm.report import Outcome
from dcm.store._tree import is_link, store_error, unsafe_path
from dcm.text import safe_text

__all__ = ["NOT_REMOVED", "Conflict", "Found", "Named", "Placing", "Stored"]

NOT_REMOVED = "it is there, but the source could not be removed"
"""How the reason begins where that is so after a move."""

_CHUNK = 1 << 20
_MARK_DIGITS = (16, 24)  # of the hash in a name; the longer one only if somebody took the shorter


class Conflict(enum.Enum):
    """What to do where something else has the name of an instance."""

    RENAME = "rename"  #: keep both: the later one gets a mark of its content in its name
    REPLACE = "replace"  #: take the name from other bytes of the same instance; another instance keeps it, as above
    SKIP = "skip"  #: leave alone what is there, and do not store
    FAIL = "fail"  #: the same, and raise ConflictError


class Found(enum.Enum):
    """What has the name already."""

    SAME = "this data set"
    OTHER_BYTES = "other bytes under the same UID"
    OTHER_INSTANCE = "another instance"
    NOT_DICOM = "a file that is not DICOM"


_CAUSES = {
    Found.OTHER_BYTES: "other bytes under this UID are there already",
    Found.OTHER_INSTANCE: "another instance has the name",
    Found.NOT_DICOM: "a file that is not DICOM has the name",
}
_CAME_FIRST = "other bytes under this UID came before it"


class Stored(NamedTuple):
    """What became of an instance.

    Attributes
    ----------
    path : Path
        The file that holds it.
    outcome : Outcome
        SENT: it was written. PRESENT: the same data set was there. CONFLICT: other bytes under the same UID were there,
        and it was written beside them, now or earlier. FAILED: something has its name, and it was not stored, as
        `Conflict.SKIP` says.
    reason : str
        What there is to say about that, in the same words for the same cause; ``''`` in the usual case.
    """

    path: Path
    outcome: Outcome
    reason: str = ""


class Named(NamedTuple):
    """The same, with the name of the file in its directory: to make a Path takes as long as to open the file."""

    name: str
    outcome: Outcome
    reason: str = ""


class Placing:
    """One instance on its way to a name in a directory; used once, by one thread.

    Parameters
    ----------
    instance : Instance
        The instance.
    dir_fd : int
        The directory.
    where : str
        Its path, for messages.
    conflict : Conflict
        What to do where something else has the name.
    sync : bool
        Return only when the file is on stable storage.
    name_later : bool, optional
        But for its name: the caller syncs the directory, once for several of them.

    Attributes
    ----------
    keeps : bool
        Replace nothing: what has the name may have come there in the same run, and be nowhere else any more.
    """

    keeps = False

    def __init__(
        self,
        instance: Instance,
        dir_fd: int,
        where: str,
        *,
        conflict: Conflict,
        sync: bool,
        name_later: bool = False,
    ) -> None:
        self._instance = instance
        self._dir_fd = dir_fd
        self._where = where
        self._conflict = conflict
        self._sync = sync
        self._name_later = name_later
        self._temp: TempFile | None = None
        self._claimed = False

    @classmethod
    def named_at_once(cls, instance: Instance, dir_fd: int, name: str) -> bool:
        """Give an instance the name where that takes no more than one step; False where there is more to it.

        For instances that need not be synced; what it raises, `place` would raise, too.
        """
        return False

    def place(self, name: str, extension: str) -> Named:
        """Give the instance the name, or one with a mark of its content where something else has it.

        Parameters
        ----------
        name : str
            The name that it should have.
        extension : str
            The end of the name that a mark goes before.

        Raises
        ------
        ConflictError
            Something else has the name, and that was not to be.
        StoreError
            What has the name is no file; nothing else can be done about the name.
        OSError
            Anything else; nothing of the instance is left.
        """
        named = self._place(name, extension)
        # Also where it was there already: who has put it there may have died before this.
        if self._sync and not self._name_later:
            os.fsync(self._dir_fd)
        return named

    def _place(self, name: str, extension: str) -> Named:
        try:
            if not self._taken(name) and self._publish(name):
                return Named(name, Outcome.SENT)
            found = self._look(name)
            if found is Found.SAME:
                return Named(name, Outcome.PRESENT)
            if self._conflict is Conflict.FAIL:
                raise ConflictError(f"cannot write {safe_text(self._path(name))}: {_CAUSES[found]}")
            if self._conflict is Conflict.SKIP:
                return Named(name, Outcome.FAILED, f"{_CAUSES[found]}, it was not stored")
            if self._conflict is Conflict.REPLACE and found is not Found.OTHER_INSTANCE:
                if self.keeps:
                    cause = _CAME_FIRST if found is Found.OTHER_BYTES else _CAUSES[found]
                    return Named(name, Outcome.FAILED, f"{cause}, it was not stored")
                self._replace(name)
                return Named(name, Outcome.SENT, f"replaced {found.value}")
            return self._place_beside(name, extension, found)
        finally:
            if self._temp is not None:
                self._temp.discard()

    def _place_beside(self, name: str, extension: str, found: Found) -> Named:
        """Keep both. The mark is made of the content: a second run finds what the first one wrote."""
        stem = name[: len(name) - len(extension)] if extension else name
        digest = self._digest()
        conflict = found is Found.OTHER_BYTES
        reason = f"{_CAUSES[found]}, both are kept"
        for digits in _MARK_DIGITS:
            marked = f"{stem}~{digest[:digits]}{extension}"
            if not self._taken(marked) and self._publish(marked):
                return Named(marked, Outcome.CONFLICT if conflict else Outcome.SENT, reason)
            if self._look(marked) is Found.SAME:
                # The disagreement is still there, and still to be told; a mere quarrel over a name is settled.
                return Named(marked, Outcome.CONFLICT if conflict else Outcome.PRESENT, reason)
        raise self._taken_by("this name and the ones beside it are taken by other files", name)

    def _taken(self, name: str) -> bool:
        # Looking before writing costs 2 µs, and saves writing what is there already, a whole transfer in a second run.
        # What cannot be looked at cannot be written either, and says why then.
        return os.access(name, os.F_OK, dir_fd=self._dir_fd, follow_symlinks=False)

    def _replace(self, name: str) -> None:
        """Take the name from the file that has it."""
        self._synced_file().publish(self._dir_fd, name, replace=True)

    def _publish(self, name: str) -> bool:
        """Take the name; False where something has it."""
        try:
            self._synced_file().publish(self._dir_fd, name)
        except FileExistsError:
            return False
        except OSError as exc:
            # One device may be mounted in parts, between which there are no links: write it once more, in place.
            if exc.errno != errno.EXDEV or self._temp is not None:
                raise
            self._temp = self._written()
            return self._publish(name)
        return True

    def _synced_file(self) -> TempFile:
        """The file to be published, on stable storage where it is to be: before it has a name."""
        file = self._file()
        if self._sync:
            os.fsync(file.fd)
        return file

    def _file(self) -> TempFile:
        """The file to be published: the one that the instance arrived in, if it can be, or else a new one."""
        if self._temp is None:
            temp = self._instance.temp
            if self._claimed:
                assert temp is not None
                return temp
            if temp is not None and temp.st_dev == os.fstat(self._dir_fd).st_dev and temp.claim():
                self._claimed = True
                return temp
            self._temp = self._written()
        return self._temp

    def _written(self) -> TempFile:
        """A file with all of the instance, that has no name yet."""
        temp = TempFile.create(self._dir_fd)
        try:
            chunks = self._instance.chunks(_CHUNK)
            temp.write(self._instance.meta_bytes(), next(chunks, b""))
            for chunk in chunks:
                temp.write(chunk)
        except BaseException:
            temp.discard()
            raise
        return temp

    def _look(self, name: str) -> Found:
        """Find out what has the name."""
        try:
            # O_NONBLOCK: a named pipe would wait for somebody to write into it.
            fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._dir_fd)
        except OSError as exc:
            if is_link(name, self._dir_fd):
                raise unsafe_path(self._path(name)) from exc
            raise
        try:
            return self._compare(fd, name)
        finally:
            os.close(fd)

    def _compare(self, fd: int, name: str) -> Found:
        """Find out what an open file is."""
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise self._taken_by("what has the name is no file", name)
        try:
            header = peek_file(fd)
        except InvalidDicomError:
            return Found.NOT_DICOM
        except StoreError as exc:
            # It names a descriptor; the caller knows the path.
            raise (exc.__cause__ if isinstance(exc.__cause__, OSError) else exc) from None
        if (
            header.transfer_syntax_uid == self._instance.transfer_syntax_uid
            and status.st_size - header.data_offset == self._instance.size
            and self._same_bytes(fd, header.data_offset)
        ):
            if self._sync:
                os.fsync(fd)  # of somebody who need not have done that
            return Found.SAME
        same_uid = header.sop_instance_uid == self._instance.sop_instance_uid
        return Found.OTHER_BYTES if same_uid else Found.OTHER_INSTANCE

    def _taken_by(self, what: str, name: str) -> StoreError:
        """The error for a name that is not to be had; the cause says so without the path, which may name a patient."""
        cause = FileExistsError(errno.EEXIST, what)
        error = store_error(cause, self._path(name))
        error.__cause__ = cause
        return error

    def _same_bytes(self, fd: int, offset: int) -> bool:
        for chunk in self._instance.chunks(_CHUNK):
            # Comparing bytes is a memcmp(); comparing memoryviews looks at each item.
            if os.pread(fd, len(chunk), offset) != bytes(chunk):
                return False
            offset += len(chunk)
        return True

    def _digest(self) -> str:
        import hashlib  # with OpenSSL behind it, and seldom needed

        digest = hashlib.sha256(self._instance.transfer_syntax_uid.encode())
        for chunk in self._instance.chunks(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def _path(self, name: str) -> str:
        return f"{self._where}/{name}"
