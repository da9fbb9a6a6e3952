"""What every report has: problems, lines for people, JSON for programs, an exit code."""

from __future__ import annotations

import abc
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from dcm._atomic import TempFile
from dcm.errors import NetworkError, PartialError, StoreError
from dcm.report.outcome import Problem, ProblemLog
from dcm.report.progress import NullProgress, Progress
from dcm.text import plural, safe_text

__all__ = ["FILE_LABELS", "Report", "cause_lines", "human_bytes", "write_whole"]

_MAX_SUBJECTS = 3
_MAX_LINES = 20


class Report(abc.ABC):
    """The common part of `QueryReport` and `TransferReport`.

    Attributes
    ----------
    interrupted : bool
        Set by whoever stops the work before its end, Ctrl-C say.
    files : ProblemLog
        Files of a source that could not be used: see `leave_out`.
    progress : Progress
        Told what is being done.
    """

    interrupted: bool = False

    def __init__(self, progress: Progress | None = None) -> None:
        self.files = ProblemLog()
        self.progress: Progress = progress if progress is not None else NullProgress()

    def leave_out(self, kind: str, path: str | os.PathLike[str], reason: str = "") -> None:
        """Note a file that a source cannot give.

        Parameters
        ----------
        kind : str
            "foreign": it is not DICOM, or no instance (a DICOMDIR), and nobody will miss it; "truncated": an instance
            that is not whole; "unreadable": nobody knows what it is; "inconsistent": it is given, but not under the
            parents that it names, since other files contradict it.
        path : path
        reason : str, optional
            Why, in the same words for the same cause.
        """
        self.files.add(Problem(kind, os.fspath(path), reason, path=os.fspath(path)))

    @property
    def n_lost_files(self) -> int:
        """How many of the files that were left out may have been instances."""
        return self.files.count() - self.files.count("foreign") - self.files.count("inconsistent")

    @property
    @abc.abstractmethod
    def exit_code(self) -> int:
        """What a command that did this exits with: 0, 3, 4, 5 or 130."""

    @abc.abstractmethod
    def summary(self) -> str:
        """Lines for people: what was done, then one line for each kind of thing that went wrong."""

    @abc.abstractmethod
    def to_json(self) -> dict[str, object]:
        """The whole report as a JSON object."""

    @property
    def ok(self) -> bool:
        """True where the exit code is 0."""
        return self.exit_code == 0

    def raise_failures(self) -> None:
        """Raise what a caller without a report of its own has to hear.

        Doubts about completeness (exit code 5) are not raised, the result is worth having: log the summary.

        Raises
        ------
        PartialError
            Where a part failed, is missing or conflicts.
        NetworkError
            Where nothing at all could be done.
        """
        if self.exit_code == 3:
            raise PartialError(" | ".join(self.summary().splitlines()))
        if self.exit_code == 4:
            raise NetworkError(" | ".join(self.summary().splitlines()))

    def json_bytes(self) -> bytes:
        """The report as it is written to a file."""
        import msgspec.json

        return msgspec.json.format(msgspec.json.encode(self.to_json()), indent=2) + b"\n"

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file, which appears whole or not at all.

        What is no file, ``/dev/null`` or a named pipe say, is written to and stays what it is; so does a symbolic link.

        Raises
        ------
        StoreError
            Where it cannot be written.
        """
        target = Path(path)
        data = self.json_bytes()
        try:
            write_whole(target, data)
        except OSError as err:
            raise StoreError(f"cannot write the report to {target}: {err.strerror or err}") from err


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that appears whole or not at all; what is there and no file, ``/dev/null`` say, is written to.

    Raises
    ------
    OSError
    """
    if _is_device(path):
        path.write_bytes(data)
    else:
        _write_atomically(Path(os.path.realpath(path)), data)


def _is_device(path: Path) -> bool:
    """Whether something has a name already that is neither a file nor a directory."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _write_atomically(target: Path, data: bytes) -> None:
    dir_fd = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        temp = TempFile.create(dir_fd)
        try:
            temp.write(data)
            temp.publish(dir_fd, target.name, replace=True)
        finally:
            temp.discard()
    finally:
        os.close(dir_fd)


def human_bytes(n: float) -> str:
    """A number of bytes for people, in powers of 1,000: "250.1 MB"."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 999.95:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


#: The words for the kinds of `Report.leave_out`.
FILE_LABELS = {
    "foreign": "left alone",
    "truncated": "left out",
    "unreadable": "could not be read",
    "inconsistent": "contradicted by others",
}


def cause_lines(problems: ProblemLog, labels: Mapping[str, str]) -> list[str]:
    """One line for each cause: how many, of what, why, and the first of them; at most twenty lines.

    Parameters
    ----------
    problems : ProblemLog
        The problems.
    labels : mapping of str to str
        The words for each kind, where the kind itself will not do.
    """
    groups = sorted(problems.groups(), key=lambda group: -group[2])
    lines = []
    for kind, message, count, kept in groups[:_MAX_LINES]:
        if count == 1 and message and not kept[0].subject:
            # A single failure that is of nothing but itself: there is nothing to count.
            lines.append(f"Error: {safe_text(message, 300)}")
            continue
        line = f"{count} {labels.get(kind, kind)}"
        if message:
            line += f": {safe_text(message, 300)}"
        status = kept[0].status
        if status is not None and f"{status:04X}" not in message.upper():
            line += f", status 0x{status:04X}"
        subjects = [safe_text(problem.subject, 120) for problem in kept[:_MAX_SUBJECTS] if problem.subject]
        if subjects:
            more = f" and {count - len(subjects)} more" if count > len(subjects) else ""
            line += f" ({', '.join(subjects)}{more})"
        lines.append(line)
    if len(groups) > _MAX_LINES:
        rest = sum(count for _, _, count, _ in groups[_MAX_LINES:])
        lines.append(f"{rest} more, of {plural(len(groups) - _MAX_LINES, 'other cause')}")
    return lines
