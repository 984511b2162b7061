"""Lineage barcodes in amplicon reads: what stands between two constant flanks."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from operator import ne
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.errors import UsageError
from cellprec.io.counts import clone_counts
from cellprec.io.reads import iterate_reads
from cellprec.notes import add_note

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

READS = "reads"
"""``uns`` slot: reads in total, kept, and lost by reason; the lost and the kept add up to the total."""

LOST = {
    "no_flank": "reads without the constant sequences around the barcode",
    "wrong_length": "reads whose barcode is not of the expected length",
    "pattern": "reads whose barcode does not fit the pattern",
    "n_base": "reads with an unread base (N) in the barcode",
}

_IUPAC = {
    "A": "A", "C": "C", "G": "G", "T": "T", "R": "[AG]", "Y": "[CT]", "S": "[CG]", "W": "[AT]", "K": "[GT]",
    "M": "[AC]", "B": "[CGT]", "D": "[AGT]", "H": "[ACT]", "V": "[ACG]", "N": "[ACGT]",
}  # fmt: skip
_COMPLEMENT = str.maketrans("ACGTN", "TGCAN")
_SHORTEST_FLANKS = 6  # fewer constant bases are found by chance in most reads


@dataclass(frozen=True)
class _Design:
    left: str
    right: str
    length: int | None
    max_mismatches: int


def extract(
    path: str | Path,
    *,
    sample_id: str,
    left: str = "",
    right: str = "",
    length: int | None = None,
    pattern: str = "",
    max_mismatches: int = 1,
) -> AnnData:
    r"""Count the lineage barcodes in the reads of one library.

    A read is searched as it is and as its reverse complement, first for exact flanks, then for flanks with a few
    substitutions. A read may end inside the right flank if the length of the barcode is known.

    Parameters
    ----------
    path
        FASTQ, gzipped or not.
    sample_id
        Name of the library.
    left
        Constant bases before the barcode. May be empty if ``right`` is given and the length is known.
    right
        Constant bases after the barcode. May be empty if the length is known.
    length
        Bases of the barcode; by default that of ``pattern``, or whatever stands between the flanks.
    pattern
        IUPAC letters the barcode must fit, with repeats: ``N20``, ``(WS)15``, ``NNNNTGNNNN``.
    max_mismatches
        Substitutions allowed in each flank.

    Returns
    -------
    AnnData
        1 × distinct barcodes, read counts, by falling count; ``var["sequence"]``. ``uns["reads"]`` holds reads in
        ``total``, ``kept``, and lost: ``no_flank``, ``wrong_length``, ``pattern``, ``n_base``. Sequencing errors are
        still in there: see :func:`cellprec.barcodes.correct.correct`.

    Raises
    ------
    UsageError
        The flanks are too short to be found, or flanks, length and pattern do not fit together.
    FileFormatError
        The file is not FASTQ, or it is cut short.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> path = Path(tempfile.mkdtemp()) / "reads.fastq"
    >>> reads = ["CCGGATCCACGTACTGCAGG", "CCGGATCCACGTACTGCAGG", "CCTGCAGTACGTGGATCCGG", "CCGGATCCACNTACTGCAGG"]
    >>> _ = path.write_text("".join(f"@r\n{read}\n+\n{'I' * 20}\n" for read in reads))
    >>> found = extract(path, sample_id="s1", left="GGATCC", right="CTGCAG", length=5)
    >>> found.to_df()
        ACGTA
    s1    3.0
    >>> found.uns["reads"]
    {'total': 4, 'kept': 3, 'no_flank': 0, 'wrong_length': 0, 'pattern': 0, 'n_base': 1}
    """
    design, fits = _design(left, right, length, pattern, max_mismatches)
    windows: Counter[str] = Counter()
    lost = dict.fromkeys(LOST, 0)
    how = {"reverse": 0, "mismatched": 0}
    for read, _ in iterate_reads(path):
        found = _exact(read, design)
        if found is None:
            found = _search(read.upper(), design, how)
        if found in lost:
            lost[found] += 1
        else:
            windows[found] += 1
    kept: dict[str, int] = {}
    for window, count in windows.items():
        if not fits["bases"].fullmatch(window):
            lost["n_base"] += count
        elif not fits["pattern"].fullmatch(window):
            lost["pattern"] += count
        else:
            kept[window] = count
    counts = np.fromiter(kept.values(), dtype=np.int64, count=len(kept))
    adata = clone_counts(list(kept), counts, sample_id=sample_id)
    adata.var[keys.SEQUENCE] = pd.Categorical(adata.var_names)
    total = int(counts.sum()) + sum(lost.values())
    adata.uns[READS] = {"total": total, "kept": int(counts.sum()), **lost}
    _add_notes(adata, sample_id, how)
    return adata


def _design(
    left: str, right: str, length: int | None, pattern: str, max_mismatches: int
) -> tuple[_Design, dict[str, re.Pattern[str]]]:
    left, right, letters = left.strip().upper(), right.strip().upper(), _expand(pattern)
    for name, flank in (("left", left), ("right", right)):
        if re.search(r"[^ACGT]", flank):
            raise UsageError(
                f"the {name} flank {flank!r} holds letters other than A, C, G and T", fix="Give constant bases only."
            )
    if len(left) + len(right) < _SHORTEST_FLANKS:
        raise UsageError(
            f"the flanks have {len(left) + len(right)} bases together",
            why="So few are found by chance in most reads.",
            fix=f"Give at least {_SHORTEST_FLANKS} constant bases next to the barcode (left, right).",
        )
    if letters and length is not None and len(letters) != length:
        raise UsageError(f"the pattern has {len(letters)} bases, but length is {length}", fix="Give only one of them.")
    length = len(letters) if letters else length
    if length is not None and length < 1:
        raise UsageError(f"the length of a barcode cannot be {length}", fix="Give a positive length.")
    if length is None and not (left and right):
        raise UsageError(
            "with one flank, the length of the barcode must be known", fix="Give length, pattern, or both flanks."
        )
    if max_mismatches < 0 or max_mismatches >= min(len(flank) for flank in (left, right) if flank):
        raise UsageError(
            f"max_mismatches cannot be {max_mismatches} with flanks this short", fix="Give 0, 1 or 2, or longer flanks."
        )
    fits = {
        "bases": re.compile("[ACGT]+"),
        "pattern": re.compile("".join(_IUPAC[letter] for letter in letters) or "[ACGT]+"),
    }
    return _Design(left, right, length, max_mismatches), fits


def _expand(pattern: str) -> str:
    """Write out repeats: ``N3(WS)2`` is ``NNNWSWS``."""
    text = pattern.replace(" ", "").upper()
    text = re.sub(r"\(([A-Z]+)\)(\d+)", lambda found: found[1] * int(found[2]), text)
    text = re.sub(r"([A-Z])(\d+)", lambda found: found[1] * int(found[2]), text)
    wrong = sorted(set(text) - set(_IUPAC))
    if wrong:
        raise UsageError(
            f"the pattern {pattern!r} holds {', '.join(map(repr, wrong))}",
            fix="Write IUPAC letters with repeats, such as N20 or (WS)15.",
        )
    return text


def _exact(read: str, design: _Design) -> str | None:
    """Return the barcode if the flanks are there without a mismatch."""
    left, right, length = design.left, design.right, design.length
    anchor = left or right
    at = read.find(anchor)
    while at >= 0:
        if not left:
            begin = at - (length or 0)
            if begin >= 0:
                return read[begin:at]
        else:
            begin = at + len(left)
            if length is None:
                end = read.find(right, begin + 1)
                if end > 0:
                    return read[begin:end]
            else:
                end = begin + length
                tail = read[end : end + len(right)]
                if tail == right or (end <= len(read) < end + len(right) and right.startswith(tail)):
                    return read[begin:end]
        at = read.find(anchor, at + 1)
    return None


def _search(read: str, design: _Design, how: dict[str, int]) -> str:
    """Return the barcode of a read without exact flanks in its own direction, or why there is none."""
    reverse = read.translate(_COMPLEMENT)[::-1]
    found = _exact(reverse, design)
    if found is not None:
        how["reverse"] += 1
        return found
    candidates, misplaced = [], False
    for direction, bases in enumerate((read, reverse)):
        for begin, end, mismatches in _tolerant(bases, design):
            if end < 0:
                misplaced = True
            else:
                candidates.append((mismatches, direction, begin, bases[begin:end]))
    if not candidates:
        return "wrong_length" if misplaced else "no_flank"
    mismatches, direction, _, barcode = min(candidates)
    how["reverse"] += direction
    how["mismatched"] += mismatches > 0
    return barcode


def _tolerant(read: str, design: _Design) -> list[tuple[int, int, int]]:
    """Return begin, end and mismatches of all barcodes in a read; the end is -1 where the length does not fit."""
    left, right, length, most = design.left, design.right, design.length, design.max_mismatches
    found = []
    for at, missed in _near(read, left or right, most):
        begin = at + len(left) if left else at - (length or 0)
        if not left:
            found.append((begin, at, missed) if begin >= 0 else (at, -1, missed))
            continue
        ends = [(end, more) for end, more in _near(read, right, most) if end > begin] if right else []
        if length is None:
            found += [(begin, *min(ends, key=lambda end: (end[1], end[0])))] if ends else []
            continue
        end = begin + length
        tail = read[end : end + len(right)]
        more = sum(map(ne, tail, right))
        allowed = most if len(tail) == len(right) else most * len(tail) // max(len(right), 1)
        if end <= len(read) and more <= allowed:
            found.append((begin, end, missed + more))
        elif end > len(read) or ends:
            found.append((begin, -1, missed))
    return found


def _near(read: str, flank: str, most: int) -> list[tuple[int, int]]:
    """Return where a flank begins in a read with at most so many substitutions, and how many they are.

    Of ``most + 1`` pieces of the flank one must be there without a mismatch (pigeonhole), so only places around an
    exact piece are compared.
    """
    size = len(flank)
    edges = [size * piece // (most + 1) for piece in range(most + 2)]
    starts = set()
    for first, last in pairwise(edges):
        piece = flank[first:last]
        at = read.find(piece)
        while at >= 0:
            if 0 <= at - first <= len(read) - size:
                starts.add(at - first)
            at = read.find(piece, at + 1)
    near = [(start, sum(map(ne, read[start : start + size], flank))) for start in sorted(starts)]
    return [(start, mismatches) for start, mismatches in near if mismatches <= most]


def _add_notes(adata: AnnData, sample_id: str, how: dict[str, int]) -> None:
    reads = adata.uns[READS]
    for reason, text in LOST.items():
        if reads[reason]:
            add_note(adata, f"barcodes.{reason}", f"{text} were dropped", count=reads[reason], sample=sample_id)
    if how["mismatched"]:
        text = "reads were taken although a flank has a substitution"
        add_note(adata, "barcodes.mismatched", text, count=how["mismatched"], sample=sample_id)
    if how["reverse"]:
        text = "reads were turned to their reverse complement"
        add_note(adata, "barcodes.reverse", text, count=how["reverse"], sample=sample_id)
    if not reads["total"]:
        add_note(adata, "barcodes.no_reads", "the file holds no reads", sample=sample_id)
    elif reads["kept"] < reads["total"] / 2:
        share = reads["kept"] / reads["total"]
        text = f"only {share:.1%} of the reads hold a barcode; are flanks, length and pattern those of this library?"
        add_note(adata, "barcodes.few", text, count=reads["kept"], sample=sample_id)
