"""Pairs of sequences that differ by one or two bases, found by hashing instead of comparing all with all."""

from __future__ import annotations

from collections import defaultdict
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_BASES = np.full(256, 4, dtype=np.uint8)
_BASES[[ord(base) for base in "ACGT"]] = range(4)


def encode(sequences: Sequence[str]) -> NDArray[np.uint8]:
    """Write sequences of one length as a matrix of 0 to 3 (A, C, G, T), anything else 4.

    >>> encode(["ACGT", "TTTN"])
    array([[0, 1, 2, 3],
           [3, 3, 3, 4]], dtype=uint8)
    """
    data = np.frombuffer("".join(sequences).encode("ascii", "replace"), dtype=np.uint8)
    return _BASES[data.reshape(len(sequences), -1)]


def substitution_pairs(
    codes: NDArray[np.uint8], *, distance: int
) -> Iterator[tuple[NDArray, NDArray, tuple[int, ...]]]:
    """Yield all pairs of rows that differ in exactly ``distance`` places.

    Each set of places is blanked in turn; rows that then agree are pairs. Rows are compared by a sum of random 64-bit
    numbers, one per place and base, and what agrees is verified base by base.

    Parameters
    ----------
    codes
        Distinct sequences × places, from :func:`encode`.
    distance
        Substitutions between the two.

    Yields
    ------
    tuple
        Rows of the one, rows of the other, and the places where all of these pairs differ.

    Examples
    --------
    >>> codes = encode(["AAAA", "AACA", "TTTT"])
    >>> [(a.tolist(), b.tolist(), places) for a, b, places in substitution_pairs(codes, distance=1)]
    [([0], [1], (2,))]
    """
    n, length = codes.shape
    if n < 2:
        return
    table = np.random.default_rng(0).integers(0, 2**63, size=(length, 5), dtype=np.uint64)
    parts = table[np.arange(length), codes]
    whole = parts.sum(axis=1, dtype=np.uint64)
    for places in combinations(range(length), distance):
        masked = whole - parts[:, places].sum(axis=1, dtype=np.uint64)
        order = np.argsort(masked, kind="stable")
        ranked = masked[order]
        step, first, second = 1, [], []
        while step < n:
            same = np.flatnonzero(ranked[:-step] == ranked[step:])
            if not len(same):
                break
            first.append(order[same])
            second.append(order[same + step])
            step += 1
        if not first:
            continue
        one, other = np.concatenate(first), np.concatenate(second)
        differ = codes[one] != codes[other]
        true = (differ.sum(axis=1) == distance) & differ[:, places].all(axis=1)
        if true.any():
            yield one[true], other[true], places


def deletion_pairs(sequences: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return all pairs in which the second sequence is the first one without one base.

    >>> deletion_pairs(["ACGT", "AGT", "TTT"])
    (array([0]), array([1]))
    """
    by_length: dict[int, dict[str, int]] = defaultdict(dict)
    for place, sequence in enumerate(sequences):
        by_length[len(sequence)][sequence] = place
    pairs = set()
    for length, longer in by_length.items():
        shorter = by_length.get(length - 1)
        if not shorter:
            continue
        for sequence, place in longer.items():
            for at in range(length):
                found = shorter.get(sequence[:at] + sequence[at + 1 :])
                if found is not None:
                    pairs.add((place, found))
    found_pairs = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return found_pairs[:, 0], found_pairs[:, 1]
