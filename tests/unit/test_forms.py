"""multipart/form-data: what goes in comes out, byte for byte, whatever the bytes are."""

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.doors.forms import Field, fields_of
from importer.doors.http import Problem, Request

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters='"\\', exclude_categories=("Cc", "Zl", "Zp")), min_size=1
)


def parsed(body: bytes, boundary: str = "x") -> dict[str, Field]:
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    return fields_of(Request("POST", "/", {}, {}, headers, body, cast("Any", None)))


@given(st.binary())
def test_a_files_bytes_are_not_touched(body: bytes):
    """Line ends of every kind, none at the end, bytes that are no text: as they were."""
    if b"--0000b0undary" in body:
        return
    text = (
        b'--0000b0undary\r\nContent-Disposition: form-data; name="file"; filename="a.ndjson"\r\n\r\n'
        + body
        + b"\r\n--0000b0undary--\r\n"
    )
    assert parsed(text, "0000b0undary") == {"file": Field("a.ndjson", "", body)}


@pytest.mark.parametrize("name", ["a.ndjson", "Montag früh.ndjson", "雪.csv", "a b.json"])
def test_names_are_utf_8_as_browsers_write_them(name: str):
    text = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nb\r\n--x--\r\n'.encode()
    assert parsed(text)["file"].file_name == name


def test_a_form_that_is_none_is_told():
    """400 with what is wrong, and how curl makes one."""
    part = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
    for body in (b"", b"x", part, b"--x\r\n\r\nno name\r\n--x--\r\n", part * 21 + b"--x--\r\n"):
        with pytest.raises(Problem) as refused:
            parsed(body)
        assert (refused.value.status, refused.value.code) == (400, "bad_form")
        assert "-F file=@" in refused.value.detail


def test_two_files_in_one_form_are_refused_rather_than_one_of_them_left_behind():
    """Each file is one execution, and an answer has one: whoever sends two is told to send two requests."""
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.ndjson"\r\n\r\nb\r\n'
    with pytest.raises(Problem) as refused:
        parsed(part + part + b"--x--\r\n")
    assert (refused.value.status, refused.value.code) == (400, "bad_form")
    assert "send each file in a request of its own" in refused.value.detail
