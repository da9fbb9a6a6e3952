"""What a length scan found out about an instance, and scanning one that is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from dcm.attrs import Attributes, Value, value_text
from dcm.errors import InvalidDicomError
from dcm.part10 import DEFLATED_SYNTAXES, FileMeta
from dcm.peek._inflate import Inflater
from dcm.peek._order import encoding_of
from dcm.peek._record import decode_element
from dcm.peek._scan import UNKNOWN_SIZE, Scan
from dcm.peek._tables import (
    CHARSET,
    IMAGE_CLASSES,
    PIXEL_DATA_URL,
    QUERY_TAGS,
    ROWS,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    dictionary_vr,
)
from dcm.peek._values import DEFAULT_ENCODINGS, TEXT_CACHES, encodings_of, text_value

__all__ = ["NO_META", "Header", "head_like", "head_of", "peek", "scan_of"]

_WINDOW = 16 << 10  # how much of a buffer that is not bytes is copied at first
NO_META = FileMeta("", "", "", "", 0, truncated=False)


class Header:
    """Who an instance is, some of its attributes, and whether all of it is there.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid : str
        From the data set; from the file meta information where they are not in there; else ''.
    transfer_syntax_uid : str
        As declared. Where a file does not declare one: which of the three uncompressed ones it looks like.
    complete : bool or None
        True where the data set ends exactly where its last element does, False where that element ends elsewhere or
        cannot be read. None where this could not be seen: only the head was there, deflated data is too large, the
        structure has errors, or an image has no pixel data. What was cut off exactly between two elements is noticed by
        that only; an object that is no image and was cut there is complete.
    problem : str
        Why it is not complete, and what else is odd; '' where nothing is. Made of our own words and of numbers.
    data_offset : int
        Where the data set begins in the file; 0 for a buffer.
    pixel_offset : int or None
        Where the value of the pixel data begins, counted as `data_offset` is; None where there is none, and for
        deflated data.
    """

    __slots__ = (
        *("complete", "data_offset", "pixel_offset", "problem", "sop_class_uid", "sop_instance_uid"),
        *("transfer_syntax_uid", "_attributes", "_encodings", "_found", "_implicit", "_little", "_tags"),
    )

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    complete: bool | None
    problem: str
    data_offset: int
    pixel_offset: int | None
    _found: dict[int, tuple[str, bytes]]
    _little: bool
    _implicit: bool
    _tags: frozenset[int]
    _encodings: tuple[str, ...] | None
    _attributes: Attributes | None

    def text(self, tag: int) -> str:
        r"""One of the attributes that were read, decoded.

        Parameters
        ----------
        tag : int
            Its tag.

        Returns
        -------
        str
            Several values are joined with ``\``. '' where the attribute is absent, empty, or was not asked for.
        """
        element = self._found.get(tag)
        if element is None:
            return ""
        vr, raw = element
        cache = TEXT_CACHES.get(vr or dictionary_vr(tag))
        if cache is not None:
            value = cache.get(raw)
            if isinstance(value, str):  # most often: seen before
                return value
        try:
            return value_text(self._decode(tag, vr, raw)[1])
        except InvalidDicomError:
            return ""

    @property
    def attributes(self) -> Attributes:
        """The attributes that were asked for and found; a sequence that cannot be read is left out."""
        if self._attributes is None:
            items = []
            for tag, (vr, raw) in self._found.items():
                if tag in self._tags:
                    try:
                        items.append((tag, *self._decode(tag, vr, raw)))
                    except InvalidDicomError:
                        continue
            self._attributes = Attributes.from_items(items)
        return self._attributes

    def key_of(self, tags: Iterable[int]) -> tuple[object, ...]:
        """What decides the texts of some attributes: two headers that have the same give the same texts."""
        found = self._found
        return (self._little, self._implicit, found.get(CHARSET), *map(found.get, tags))

    @property
    def wanted(self) -> frozenset[int]:
        """The tags that were asked for."""
        return self._tags

    @property
    def encoded(self) -> Mapping[int, tuple[str, bytes]]:
        """What was found, as it is encoded: tag to VR ("" where there is none) and bytes.

        A few tags are in it that were not asked for. Two headers of one transfer syntax that have the same bytes,
        and the same Specific Character Set, say the same.
        """
        return self._found

    def element(self, tag: int) -> tuple[str, Value]:
        """One of the attributes that were found, decoded: its VR and value.

        Raises
        ------
        KeyError
            It was not found.
        InvalidDicomError
            It is a sequence that cannot be read.
        """
        return self._decode(tag, *self._found[tag])

    def _decode(self, tag: int, vr: str, raw: bytes) -> tuple[str, Value]:
        encodings = self._encodings
        if encodings is None:
            charset = self._found.get(CHARSET)
            encodings = encodings_of(charset[1].decode("latin-1")) if charset is not None else DEFAULT_ENCODINGS
            self._encodings = encodings
        name = vr or dictionary_vr(tag)
        if name in TEXT_CACHES:
            return name, text_value(name, raw, encodings)
        return decode_element(tag, vr, raw, encodings, little=self._little, implicit=self._implicit)

    def __repr__(self) -> str:
        return f"<Header {self.sop_instance_uid or 'of an unknown instance'}, complete: {self.complete}>"


def peek(
    buf: bytes | bytearray | memoryview,
    transfer_syntax_uid: str,
    tags: frozenset[int] = QUERY_TAGS,
    total: int | None = None,
    *,
    read: Callable[[int, int], bytes] | None = None,
) -> Header:
    """Look at an encoded data set: who it is, its query attributes, and whether it is all there.

    Parameters
    ----------
    buf : bytes, bytearray or memoryview
        The data set, or its first bytes; without file meta information.
    transfer_syntax_uid : str
        How it is encoded.
    tags : frozenset of int, optional
        The attributes to read, of the top level.
    total : int, optional
        How long the whole data set is, where `buf` is only the beginning of it.
    read : callable, optional
        ``read(position, n)`` gives `n` bytes of the data set from any position on, fewer only at its end. Without it,
        what is not in `buf` can be jumped over, but not into.

    Returns
    -------
    Header

    Notes
    -----
    Never raises for what is in the data, and never goes through more than 64 levels of sequences or 32 MiB of
    inflated data.
    """
    size = len(buf) if total is None else total
    if isinstance(buf, bytes):
        return head_of(scan_of(buf[:size], 0, size, read, transfer_syntax_uid, tags), transfer_syntax_uid, NO_META)
    view = memoryview(buf).cast("B")
    known = min(len(view), size)

    def from_view(pos: int, n: int) -> bytes:
        if pos + n <= known or read is None:
            return bytes(view[pos : min(pos + n, known)])
        return read(pos, n)

    whole = known == size or read is not None
    window = bytes(view[: _WINDOW if whole else known])
    scan = scan_of(window, 0, size, from_view if whole else None, transfer_syntax_uid, tags)
    return head_of(scan, transfer_syntax_uid, NO_META)


def scan_of(
    window: bytes,
    start: int,
    size: int,
    read: Callable[[int, int], bytes] | None,
    transfer_syntax_uid: str,
    tags: frozenset[int],
) -> Scan:
    """Run a length scan.

    Parameters
    ----------
    window : bytes
        The first bytes, from position 0 on.
    start : int
        Position of the data set.
    size : int
        Position of its end.
    read : callable or None
        Gives more bytes, if there is a way.
    transfer_syntax_uid : str
        How the data set is encoded.
    tags : frozenset of int
        The attributes wanted.

    Returns
    -------
    Scan
        That has run.
    """
    implicit, order = encoding_of(transfer_syntax_uid)
    if transfer_syntax_uid not in DEFLATED_SYNTAXES:
        scan = Scan(window, 0, start, size, read, order, implicit, tags)
        scan.run()
        if scan.lost:
            _ask_pydicom(scan, window, start, size, read)
        return scan

    def deflated(pos: int, n: int) -> bytes:
        n = min(n, size - pos)
        if pos < len(window) or read is None or n <= 0:
            return window[pos : pos + max(n, 0)]
        return read(pos, n)

    inflater = Inflater(deflated, start, whole=read is not None or len(window) >= size)
    scan = Scan(b"", 0, 0, UNKNOWN_SIZE, inflater.fetch, order, implicit, tags)
    scan.run()
    if inflater.trailing:
        scan.problems.append("more data follows the deflated data")
    return scan


def _ask_pydicom(scan: Scan, window: bytes, start: int, size: int, read: Callable[[int, int], bytes] | None) -> None:
    """Let pydicom find what the scan did not: it searches for the end of values that have none where it should be."""
    from dcm.peek._fallback import read_with_pydicom

    def encoded(pos: int, n: int) -> bytes:
        if pos < len(window) or read is None:
            return window[pos : pos + n]
        return read(pos, n)

    found = read_with_pydicom(encoded, start, size, scan.declared_implicit, scan.top_order.little, scan.tags)
    for tag, element in found.items():
        scan.found.setdefault(tag, element)


def head_of(scan: Scan, transfer_syntax_uid: str, meta: FileMeta) -> Header:
    """Make a header of what a scan has found.

    Parameters
    ----------
    scan : Scan
        That has run.
    transfer_syntax_uid : str
        The transfer syntax, declared or guessed.
    meta : FileMeta
        The file meta information, empty where there is none.

    Returns
    -------
    Header
    """
    found, problems = scan.found, scan.problems
    sop_class = _uid(found.get(SOP_CLASS_UID))
    sop_instance = _uid(found.get(SOP_INSTANCE_UID))
    header = Header()
    header.sop_class_uid = sop_class or meta.sop_class_uid
    header.sop_instance_uid = sop_instance or meta.sop_instance_uid
    header.transfer_syntax_uid = transfer_syntax_uid
    header.complete = scan.complete
    header.data_offset = meta.data_offset
    header.pixel_offset = None if transfer_syntax_uid in DEFLATED_SYNTAXES else scan.pixel_offset
    if scan.complete and scan.pixel_offset is None and _is_image(header.sop_class_uid, found):
        header.complete = None
        problems.append("an image without pixel data")
    if sop_instance and meta.sop_instance_uid and sop_instance != meta.sop_instance_uid:
        problems.append("the file meta information names another instance")
    if not header.sop_instance_uid:
        problems.append("no SOP Instance UID")
    header.problem = "; ".join(problems)
    header._found = found
    header._little = scan.top_order.little
    header._implicit = scan.top_implicit
    header._tags = scan.tags
    header._encodings = header._attributes = None
    return header


def head_like(other: Header, found: dict[int, tuple[str, bytes]]) -> Header:
    """Make a header of what was found in a data set whose scan would have gone as that of another one.

    Parameters
    ----------
    other : Header
        Of a complete instance of the same class and transfer syntax, with everything at the same places.
    found : dict of int to tuple
        What a scan would have found, the SOP Instance UID among it.

    Returns
    -------
    Header
    """
    header = Header()
    header.sop_class_uid = other.sop_class_uid
    header.sop_instance_uid = found[SOP_INSTANCE_UID][1].strip(b"\0 ").decode("latin-1")
    header.transfer_syntax_uid = other.transfer_syntax_uid
    header.complete = True
    header.problem = "" if header.sop_instance_uid else "no SOP Instance UID"
    header.data_offset = other.data_offset
    header.pixel_offset = other.pixel_offset
    header._found = found
    header._little = other._little
    header._implicit = other._implicit
    header._tags = other._tags
    header._encodings = header._attributes = None
    return header


def _uid(element: tuple[str, bytes] | None) -> str:
    return element[1].strip(b"\0 ").decode("latin-1") if element is not None else ""


def _is_image(sop_class_uid: str, found: dict[int, tuple[str, bytes]]) -> bool:
    """Whether there should be pixel data, here or (PS3.3 section C.7.6.3) at a URL."""
    return (sop_class_uid in IMAGE_CLASSES or ROWS in found) and PIXEL_DATA_URL not in found
