"""HEADER and TEXT of an FCS file: where the segments lie, and what the keywords say.

Sources: Spidlen et al. 2010 (FCS 3.1, doi:10.1002/cyto.a.20825), 2021 (FCS 3.2, doi:10.1002/cyto.a.24225).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellprec.notes import Note

if TYPE_CHECKING:
    from cellprec.io.fcs_source import FcsSource

HEADER_BYTES = 58
BLANK = " \t\r\n\0"


@dataclass(frozen=True)
class Segments:
    """What HEADER says: the version, and the first and last byte of TEXT and DATA (0, 0 where it does not say)."""

    version: str
    text: tuple[int, int]
    data: tuple[int, int]


@dataclass(frozen=True)
class Text:
    """The keywords of a data set (``$`` names in capitals), HEADER, and what had to be repaired to read them."""

    segments: Segments
    keywords: dict[str, str]
    notes: tuple[Note, ...]


def read_text(source: FcsSource) -> Text:
    """Read HEADER, TEXT and supplemental TEXT of the data set that starts at the base of the source."""
    segments = _segments(source)
    first, last = segments.text
    keywords, notes = parse_text(source.read(first, last - first + 1))
    if "$PAR" not in keywords:
        raise source.error("the TEXT segment cannot be read: it has no $PAR", why="without it nothing can be decoded")
    supplement = (whole(keywords.get("$BEGINSTEXT")) or 0, whole(keywords.get("$ENDSTEXT")) or 0)
    # some instruments repeat the place of TEXT itself here
    if supplement[0] > 0 and supplement[1] > supplement[0] and supplement != segments.text:
        if supplement[1] >= source.size:
            notes.append(Note("fcs.supplement", "The supplemental TEXT lies beyond the end of the file: not read."))
        else:
            more, more_notes = parse_text(source.read(supplement[0], supplement[1] - supplement[0] + 1))
            keywords = more | keywords
            notes += more_notes
    return Text(segments, keywords, tuple(notes))


def parse_text(raw: bytes) -> tuple[dict[str, str], list[Note]]:
    """Split a TEXT segment into keywords; the first byte is the delimiter, doubled inside a value it is itself.

    >>> parse_text(b"/$P3S/CD3//CD4/$TOT/7/")
    ({'$P3S': 'CD3/CD4', '$TOT': '7'}, [])
    """
    notes: list[Note] = []
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
        notes.append(Note("fcs.latin1", "The keywords are not valid UTF-8: they were read as Latin-1."))
    if not text:
        return {}, notes
    delimiter, body = text[0], text[1:]
    best, best_notes = _pairs(_escaped(body, delimiter), delimiter)
    if not _complete(best):
        # a writer that does not double: read every delimiter as one, with and without empty values
        for tokens in (body.split(delimiter), [token for token in body.split(delimiter) if token]):
            other, other_notes = _pairs(tokens, delimiter)
            if _score(other) > _score(best):
                text_note = "The keywords can only be read if a doubled delimiter stands for an empty value."
                best, best_notes = other, [*other_notes, Note("fcs.empty_value", text_note)]
    return best, notes + best_notes


def whole(value: str | None) -> int | None:
    """Return the integer a keyword spells (``" 12"``, ``"12.0"``), or None.

    >>> whole(" 00012 "), whole("1024.0"), whole("*"), whole(None)
    (12, 1024, None, None)
    """
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def number(value: str | None) -> float | None:
    """Return the finite number a keyword spells, or None.

    >>> number("0.01"), number("xxxx"), number("nan")
    (0.01, None, None)
    """
    try:
        found = float((value or "").strip(BLANK))
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def _segments(source: FcsSource) -> Segments:
    header = source.read(0, HEADER_BYTES)
    match = re.match(rb"FCS(\d\.\d)", header)
    if match is None:
        raise source.error(
            "this is not an FCS file: it does not start with FCS and a version",
            why=f"its first bytes are {header[:10]!r}",
            fix="Check that the right file was named in samples.csv.",
        )
    numbers = [_offset(header[at : at + 8]) for at in range(10, 42, 8)]
    text = (numbers[0], numbers[1])
    if text[0] < 10 or text[1] <= text[0]:
        raise source.error("the HEADER does not say where the TEXT segment is", why=f"its bytes are {header!r}")
    if text[1] >= source.size:
        raise source.error(
            "the file is cut short inside its TEXT segment",
            why=f"TEXT should end at byte {text[1]:,}, the file has {source.size:,} bytes",
        )
    return Segments(match.group(1).decode(), text, (numbers[2], numbers[3]))


def _offset(field: bytes) -> int:
    digits = field.strip(BLANK.encode())
    return int(digits) if digits.isdigit() else 0


def _escaped(body: str, delimiter: str) -> list[str]:
    tokens: list[str] = []
    current = ""
    for index, part in enumerate(body.split(delimiter * 2)):
        first, *rest = part.split(delimiter)
        current = current + delimiter + first if index else first
        for piece in rest:
            tokens.append(current)
            current = piece
    return [*tokens, current]


def _pairs(tokens: list[str], delimiter: str) -> tuple[dict[str, str], list[Note]]:
    keywords: dict[str, str] = {}
    notes: list[Note] = []
    closed = len(tokens) % 2 == 1
    queue = tokens[:-1] if closed and not tokens[-1].strip(BLANK) else list(tokens)
    empty = differing = 0
    position = 0
    while position < len(queue):
        key = queue[position].strip(BLANK)
        if delimiter in key:
            # a name cannot hold the delimiter in practice: the value before it was empty
            key, queue[position] = (part.strip(BLANK) for part in key.split(delimiter, 1))
            value = ""
            empty += 1
            position += not queue[position]
        else:
            value = queue[position + 1] if position + 1 < len(queue) else ""
            position += 2
        if not key:
            continue
        key = key.upper() if key.startswith("$") else key
        differing += keywords.get(key, value) != value
        keywords[key] = value
    if not closed:
        notes.append(Note("fcs.unclosed_text", "The TEXT segment lacks its closing delimiter."))
    if empty:
        notes.append(Note("fcs.empty_value", "Keywords without a value were read as empty.", empty))
    if differing:
        text = "Keywords stand in the file twice with different values: the last was taken."
        notes.append(Note("fcs.duplicate_keyword", text, differing))
    return keywords, notes


def _score(keywords: dict[str, str]) -> int:
    wanted = ["$PAR", "$DATATYPE", "$BYTEORD", "$MODE", "$TOT", "$BEGINDATA", "$ENDDATA"]
    for index in range(1, min(whole(keywords.get("$PAR")) or 0, 10_000) + 1):
        wanted += [f"$P{index}N", f"$P{index}B", f"$P{index}R"]
    return sum(key in keywords for key in wanted)


def _complete(keywords: dict[str, str]) -> bool:
    n_channels = whole(keywords.get("$PAR")) or 0
    return n_channels > 0 and _score(keywords) >= 4 + 3 * n_channels
