"""Plain text -> the value YAML 1.2 (core schema) reads in it: null, a boolean, a number, else the text."""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

WORDS: dict[str, bool | None] = {
    "null": None, "Null": None, "NULL": None, "~": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip

INTEGER = re.compile(r"[-+]?[0-9]+")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
OCTAL = re.compile(r"0o[0-7]+")
HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")

LONGEST_NUMBER = 1000
"""Digits beyond this are text: Python refuses to print or read such numbers, and nobody writes them."""


def typed(text: str) -> Scalar:
    """Return the value that `text` spells; empty text stays text, and so does what JSON has no number for."""
    if text in WORDS:
        return WORDS[text]
    number = number_of(text)
    return text if number is None else number


def number_of(text: str) -> int | float | None:
    """Return the finite number that `text` spells, None when it spells none."""
    if len(text) > LONGEST_NUMBER:
        return None
    if INTEGER.fullmatch(text):
        return int(text)
    if FLOAT.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    if OCTAL.fullmatch(text) or HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    return None
