"""The characters by which GPT-2's vocabulary writes bytes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache


@cache
def gpt2_alphabet() -> Mapping[str, int]:
    """Return the byte of each character of GPT-2's alphabet.

    Printable characters of Latin-1 stand for themselves, the other bytes are U+0100 and following.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(0x100) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(0x100 + n): byte for n, byte in enumerate(others)}
