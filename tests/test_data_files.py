"""Data files: bytes in a script, which stay inside its string whatever they are and however they are decoded."""

from __future__ import annotations

import itertools
import re

import pytest
from entries import data_file_parts

from mkdocs_attnviz.figure.data_file import data_file

PAIRS = b"".join(map(bytes, itertools.product(range(256), repeat=2)))
"""Every byte before and after every other: also before each escape, and before each byte that one ends with."""
HOSTILE = [PAIRS, b"\x1b$B", b"\x81", b'");alert(1)//', b"\r\n", b"", b"=,", b"\xe2\x80\xa8\x81\x30\x81"]
CHARSETS = [
    "utf-8",
    "latin-1",
    "cp1252",
    "koi8-r",
    "shift_jis",
    "euc_jp",
    "iso2022_jp",
    "gbk",
    "gb18030",
    "big5",
    "euc_kr",
    "utf-16-le",
    "utf-16-be",
]
"""The character sets of browsers that Python has, one of each kind. None of the others of one byte moves ASCII."""


def test_parts_come_back(tmp_path):
    (tmp_path / "file").write_bytes(data_file(HOSTILE))
    assert data_file_parts(tmp_path / "file") == HOSTILE
    assert len(data_file([PAIRS])) < 1.021 * len(PAIRS)


@pytest.mark.parametrize("charset", CHARSETS)
@pytest.mark.parametrize("last", [HOSTILE, HOSTILE[1:2], HOSTILE[2:3], HOSTILE[-1:]])
def test_bytes_stay_in_their_string_in_every_character_set(charset, last):
    """A stranger's bytes that ended the string would be run as code, if someone else's page ran the file."""
    text = data_file(last).decode(charset, "replace")
    assert not re.search(r'".*?["\n\r\\].', text.removesuffix('")\n'), re.DOTALL)
