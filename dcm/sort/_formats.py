"""Output paths that have a name."""

from __future__ import annotations

from dcm.errors import TemplateError
from dcm.template import DEFAULT_TEMPLATE, PathTemplate

__all__ = ["FORMATS", "example_of", "template_of"]

_SERIES = "{SeriesNumber:03d}-{SeriesDescription|ProtocolName}"
_NUMBERED = "{InstanceNumber:05d}-{SOPInstanceUID}"

FORMATS = {
    "default": DEFAULT_TEMPLATE,
    "uid": "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}",
    "study-date": f"{{StudyDate}}/{{PatientID}}-{{StudyDescription}}/{_SERIES}/{_NUMBERED}",
    "modality": f"{{Modality}}/{{StudyDate}}/{{PatientID}}/{_SERIES}/{_NUMBERED}",
    "bids-source": f"sub-{{PatientID}}/ses-{{StudyDate}}/{{Modality}}/{_SERIES}/{{SOPInstanceUID}}",
    "flat": "{SOPInstanceUID}",
}
"""The templates that have a name. All end with the SOP Instance UID: no two instances get the same path."""

_SAMPLE = {
    0x00080018: "1.2.840.99.3.17",
    0x00080020: "20201031",
    0x00080060: "CT",
    0x00081030: "Night scan",
    0x0008103E: "Upper teeth",
    0x00100020: "Vamp001",
    0x0020000D: "1.2.840.99.1",
    0x0020000E: "1.2.840.99.3",
    0x00200011: "3",
    0x00200013: "17",
}


def template_of(text: str) -> PathTemplate:
    """The template that a text stands for: the name of one of `FORMATS`, or a template itself.

    Raises
    ------
    TemplateError
        It is neither.
    """
    if text in FORMATS:
        return PathTemplate(FORMATS[text])
    if "{" not in text:
        # It would give all files the same path.
        known = ", ".join(FORMATS)
        raise TemplateError(
            f"output path {text!r}: no such name, and no field in it", hint=f"there are {known}, and {{Keyword}}"
        )
    return PathTemplate(text)


def example_of(template: PathTemplate, extension: str = ".dcm") -> str:
    """The path that an image of a CT series gets."""
    return "/".join(template.render(lambda tag: _SAMPLE.get(tag, ""))) + extension
