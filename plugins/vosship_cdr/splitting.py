"""Bytes of a line into its texts: encoding, byte-order mark, carriage return, quotes.

It does not know what the columns mean or how many there should be.
"""

from __future__ import annotations

import csv

BOM = "\ufeff"
BOM_BYTES = BOM.encode()


def decode(line: bytes) -> tuple[str, bool]:
    """The line's text without `\\r`, and whether it took GB18030, which very old switches write.

    Raises UnicodeDecodeError when it is neither UTF-8 nor GB18030. Decoding comes before splitting: the second byte of a
    GB18030 character may be a `|`.
    """
    try:
        return line.decode().rstrip("\r"), False
    except UnicodeDecodeError:
        return line.decode("gb18030").rstrip("\r"), True


def split(text: str, delimiter: str) -> list[str]:
    """The texts between delimiters; quotes count only where the delimiter is a comma.

    Raises ValueError for quotes that do not pair: such a line is never read further on, a record is a line.
    """
    if delimiter == "|":
        return text.split("|")
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader((text,), strict=True))
    except (csv.Error, StopIteration) as error:
        raise ValueError(f"quotes do not pair: {error}") from error
