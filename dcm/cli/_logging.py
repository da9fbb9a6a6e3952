"""Where log records go: stderr, and a file on request. What may name a patient goes nowhere but with ``--debug``."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import warnings
from pathlib import Path

from dcm.errors import UsageError
from dcm.text import safe_text

__all__ = ["SAID", "setup_logging"]

# With ``extra=SAID`` a record goes to the file only: it is on stderr already, or was not wanted there.
SAID = {"said": True}

# They log identifiers of data sets, and warn with values of attributes; the last two list their plugins.
_TALKATIVE = ("pynetdicom", "pydicom", "py.warnings", "pylibjpeg", "openjpeg")

# Of this process, so that setting up once more replaces them.
_installed: list[logging.Handler] = []


class _Formatter(logging.Formatter):
    """One line for each record, whatever is in it; the traceback of an exception only where it is wanted."""

    def __init__(self, fmt: str, *, tracebacks: bool) -> None:
        super().__init__(fmt)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        """Render a record."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record)
        line = safe_text(self.formatMessage(record))
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            if self._tracebacks:
                return line + "\n" + "".join(traceback.format_exception(error)).rstrip()
            return f"{line}: {safe_text(error) or type(error).__name__}"
        return line


class _StderrHandler(logging.Handler):
    """Writes to what is stderr at the time: a progress display may have put itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError, TypeError):
            self.handleError(record)


def setup_logging(*, verbosity: int, quiet: bool, debug: bool, log_path: Path | None, file_level: str) -> None:
    """Send log records to stderr and to a file.

    Parameters
    ----------
    verbosity : int
        How often ``-v`` was given: 0 shows warnings, 1 what is done, 2 everything.
    quiet : bool
        Show errors only.
    debug : bool
        Show everything with tracebacks, and what pydicom and pynetdicom log, which names patients.
    log_path : Path or None
        A file to append to, made readable by its owner only.
    file_level : str
        The least level that goes there.

    Raises
    ------
    UsageError
        The file cannot be written.
    """
    root = logging.getLogger()
    while _installed:
        root.removeHandler(_installed[-1])
        _installed.pop().close()
    console = _StderrHandler()
    console.setFormatter(_Formatter("%(levelname)s: %(message)s", tracebacks=debug))
    if debug or verbosity > 1:
        console.setLevel(logging.DEBUG)
    else:
        console.setLevel(logging.ERROR if quiet else logging.INFO if verbosity else logging.WARNING)
    console.addFilter(lambda record: not getattr(record, "said", False))
    handlers: list[logging.Handler] = [console]
    if log_path is not None:
        handlers.append(_file_handler(log_path, file_level, debug))
    for handler in handlers:
        root.addHandler(handler)
        _installed.append(handler)
    root.setLevel(min(handler.level for handler in handlers))
    logging.getLogger("asyncio").setLevel(logging.DEBUG if debug else logging.WARNING)
    logging.captureWarnings(True)
    if not debug:
        # Not by their levels: pydicom sets its own when it is imported, which is later.
        for handler in handlers:
            handler.addFilter(_is_harmless)
        warnings.simplefilter("ignore")


def _is_harmless(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] not in _TALKATIVE and record.name not in _TALKATIVE


def _file_handler(log_path: Path, level: str, debug: bool) -> logging.Handler:
    try:
        os.close(os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
        handler = logging.FileHandler(log_path, encoding="utf-8", errors="backslashreplace")
    except OSError as exc:
        raise UsageError(f"cannot log to {log_path}: {exc.strerror}") from exc
    handler.setLevel(level.upper())
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", tracebacks=debug))
    return handler
