"""Amplicon reads with known barcodes, as a sequencer would write them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from cellprec.simulate.files import write_fastq

if TYPE_CHECKING:
    from collections.abc import Sequence

Bytes = npt.NDArray[np.uint8]
_BASES: Final = np.frombuffer(b"ACGT", np.uint8)
_NEXT: Final = np.zeros(256, np.uint8)
_NEXT[_BASES] = np.arange(4)


def simulate_reads(
    path: Path,
    *,
    sequences: Sequence[str],
    counts: npt.NDArray[np.int64],
    left: str,
    right: str,
    error_rate: float = 0.005,
    junk: float = 0.01,
    seed: int = 0,
) -> Path:
    """Write the reads of one amplicon library: flank, barcode, flank, with sequencing errors.

    Parameters
    ----------
    path
        ``.fastq.gz`` to write.
    sequences
        Barcodes, all of one length.
    counts
        Reads of each barcode.
    left, right
        Constant sequence before and after the barcode.
    error_rate
        Chance of a substitution at each base; the quality of a wrong base is Q2 to Q20, of most right ones Q37.
    junk
        Share of reads that are random sequence instead, written in addition to ``counts``.

    Examples
    --------
    >>> import tempfile, gzip
    >>> path = Path(tempfile.mkdtemp()) / "a.fastq.gz"
    >>> _ = simulate_reads(path, sequences=["ACGT"], counts=np.array([2]), left="TT", right="G", error_rate=0, junk=0)
    >>> gzip.decompress(path.read_bytes()).decode().splitlines()[1]
    'TTACGTG'
    """
    rng = np.random.default_rng(seed)
    barcodes = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(len(sequences), -1)
    which = rng.permutation(np.repeat(np.arange(len(sequences)), counts))
    n_junk = round(junk * which.size)
    flanks = [np.frombuffer(flank.encode(), np.uint8) for flank in (left, right)]
    bases = np.hstack(
        [
            np.broadcast_to(flanks[0], (which.size, flanks[0].size)),
            barcodes[which],
            np.broadcast_to(flanks[1], (which.size, flanks[1].size)),
        ]
    )
    bases = np.vstack([bases, rng.choice(_BASES, (n_junk, bases.shape[1]))])[rng.permutation(which.size + n_junk)]
    wrong = rng.random(bases.shape, np.float32) < error_rate
    bases[wrong] = _BASES[(_NEXT[bases[wrong]] + rng.integers(1, 4, int(wrong.sum()))) % 4]
    write_fastq(path, name=path.name.split(".")[0], bases=bases, qualities=_qualities(wrong, rng))
    return path


def _qualities(wrong: npt.NDArray[np.bool_], rng: np.random.Generator) -> Bytes:
    """Return Phred+33: Q37 for nearly all right bases (Q25 for one in fifty), Q2 to Q20 for wrong ones."""
    quality = np.full(wrong.shape, 33 + 37, np.uint8)
    quality[rng.random(wrong.shape, np.float32) < 0.02] = 33 + 25
    quality[wrong] = 33 + rng.integers(2, 21, int(wrong.sum())).astype(np.uint8)
    return quality
