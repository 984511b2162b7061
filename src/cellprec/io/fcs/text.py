"""HEADER and TEXT of an FCS file: where the segments lie, and what the keywords say.

Sources: Spidlen et al. 2010 (FCS 3.1, doi:10.1002/cyto.a.20825), 2021 (FCS 3.2, doi:10.1002/cyto.a.24225).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cellprec.notes import Note

if TYPE_CHECKING:
    from cellprec.io.fcs.source import FcsSource

HEADER_BYTES = 58
BLANK = " \t\r\n\0"
VERSIONS = {"2.0", "3.0", "3.1", "3.2"}
LONGEST_NUMBER = 64
# megabytes of keywords exist (analysis stored by the software); beyond this it is data
LONGEST_TEXT = 1 << 26
# how far behind the end of TEXT its closing delimiter is looked for
SEARCHED = 256

_DIGITS = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_STANDARD = re.compile(
    r"\$(P[0-9]+[BENRSGVLFOTD]|PAR|TOT|MODE|DATATYPE|BYTEORD|NEXTDATA|TIMESTEP|(BEGIN|END)(DATA|STEXT|ANALYSIS))",
    re.IGNORECASE,
)


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
    segments, notes = _segments(source)
    keywords, text_notes, real_end = _primary(source, segments)
    segments = Segments(segments.version, (segments.text[0], real_end), segments.data)
    keywords, more_notes = _with_supplement(source, segments, keywords)
    if "$PAR" not in keywords:
        raise source.error("the TEXT segment cannot be read: it has no $PAR", why="without it nothing can be decoded")
    step = whole(keywords.get("$NEXTDATA")) or 0
    if step and (step < 0 or source.read(step, 3) != b"FCS"):
        where = "lies beyond the end of the file" if step >= source.size else "does not begin there"
        text = f"$NEXTDATA announces another data set at byte {step:,}, which {where}: only this one can be read."
        notes.append(Note("fcs.data_sets", text))
    return Text(segments, keywords, (*notes, *text_notes, *more_notes))


def _primary(source: FcsSource, segments: Segments) -> tuple[dict[str, str], list[Note], int]:
    """Return the keywords of TEXT and its last byte, which HEADER may put too early or too late."""
    first, last = segments.text
    raw = source.read(first, last - first + 1)
    keywords, notes = parse_text(raw)
    delimiter = raw[:1]
    room = min(max(segments.data[0] - last - 1, 0) or SEARCHED, SEARCHED)
    after = source.read(last + 1, room)
    # where DATA begins right here, what follows is an event, even if it looks like text
    ends = last + 1 in (segments.data[0], whole(keywords.get("$BEGINDATA")))
    if not ends and not raw[1:].rstrip(BLANK.encode()).endswith(delimiter) and delimiter in after:
        # too early: the closing delimiter comes before anything that is not text
        longer = raw + after[: after.index(delimiter) + 1]
        if segments.data[0] > last + 1:
            longer = raw + after[: after.rindex(delimiter) + 1]
        found, found_notes = parse_text(longer)
        if _is_text(longer[len(raw) :]) and _closed(found_notes) and _score(found) >= _score(keywords):
            lost = len(longer) - len(raw)
            message = f"By HEADER, TEXT ends {lost} bytes before its closing delimiter: it was read to its end."
            return found, [*found_notes, Note("fcs.text_end", message)], last + lost
    if not _closed(notes) and delimiter in raw[1:]:
        # too late: whatever follows the last delimiter belongs to DATA
        end = raw.rindex(delimiter)
        shorter, shorter_notes = parse_text(raw[: end + 1])
        if not _is_text(raw[end + 1 :]) and _closed(shorter_notes) and _score(shorter) >= _score(keywords):
            message = f"By HEADER, TEXT ends {len(raw) - end - 1} bytes after its closing delimiter: it was cut there."
            return shorter, [*shorter_notes, Note("fcs.text_end", message)], first + end
    return keywords, notes, last


def _closed(notes: list[Note]) -> bool:
    return all(note.code != "fcs.unclosed_text" for note in notes)


def _is_text(raw: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f\x1e" for byte in raw)


def _with_supplement(
    source: FcsSource, segments: Segments, keywords: dict[str, str]
) -> tuple[dict[str, str], list[Note]]:
    """Merge the supplemental TEXT; where both name a keyword, the primary TEXT is right."""
    first, last = whole(keywords.get("$BEGINSTEXT")) or 0, whole(keywords.get("$ENDSTEXT")) or 0
    # some instruments repeat the place of TEXT itself here
    if first <= 0 or last <= first or first == segments.text[0]:
        return keywords, []
    if last >= source.size:
        return keywords, [
            Note("fcs.supplement", "The supplemental TEXT lies beyond the end of the file: it was not read.")
        ]
    delimiter = source.read(segments.text[0], 1)
    shift = next((by for by in (0, 1, -1) if source.read(first + by, 1) == delimiter), None)
    if shift is None:
        text = "The supplemental TEXT does not begin with the delimiter of TEXT: it was not read."
        return keywords, [Note("fcs.supplement", text)]
    more, notes = parse_text(source.read(first + shift, last - first + 1))
    if shift:
        notes.append(Note("fcs.supplement", f"The supplemental TEXT begins {shift:+d} byte from where TEXT says."))
    differing = [key for key in more if key in keywords and keywords[key].strip(BLANK) != more[key].strip(BLANK)]
    if differing:
        text = f"The supplemental TEXT contradicts TEXT ({', '.join(differing[:5])}): TEXT was believed."
        notes.append(Note("fcs.supplement", text, len(differing)))
    return more | keywords, notes


def parse_text(raw: bytes) -> tuple[dict[str, str], list[Note]]:
    """Split a TEXT segment into keywords; the first byte is the delimiter, doubled inside a value it is itself.

    >>> parse_text(b"/$P3S/CD3//CD4/$TOT/7/")
    ({'$P3S': 'CD3/CD4', '$TOT': '7'}, [])
    """
    if not raw:
        return {}, []
    delimiter, body = raw[:1], raw[1:]
    best, best_notes = _pairs(*_alternating(body, delimiter))
    if _complete(best) and not _misplaced(best):
        return best, best_notes
    # a writer that does not double, or that puts delimiters into names: the reading that finds most wins
    split = body.split(delimiter)
    readings = (
        (_escaped(body, delimiter), "a doubled delimiter belongs to the name of a keyword"),
        (split, "a doubled delimiter stands for an empty value"),
        ([token for token in split if token], "doubled delimiters are taken as one"),
        (_rejoined(split, delimiter), "single delimiters belong to the values they stand in"),
    )
    for tokens, how in readings:
        other, other_notes = _pairs(tokens, 0)
        if _score(other) > _score(best):
            note = Note("fcs.empty_value", f"The keywords can only be read if {how}.")
            best, best_notes = other, [*other_notes, note]
    return best, best_notes


def whole(value: str | None) -> int | None:
    """Return the integer a keyword spells (``" 12"``, ``"12.0"``), or None.

    >>> whole(" 00012 "), whole("1024.0"), whole("*"), whole(None)
    (12, 1024, None, None)
    """
    stripped = (value or "").strip(BLANK)
    if _DIGITS.fullmatch(stripped):
        return int(stripped)
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def number(value: str | None) -> float | None:
    """Return the finite number a keyword spells, or None.

    >>> number("0.01"), number("xxxx"), number("nan")
    (0.01, None, None)
    """
    stripped = (value or "").strip(BLANK)
    # float() alone would also take 1_000, infinity and the digits of other scripts
    if len(stripped) > LONGEST_NUMBER or not _NUMBER.fullmatch(stripped):
        return None
    found = float(stripped)
    return found if abs(found) < float("inf") else None


def _segments(source: FcsSource) -> tuple[Segments, list[Note]]:
    header = source.read(0, HEADER_BYTES)
    match = re.match(rb"FCS(\d\.\d)", header)
    if not header:
        raise source.error("this is not an FCS file: it is empty", fix="Copy the file again from the cytometer.")
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
    if text[1] - text[0] >= LONGEST_TEXT:
        raise source.error("the HEADER announces more keywords than a file can have", why=f"its bytes are {header!r}")
    notes = []
    version = match.group(1).decode()
    if version not in VERSIONS:
        message = f"The file is of FCS version {version}, which is not known: it was read as FCS 3.1."
        notes.append(Note("fcs.version", message))
    blanks = source.read(text[0], text[1] - text[0] + 1)
    skipped = len(blanks) - len(blanks.lstrip(b" \r\n"))
    if skipped and len(blanks) > skipped and blanks.count(blanks[skipped : skipped + 1]) > blanks.count(blanks[:1]):
        # a blank as delimiter is legal: the one that divides more is meant
        notes.append(Note("fcs.text_begin", f"TEXT begins with {skipped} blanks before its first delimiter: skipped."))
        text = (text[0] + skipped, text[1])
    return Segments(version, text, (numbers[2], numbers[3])), notes


def _offset(field: bytes) -> int:
    digits = field.strip(BLANK.encode())
    return int(digits) if digits.isdigit() else 0


def _alternating(body: bytes, delimiter: bytes) -> tuple[list[bytes], int]:
    """Split into names and values in turn; return how many values were empty as well.

    A name holds no delimiter. So after a name, one more delimiter is an empty value, two are one at the head of the
    value; inside a value pairs are one each, and an odd one is its end.
    """
    tokens: list[bytes] = []
    value: list[bytes] = []
    empty = position = 0
    in_name = True
    for match in re.finditer(re.escape(delimiter) + b"+", body):
        piece, run = body[position : match.start()], match.end() - match.start()
        position = match.end()
        if in_name:
            tokens.append(piece)
            run -= 1
            if run % 2:
                tokens.append(delimiter * (run // 2))
                empty += run == 1
            else:
                value, in_name = [delimiter * (run // 2)], False
        else:
            value += [piece, delimiter * (run // 2)]
            if run % 2:
                tokens.append(b"".join(value))
                value, in_name = [], True
    return [*tokens, b"".join([*value, body[position:]])], empty


def _escaped(body: bytes, delimiter: bytes) -> list[bytes]:
    """Split by the letter of the standard: every pair of delimiters is one of them, in names too."""
    tokens: list[bytes] = []
    current: list[bytes] = []
    for index, part in enumerate(body.split(delimiter * 2)):
        first, *rest = part.split(delimiter)
        current += [delimiter, first] if index else [first]
        for piece in rest:
            tokens.append(b"".join(current))
            current = [piece]
    return [*tokens, b"".join(current)]


def _rejoined(split: list[bytes], delimiter: bytes) -> list[bytes]:
    """Put values together again that hold delimiters: a value ends before a name of the standard, or in pairs."""
    tokens: list[bytes] = []
    for piece in split:
        standard = _STANDARD.fullmatch(piece.decode("latin-1").strip(BLANK)) is not None
        if standard and len(tokens) % 2:
            # where a value should stand there is a name: what was taken for a name belongs to the value before
            extra = tokens.pop()
            if not tokens:
                return split
            tokens[-1] += delimiter + extra
        tokens.append(piece)
    return tokens


def _pairs(tokens: list[bytes], empty: int) -> tuple[dict[str, str], list[Note]]:
    keywords: dict[str, str] = {}
    notes: list[Note] = []
    closed = len(tokens) % 2 == 1
    queue = tokens[:-1] if closed and not tokens[-1].strip(BLANK.encode()) else list(tokens)
    differing = latin = 0
    for position in range(0, len(queue), 2):
        key, key_latin = _decoded(queue[position])
        value, value_latin = _decoded(queue[position + 1]) if position + 1 < len(queue) else ("", False)
        latin += key_latin or value_latin
        key = key.strip(BLANK)
        if not key:
            continue
        key = key.upper() if key.startswith("$") else key
        differing += keywords.get(key, value) != value
        keywords[key] = value
    if latin:
        notes.append(Note("fcs.latin1", "Keywords that are not valid UTF-8 were read as Latin-1.", latin))
    if not closed or len(queue) == len(tokens):
        notes.append(Note("fcs.unclosed_text", "The TEXT segment lacks its closing delimiter."))
    if empty:
        notes.append(Note("fcs.empty_value", "Keywords without a value were read as empty.", empty))
    if differing:
        text = "Keywords stand in the file twice with different values: the last was taken."
        notes.append(Note("fcs.duplicate_keyword", text, differing))
    return keywords, notes


def _decoded(raw: bytes) -> tuple[str, bool]:
    try:
        return raw.decode("utf-8"), False
    except UnicodeDecodeError:
        return raw.decode("latin-1"), True


def _score(keywords: dict[str, str]) -> int:
    wanted = ["$PAR", "$DATATYPE", "$BYTEORD", "$MODE", "$TOT", "$BEGINDATA", "$ENDDATA"]
    # no more than can be there: $PAR may be anything
    for index in range(1, min(whole(keywords.get("$PAR")) or 0, len(keywords)) + 1):
        wanted += [f"$P{index}N", f"$P{index}B", f"$P{index}R"]
    return sum(key in keywords for key in wanted) - _misplaced(keywords)


def _misplaced(keywords: dict[str, str]) -> int:
    """Count the names of the standard that stand where values should, and nowhere as a name."""
    suspects = (value.strip(BLANK) for value in keywords.values() if "$" in value[:2])
    return sum(_STANDARD.fullmatch(name) is not None and name.upper() not in keywords for name in suspects)


def _complete(keywords: dict[str, str]) -> bool:
    n_channels = whole(keywords.get("$PAR")) or 0
    return n_channels > 0 and _score(keywords) >= 4 + 3 * n_channels
