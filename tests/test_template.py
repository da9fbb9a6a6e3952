"""Output paths: whatever the values are, names are safe, tell values apart and stay readable."""

from __future__ import annotations

import doctest
import re
from collections.abc import Callable
from urllib.parse import unquote

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

import dcm.template
from dcm.errors import TemplateError
from dcm.keywords import USUAL
from dcm.template import DEFAULT_TEMPLATE, PathTemplate

VALUES = {
    0x00080008: "ORIGINAL\\PRIMARY\\AXIAL",
    0x00080018: "1.2.3.4",
    0x00080020: "20201031",
    0x00080060: "CT",
    0x00100010: "Dracula^Count^Vlad=吸血鬼^伯爵",
    0x00100020: "Vamp001",
    0x0020000D: "1.2.3",
    0x00200011: "7",
    0x0008103E: "T1 MPRAGE_sag",
    0x00181030: "protocol",
    0x00191001: "private",
}
PATIENT_ID = 0x00100020

# What may come out of any value, where nothing is cut: the tests below must be able to tell every one apart.
any_text = st.text(st.characters(), max_size=60)
nasty_text = st.text(
    st.sampled_from('aA.~-/\\:*?"<>|%$`^ \t\n\r\0\x1b\x7f\x85\xa0é\u0301山\u3000\u202e\u200d\ud800\uffff25FCONul'),
    max_size=12,
)
NASTY_WORDS = """
. .. ... unknown UNKNOWN %75nknown NUL nul.txt CON_ con_.x COM1 LPT¹ CLOCK$ CONIN$ aux -rf ~root _x x_ x. /etc/passwd
../../x a%2Fb %~ A/B A_B A^B
"""
nasty_words = st.sampled_from(["", "A_B", *(word.replace("_", " ") for word in NASTY_WORDS.split())])
any_value = any_text | nasty_text | nasty_words
long_value = st.tuples(st.sampled_from("a山é/% ."), st.integers(30, 400), any_value).map(lambda t: t[0] * t[1] + t[2])

DEVICES = {"CON", "PRN", "AUX", "NUL", "CLOCK$", "CONIN$", "CONOUT$"}
DEVICES |= {port + digit for port in ("COM", "LPT") for digit in "0123456789¹²³"}


def values(**changes: str) -> Callable[[int], str]:
    known = VALUES | {int(key[1:], 16): value for key, value in changes.items()}
    return lambda tag: known.get(tag, "")


def render(text: str, **changes: str) -> str:
    return "/".join(PathTemplate(text).render(values(**changes)))


def check_safe(name: str, limit: int = 200) -> None:
    assert name not in ("", ".", "..")
    assert len(name.encode("utf-8")) <= limit
    assert not set(name) & set('\0/\\:*?"<>|\n\r\t\x1b\x7f')
    assert name[-1] not in ". "
    assert name[0] not in " -~"
    assert name.split(".")[0].rstrip(" ").upper() not in DEVICES


@pytest.mark.parametrize(
    ("template", "path"),
    [
        (DEFAULT_TEMPLATE, "Vamp001/1.2.3/CT/007-T1 MPRAGE_sag/1.2.3.4"),
        ("{d.PatientID}", "Vamp001"),
        ("{(0010,0020)}", "Vamp001"),
        ("{0010,0020}", "Vamp001"),
        ("{00100020}", "Vamp001"),
        ("{d.(0019,1001)}", "private"),
        ("{ PatientID }", "Vamp001"),
        ("{ProtocolName|SeriesDescription}", "protocol"),
        ("{StudyDescription|ProtocolName}", "protocol"),
        ("{StudyDescription | AccessionNumber}", "unknown"),
        ("{StudyDescription|'no name'}", "no name"),
        ('{StudyDescription|"it\'s"}', "it's"),
        ("x{StudyDescription|''}y", "xy"),
        ("{PatientName}", "Dracula^Count^Vlad=吸血鬼^伯爵"),
        ("{PatientName[0]}", "Dracula"),
        ("{PatientName[2]}", "Vlad"),
        ("{PatientName[3]}", "unknown"),
        ("{ImageType[2]}", "AXIAL"),
        ("{ImageType[-1]}", "AXIAL"),
        ("{ImageType[-4]}", "unknown"),
        ("{ImageType[9]|Modality}", "CT"),
        ("{ImageType}", "ORIGINAL%5CPRIMARY%5CAXIAL"),
        ("{SeriesNumber}", "7"),
        ("{SeriesNumber:d}", "7"),
        ("{SeriesNumber:05d}", "00007"),
        ("{Modality:03d}", "CT"),
        ("{StudyDate:.4}/{StudyDate:.6}", "2020/202010"),
        ("{{{PatientID}}}", "{Vamp001}"),
        ("all/{PatientID}.dcm", "all/Vamp001.dcm"),
        ("Δ-{Modality}", "Δ-CT"),
        (".cache/{PatientID}", ".cache/Vamp001"),
    ],
)
def test_fields(template: str, path: str) -> None:
    assert render(template) == path


@pytest.mark.parametrize(
    ("number", "text"),
    [
        *[("3", "003"), ("03", "003"), ("+3", "003"), ("-1", "%2D01"), ("1234", "1234"), ("", "unknown"), ("3a", "3a")],
        *[("3.0", "3.0"), ("٣", "٣"), ("1" * 400, "1" * 126 + "%~"), ("1_0", "1_0"), ("3\n", "3%0A")],
    ],
)
def test_number_format_falls_back_to_the_text(number: str, text: str) -> None:
    assert render("{SeriesNumber:03d}", x00200011=number).startswith(text)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("", "unknown"),
        ("unknown", "%75nknown"),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        ("/etc", "%2Fetc"),
        ("A B", "A B"),
        ("A/B", "A%2FB"),
        ("A^B", "A^B"),
        ("NUL", "%4EUL"),
        ("nul.txt", "%6Eul.txt"),
        ("Nul .txt", "%4Eul .txt"),
        ("NULL", "NULL"),
        ("COM¹", "%43OM¹"),
        ("Inc.", "Inc%2E"),
        (" x ", "%20x%20"),
        ("100%", "100%25"),
        ("$(id)", "%24(id)"),
        ("a\0b\x1b\n", "a%00b%1B%0A"),
        ("-rf", "%2Drf"),
        ("~root", "%7Eroot"),
        ("山田^太郎", "山田^太郎"),
        ("山田　太郎", "山田　太郎"),
        ("Müller^Jürgen", "Müller^Jürgen"),
        ("Иванов", "Иванов"),
        ("김희중", "김희중"),
        ("محمد", "محمد"),
        ("\u202egnp", "%E2%80%AEgnp"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_values_become_names(value: str, name: str) -> None:
    assert render("{PatientID}", x00100020=value) == name


def test_an_ideographic_name_alone_has_components() -> None:
    assert render("{PatientName[1]}", x00100010="=山田^太郎=やまだ^たろう") == "太郎"


def test_a_backslash_in_a_text_value_separates_nothing() -> None:
    assert render("{PatientComments[0]}", x00104000="a\\b") == "a%5Cb"  # VR LT


@given(any_value | long_value)
def test_every_value_gives_a_safe_name(value: str) -> None:
    for template in (
        "{PatientID}/x",
        "{PatientID:.5}/x",
        "{PatientID:03d}/x",
        "{PatientID}.dcm/x",
        "C{PatientID|''}/x",
    ):
        check_safe(PathTemplate(template).render(lambda tag: value)[0])
    check_safe(PathTemplate("{PatientID}").render(lambda tag: value)[0], 160)


@given(any_value, any_value)
@example("", "unknown")
@example("%75nknown", "unknown")
@example("/", "%2F")
@example("-", "%2D")
@example("é", "e\u0301")
def test_two_values_never_give_one_name(left: str, right: str) -> None:
    assume(left != right)
    for template in ("{PatientID}", "{PatientID|AccessionNumber}", "x{PatientID}", "{PatientID}.dcm", "NU{PatientID}"):
        assert render(template, x00100020=left) != render(template, x00100020=right)


plain_value = st.text("0123456789.-_ aCNOU~%", max_size=80)


@given(plain_value | any_value)
@example("1.2.840.10008")
@example("1.2.840.")
@example("CON")
@example("0" * 64)
@example("0" * 200)
@example("unknown")
def test_what_is_seen_to_be_harmless_is_what_stays_as_it_is(value: str) -> None:
    """Two shortcuts for values that nothing has to be done to: without them, the names are the same."""
    templates = ["{PatientID}", "{PatientID:.8}", "x/{PatientID|'none'}", "{PatientID}-{PatientID}"]
    names = [render(template, x00100020=value) for template in templates]
    with pytest.MonkeyPatch.context() as patch:
        for shortcut in ("_PLAIN_RE", "_UID_RE"):
            patch.setattr(dcm.template, shortcut, re.compile("(?!)"))
        assert [render(template, x00100020=value) for template in templates] == names


@given(st.sampled_from("a山/."), st.integers(140, 220), any_value, any_value)
def test_two_long_values_never_give_one_name(char: str, n: int, left: str, right: str) -> None:
    assume(left != right)
    names = [render("{PatientID}", x00100020=char * n + tail) for tail in (left, right)]
    assert names[0] != names[1]


@given(any_text | nasty_text)
def test_a_name_gives_the_value_back(value: str) -> None:
    assume(value)
    name = render("{PatientID}/x", x00100020=value).removesuffix("/x")
    if "%~" not in name:
        assert unquote(name, errors="surrogatepass") == value


def test_a_crafted_value_does_not_pass_for_a_long_one() -> None:
    long_name = render("{PatientID}", x00100020="p" * 300)
    assert len(long_name) == 160
    assert long_name[:126] == "p" * 126
    assert render("{PatientID}", x00100020=long_name) != long_name


def test_a_cut_leaves_no_half_escape_and_no_half_letter() -> None:
    for shift in range(4):
        for char in "/山":
            name = render("{PatientID}/x", x00100020="x" * shift + char * 200).split("/")[0]
            assert len(name.encode()) in range(197, 201)
            head = name.partition("%~")[0]
            assert unquote(head, errors="strict") == ("x" * shift + char * 200)[: len(unquote(head))]


def test_a_cut_spares_an_extension() -> None:
    name = render("{PatientID}.dcm", x00100020="p" * 300)
    assert name.endswith(".dcm")
    assert len(name) == 160
    assert render("{PatientID}.dcm", x00100020="p" * 301) != name
    assert len(render("{PatientID}." + "x" * 17, x00100020="p" * 300)) == 160


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{PatinetID}", r"unknown keyword 'PatinetID'; did you mean PatientID\?"),
        ("{patientid}", r"did you mean PatientID\?"),
        ("{d.StudyInstanceUid}", r"did you mean StudyInstanceUID\?"),
        ("{xyzzyqwx}", r"unknown keyword 'xyzzyqwx'; attributes are called by their keywords"),
        ("", "empty name"),
        ("/{PatientID}", "empty name"),
        ("{PatientID}/", "empty name"),
        ("{PatientID}//x", "empty name"),
        ("../{PatientID}", "no good name"),
        ("./{PatientID}", "no good name"),
        ("{PatientID}/..", "no good name"),
        ("{PatientID}.", "no good name"),
        ("-{PatientID}", "no good name"),
        ("~/{PatientID}", "no good name"),
        ("aux/{PatientID}", "no good name"),
        ("a\\{PatientID}", "should not be in a file name"),
        ("C:{PatientID}", "should not be in a file name"),
        ("a\0b", "should not be in a file name"),
        ("a\nb", "should not be in a file name"),
        ("{PatientID", "without its other half"),
        ("PatientID}", "without its other half"),
        ("{{PatientID}", "without its other half"),
        ("{}", "unknown keyword ''"),
        ("{'x'}", "no keyword"),
        ("{PatientID|}", "unknown keyword ''"),
        ("{|PatientID}", "unknown keyword ''"),
        ("{PatientID|'x'|Modality}", "never be used"),
        ("{PatientID|'x}", "cannot be a part of a file name"),
        ("{PatientID|'}", "cannot be a part of a file name"),
        ("{PatientID|'a/b'}", "cannot be a part of a file name"),
        ("{PatientID|''}", "may be empty"),
        ("{PatientID|''}{Modality|''}/x", "may be empty"),
        ("{PatientID:x}", "no such format"),
        ("{PatientID:}", "no such format"),
        ("{PatientID:3d}", "no such format"),
        ("{PatientID:.0}", "no such format"),
        ("{PatientID:{Modality}}", "without its other half"),
        ("{PatientID[a]}", "an index is a number"),
        ("{PatientID.__class__}", "unknown keyword"),
        ("{PatientID!r}", "unknown keyword"),
        ("{PixelData}", "holds no text"),
        ("{ReferencedImageSequence}", "holds no text"),
        ("{TransferSyntaxUID}", "not in the data set"),
        ("x" * 300, "too long"),
    ],
)
def test_a_bad_template_is_refused(text: str, why: str) -> None:
    with pytest.raises(TemplateError, match=why) as caught:
        PathTemplate(text)
    assert caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


@given(st.lists(st.sampled_from([*"{}{}|:[]'\".d0/\\%(,)ax ", "PatientID", "Modality"]), max_size=25).map("".join))
def test_any_text_is_a_template_or_an_error(text: str) -> None:
    try:
        template = PathTemplate(text)
    except TemplateError:
        return
    for value in ("", "..", "a/b", "\0"):
        for name in template.render(lambda tag: value):  # noqa: B023 - called at once
            check_safe(name)


def test_tags_are_what_it_reads() -> None:
    assert PathTemplate("{PatientID|PatientName[0]}/x/{Modality}").tags == {0x00100020, 0x00100010, 0x00080060}
    read: list[int] = []
    template = PathTemplate(DEFAULT_TEMPLATE)

    def text_of(tag: int) -> str:
        read.append(tag)
        return ""

    template.render(text_of)
    assert set(read) == template.tags


@pytest.mark.parametrize(
    ("text", "end"),
    [("{PatientID}", ""), ("{PatientID}.dcm", ".dcm"), ("{Modality}/x{{", "x{"), ("a.b/{Modality}", "")],
)
def test_literal_end(text: str, end: str) -> None:
    assert PathTemplate(text).literal_end == end


def test_templates_are_values() -> None:
    assert PathTemplate("{PatientID}") == PathTemplate("{PatientID}")
    assert len({PathTemplate("{PatientID}"), PathTemplate("{PatientID}"), PathTemplate("{Modality}")}) == 2
    assert PathTemplate("{PatientID}") != "{PatientID}"
    assert str(PathTemplate("{PatientID}")) == "{PatientID}"
    assert repr(PathTemplate("{PatientID}")) == "PathTemplate('{PatientID}')"


def test_the_example_runs() -> None:
    assert doctest.testmod(dcm.template).failed == 0


def test_the_usual_keywords_are_those_of_the_dictionary() -> None:
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    assert {key: (tag_for_keyword(key), dictionary_VR(key)) for key in USUAL} == USUAL
