"""Damage done to FCS files, seeded: bytes, digits, keywords, lengths, delimiters, compression."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator

import numpy as np

HEADER_BYTES = 58
NASTY = (
    b"0", b"1", b"-1", b"2", b"7.5", b" 7 ", b"", b" ", b"nan", b"inf", b"1e308", b"-1e308", b"1e-308", b"1_0", b"0x10",
    b"1000000000", b"1000000000000", b"4294967296", b"18446744073709551616", b"99999999999999999999999", b"9" * 5000,
    b"2147483647", b"-9223372036854775808", b"\xef\xbc\x97", b"*", b"A", b"I", b"F", b"D", b"C", b"1,2", b"4,3,2,1",
    b"3,4,1,2", b"400,1", b"4,0", b"/", b"//", b"\0", b"$PAR", b"a" * 3000, b"64", b"16", b"10", b"58", b"59", b"457",
    b"3,FITC-A,PE-A,1", b"100000,1,1",
)  # fmt: skip
KEYS = (
    "PAR",
    "TOT",
    "BEGINDATA",
    "ENDDATA",
    "BEGINSTEXT",
    "ENDSTEXT",
    "NEXTDATA",
    "DATATYPE",
    "BYTEORD",
    "MODE",
    "P1B",
    "P2B",
    "P5B",
    "P1R",
    "P3R",
    "P1E",
    "P2E",
    "P1G",
    "P5G",
    "P1N",
    "P2N",
    "P3S",
    "TIMESTEP",
    "SPILLOVER",
    "COMP",
    "P2DATATYPE",
    "DFC3TO4",
)

Damage = Callable[[bytes, np.random.Generator], bytes]


def _span(content: bytes, rng: np.random.Generator, *, longest: int = 40) -> tuple[int, int]:
    start = int(rng.integers(0, len(content) + 1))
    return start, min(start + int(rng.integers(1, longest)), len(content))


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change bytes, most often where they matter."""
    made = bytearray(content)
    where = len(made) if rng.random() < 0.4 else min(len(made), 600)
    for _ in range(int(rng.integers(1, 4))):
        if where:
            made[int(rng.integers(0, where))] = int(rng.integers(0, 256))
    return bytes(made)


def digit(content: bytes, rng: np.random.Generator) -> bytes:
    """Change digits of HEADER and TEXT."""
    made = bytearray(content)
    places = [at for at, byte in enumerate(made[:600]) if 48 <= byte <= 57]
    for _ in range(int(rng.integers(1, 3))):
        if places:
            made[places[int(rng.integers(0, len(places)))]] = int(rng.integers(48, 58))
    return bytes(made)


def cut(content: bytes, rng: np.random.Generator) -> bytes:
    """Lose the end."""
    return content[: int(rng.integers(0, len(content) + 1))]


def repeat(content: bytes, rng: np.random.Generator) -> bytes:
    """Say something twice."""
    start, stop = _span(content, rng)
    return content[:stop] + content[start:stop] * int(rng.integers(1, 4)) + content[stop:]


def insert(content: bytes, rng: np.random.Generator) -> bytes:
    """Put noise, blanks or zeros in between."""
    at, stop = _span(content, rng)
    filling = (rng.bytes(stop - at), b" " * (stop - at), b"\0" * (stop - at), b"/" * (stop - at), b"FCS3.1")
    return content[:at] + filling[int(rng.integers(0, len(filling)))] + content[at:]


def lose(content: bytes, rng: np.random.Generator) -> bytes:
    """Lose a part."""
    start, stop = _span(content, rng)
    return content[:start] + content[stop:]


def keyword(content: bytes, rng: np.random.Generator) -> bytes:
    """Give a keyword a nasty value, or add it; in place where the length allows, so that offsets stay true."""
    key = KEYS[int(rng.integers(0, len(KEYS)))].encode()
    value = NASTY[int(rng.integers(0, len(NASTY)))]
    match = re.search(rb"\$" + key + rb"([^A-Za-z0-9])", content)
    if match is None:
        delimiter = content[HEADER_BYTES : HEADER_BYTES + 1]
        at = content.find(delimiter + b"$MODE")
        return content if at < 0 else content[:at] + delimiter + b"$" + key + delimiter + value + content[at:]
    end = content.find(match[1], match.end())
    length = end - match.end()
    if length >= len(value) and rng.random() < 0.8:
        value = value.rjust(length)
    return content[: match.end()] + value + content[end:]


def field(content: bytes, rng: np.random.Generator) -> bytes:
    """Rewrite a field of HEADER."""
    at = 10 + 8 * int(rng.integers(0, 6))
    number = (0, 1, 57, 58, 59, 455, 594, len(content) - 1, len(content), 99_999_999, -5, 10**7)[
        int(rng.integers(0, 12))
    ]
    return content[:at] + (b"%8d" % number)[:8] + content[at + 8 :]


def delimiters(content: bytes, rng: np.random.Generator) -> bytes:
    """Divide with another byte."""
    old, new = content[HEADER_BYTES : HEADER_BYTES + 1], bytes([int(rng.integers(0, 256))])
    return content.replace(old, new) if old else content


def squeeze(content: bytes, rng: np.random.Generator) -> bytes:
    """Compress, and damage what came out."""
    packed = gzip.compress(content, mtime=0)
    return packed if rng.random() < 0.4 else (flip, cut, insert, repeat)[int(rng.integers(0, 4))](packed, rng)


DAMAGES: tuple[Damage, ...] = (
    flip,
    digit,
    cut,
    repeat,
    insert,
    lose,
    keyword,
    keyword,
    keyword,
    field,
    delimiters,
    squeeze,
)


def mutants(bases: list[bytes], *, n: int, seed: int) -> Iterator[bytes]:
    """Yield damaged files: each a file of the list, damaged one to three times."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        content = bases[int(rng.integers(0, len(bases)))]
        for _ in range(int(rng.choice([1, 1, 1, 2, 3]))):
            content = DAMAGES[int(rng.integers(0, len(DAMAGES)))](content, rng)
        yield content
