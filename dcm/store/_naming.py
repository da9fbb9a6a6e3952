"""What the path of an instance is, below the root of a directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dcm.peek import Header
    from dcm.template import PathTemplate

__all__ = ["Naming"]

_SOP_INSTANCE_UID = 0x00080018
_MAX_KNOWN, _MAX_LENGTH = 256, 1024  # how many paths of directories are remembered, made of so many characters


class Naming:
    """Makes paths by a template.

    Parameters
    ----------
    template : PathTemplate
        The template.
    extension : str
        What names end with, ``".dcm"`` or ``""``; not added where the template ends with it.
    """

    def __init__(self, template: PathTemplate, extension: str) -> None:
        self._template = template
        # By the template and not by the name: a value that happens to end with ".dcm" must not make two names one.
        self._added = "" if template.literal_end.lower().endswith(extension.lower()) else extension
        self._directories: dict[tuple[str, tuple[object, ...]], list[str]] = {}

    def parts_of(self, uid: str, header: Header) -> list[str]:
        """The path of an instance, as names of directories and of the file.

        Parameters
        ----------
        uid : str
            Its SOP Instance UID: what it was sent as is its identity, whatever its data set says.
        header : Header
            With all attributes of the template.
        """
        text = header.text

        def text_of(tag: int) -> str:
            return uid if tag == _SOP_INSTANCE_UID else text(tag)

        # The instances of a series have their directories in common, and what they are made of is encoded alike.
        tags = self._template.directory_tags
        key = (uid if _SOP_INSTANCE_UID in tags else "", header.key_of(tags))
        directories = self._directories.get(key)
        if directories is None:
            directories = self._template.render_directories(text_of)
            if len(self._directories) >= _MAX_KNOWN:
                self._directories.clear()
            if sum(len(text(tag)) for tag in tags) <= _MAX_LENGTH:
                self._directories[key] = directories
        return [*directories, self._template.render_file(text_of) + self._added]
