"""Sequencing errors in barcodes: rare sequences returned to the barcode they were read from."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import sparse, stats

from cellprec import keys
from cellprec.barcodes.neighbors import deletion_pairs, encode, substitution_pairs
from cellprec.errors import InputError, UsageError
from cellprec.io.counts import BARCODE
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

CORRECTION = "correction"
"""``uns`` slot: what the correction estimated and moved."""

# A child is kept apart from its parents if errors would give so many reads less often than this.
_ALPHA = 1e-6
# Rates are learned from barcodes with this many reads and from neighbors at least this much rarer.
_MIN_READS = 30
_MIN_FOLD = 10
_ASSUMED_RATE = 1e-3
# A place at which so many sequences agree is constant by design (N4TGN4), not by chance.
_MIN_SEQUENCES = 50
# The share of places with the largest surplus is left out of the dispersion: there true barcodes may stand.
_TRIM = 1e-3
_DELETION, _INSERTION, _N_KINDS = 16, 17, 18


@dataclass(frozen=True)
class _Pairs:
    """Sequences that may be errors of another: child, parent, and the kind of each difference (-1: none)."""

    child: NDArray[np.int64]
    parent: NDArray[np.int64]
    kinds: NDArray[np.int64]


@dataclass(frozen=True)
class _Errors:
    """Reads expected per read of the parent, by kind (parent base × 4 + child base; indels), and their dispersion."""

    rates: NDArray[np.float64]
    dispersion: float
    per_base: float
    assumed: bool


def correct(
    adata: AnnData, *, max_distance: int = 1, ratio: float = 3.0, whitelist: Iterable[str] | None = None
) -> AnnData:
    """Return the reads of sequencing and PCR errors to the barcodes they came from.

    A sequence is taken for an error of a more abundant neighbor if errors can explain its reads. How often each base
    is read as each other is learned from the data, and so is how much this varies from place to place (PCR errors,
    bad cycles); a negative binomial with these tells how many reads errors may give. A neighbor with more reads is a
    barcode of its own, however similar. (In a library of few barcodes, little tells how much error rates vary: there a
    neighbor with less than a tenth of the reads is mostly held for an error.) Errors of errors follow to the barcode.

    With a whitelist, sequences not on it go to the one neighbor that is, and are dropped if there is none.

    Parameters
    ----------
    adata
        1 × sequences, read counts, from :func:`cellprec.barcodes.extract.extract`.
    max_distance
        Substitutions between an error and its barcode, 1 or 2. Where lengths vary, one base more or less counts too.
    ratio
        A sequence is never merged into one with fewer than so many times its reads.
    whitelist
        The barcodes of the library, where they are known.

    Returns
    -------
    AnnData
        1 × barcodes, a new object, by falling count; ``var["n_merged"]`` sequences were added to each. The sum of
        reads is unchanged unless a whitelist dropped some. ``uns["correction"]``: ``error_rate`` per base,
        ``dispersion``, ``sequences_before``, ``sequences_after``, ``reads_moved``, ``reads_dropped``.

    Raises
    ------
    UsageError
        There is more than one library, or a setting is out of range.
    InputError
        No read fits the whitelist.

    Notes
    -----
    The direction (rare to abundant, along chains) follows Smith et al., Genome Res 27:491 (2017); testing abundance
    against an error model follows Callahan et al., Nat Methods 13:581 (2016).

    Examples
    --------
    >>> counts = np.array([[1000.0, 400.0, 2.0]], dtype=np.float32)
    >>> names = ["ACGTACGTAC", "ACGTACGTAG", "ACGTACCTAC"]
    >>> raw = AnnData(counts, var=pd.DataFrame({"sequence": names}, index=names))
    >>> correct(raw).to_df()
       ACGTACGTAC  ACGTACGTAG
    0      1002.0       400.0
    """
    _judge(adata, max_distance, ratio)
    counts = _counts(adata)
    names = adata.var_names.astype(str).tolist()
    listed = None if whitelist is None else _listed(names, counts, whitelist)
    if listed is not None:
        absent = sorted(listed - set(names))
        names, counts = names + absent, np.concatenate([counts, np.zeros(len(absent))])
    pairs = _neighbors(names, max_distance)
    errors = _learn(names, counts, pairs)
    if listed is None:
        root = _merge(counts, _directed(pairs, counts, ratio), errors)
    else:
        on_list = np.array([name in listed for name in names])
        root = _to_list(counts, pairs, on_list)
    return _build(adata, names, counts, root, errors)


def _judge(adata: AnnData, max_distance: int, ratio: float) -> None:
    if adata.n_obs != 1:
        raise UsageError(f"barcodes are corrected one library at a time, not {adata.n_obs}", fix="Give one row.")
    if max_distance not in {1, 2}:
        raise UsageError(
            f"max_distance cannot be {max_distance}",
            why="Barcodes further apart cannot be told from other barcodes.",
            fix="Give 1 or 2.",
        )
    if ratio < 1:
        raise UsageError(
            f"ratio cannot be {ratio:g}", why="Errors are rarer than their barcode.", fix="Give 1 or more."
        )


def _counts(adata: AnnData) -> NDArray[np.float64]:
    row = adata.X.toarray() if sparse.issparse(adata.X) else np.asarray(adata.X)
    return row.ravel().astype(np.float64)


def _listed(names: list[str], counts: NDArray[np.float64], whitelist: Iterable[str]) -> set[str]:
    listed = {name.strip().upper() for name in whitelist} - {""}
    held = np.array([name in listed for name in names], dtype=bool)
    if counts.sum() and not counts[held].sum():
        turned = {name.translate(str.maketrans("ACGT", "TGCA"))[::-1] for name in listed}
        hint = "The list holds their reverse complements. " if turned & set(names) else ""
        raise InputError(
            f"none of {len(names):,} sequences is on the list of {len(listed):,} barcodes",
            why="Every read would be dropped.",
            fix=hint + "Check the length and the direction of the listed barcodes.",
        )
    return listed


def _neighbors(names: list[str], max_distance: int) -> _Pairs:
    """Return all pairs of neighbors, each in both directions."""
    lengths = np.array([len(name) for name in names], dtype=np.int64)
    ones, others, kinds = [], [], []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        codes = encode([names[row] for row in rows])
        if (codes > 3).any():
            odd = names[rows[int(np.argmax((codes > 3).any(axis=1)))]]
            raise InputError(
                f"{odd!r} is not a barcode sequence",
                why="Errors are found by comparing bases; only A, C, G and T have an error rate.",
                fix="Correct sequences, before they are named; drop those with unread bases.",
            )
        wide = codes.astype(np.int64)
        for distance in range(1, max_distance + 1):
            for one, other, places in substitution_pairs(codes, distance=distance):
                kind = np.full((len(one), 2), -1, dtype=np.int64)
                back = kind.copy()
                for column, place in enumerate(places):
                    kind[:, column] = wide[other, place] * 4 + wide[one, place]
                    back[:, column] = wide[one, place] * 4 + wide[other, place]
                ones += [rows[one], rows[other]]
                others += [rows[other], rows[one]]
                kinds += [kind, back]
    if len(np.unique(lengths)) > 1:
        longer, shorter = deletion_pairs(names)
        ones += [shorter, longer]
        others += [longer, shorter]
        kinds += [np.tile([kind, -1], (len(longer), 1)) for kind in (_DELETION, _INSERTION)]
    if not ones:
        return _Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 2), np.int64))
    return _Pairs(np.concatenate(ones), np.concatenate(others), np.concatenate(kinds))


def _directed(pairs: _Pairs, counts: NDArray[np.float64], ratio: float) -> _Pairs:
    keep = (counts[pairs.parent] >= ratio * counts[pairs.child]) & (counts[pairs.parent] > counts[pairs.child])
    return _Pairs(pairs.child[keep], pairs.parent[keep], pairs.kinds[keep])


def _learn(names: list[str], counts: NDArray[np.float64], pairs: _Pairs) -> _Errors:
    """Learn the error rates from abundant barcodes and their much rarer neighbors."""
    rare = _directed(pairs, counts, _MIN_FOLD)
    is_error = np.zeros(len(counts), dtype=bool)
    is_error[rare.child] = True
    sources = np.flatnonzero((counts >= _MIN_READS) & ~is_error)
    if not len(sources):
        return _Errors(np.full(_N_KINDS, _ASSUMED_RATE), 0.0, 3 * _ASSUMED_RATE, True)
    is_source = np.zeros(len(counts), dtype=bool)
    is_source[sources] = True
    use = is_source[rare.parent] & (rare.kinds[:, 1] < 0)
    child, parent, kind = rare.child[use], rare.parent[use], rare.kinds[use, 0]

    bases = _composition(names, sources)
    exposure = np.zeros(_N_KINDS)
    exposure[:16] = np.repeat(counts[sources] @ bases, 4)
    exposure[[0, 5, 10, 15]] = 0.0  # a base read as itself
    exposure[[_DELETION, _INSERTION]] = counts[sources] @ bases.sum(axis=1)
    seen = np.bincount(kind, weights=counts[child], minlength=_N_KINDS)
    mean = np.zeros(_N_KINDS)
    mean[:16] = max(seen[:16].sum(), 1.0) / exposure[:16].sum()
    mean[16:] = max(seen[16:].sum(), 1.0) / exposure[16:].sum()
    # each kind is drawn to the mean with the weight of five reads
    rates = (seen + 5.0) / (exposure + 5.0 / mean)

    substitution = kind < 16
    expected = counts[parent] * rates[kind]
    surplus = (counts[child] ** 2 - counts[child] - 2 * counts[child] * expected)[substitution]
    off_diagonal = np.where(exposure[:16] > 0, rates[:16], 0.0).reshape(4, 4)
    squares = float(((counts[sources] ** 2) @ bases) @ (off_diagonal**2).sum(axis=1))
    n_places = int(bases.sum() * 3)
    surplus = np.sort(surplus)[: max(len(surplus) - int(_TRIM * n_places), 0)]
    dispersion = max(float(surplus.sum() + squares) / squares, 0.0)
    return _Errors(rates, dispersion, float(3 * mean[0]), False)


def _composition(names: list[str], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how many A, C, G and T of each sequence can be misread: those of constant places were filtered for."""
    lengths = np.array([len(name) for name in names])
    bases = np.zeros((len(rows), 4))
    for length in np.unique(lengths[rows]):
        codes = encode([name for name in names if len(name) == length])
        varies = (codes != codes[0]).any(axis=0) if len(codes) >= _MIN_SEQUENCES else np.ones(length, dtype=bool)
        own = np.flatnonzero(lengths[rows] == length)
        chosen = encode([names[row] for row in rows[own]])[:, varies]
        bases[own] = np.stack([(chosen == base).sum(axis=1) for base in range(4)], axis=1)
    return bases


def _merge(counts: NDArray[np.float64], pairs: _Pairs, errors: _Errors) -> NDArray[np.int64]:
    """Return for every sequence the barcode that it belongs to."""
    root = np.arange(len(counts))
    if not len(pairs.child):
        return root
    second = np.where(pairs.kinds[:, 1] >= 0, errors.rates[pairs.kinds[:, 1]], 1.0)
    expected = counts[pairs.parent] * errors.rates[pairs.kinds[:, 0]] * second
    summed = np.bincount(pairs.child, weights=expected, minlength=len(counts)).astype(np.float64)
    children = np.flatnonzero(summed > 0)
    plausible = np.zeros(len(counts), dtype=bool)
    plausible[children] = _tail(counts[children], summed[children], errors.dispersion) >= _ALPHA
    order = np.lexsort((pairs.parent, -expected, pairs.child))
    child, parent = pairs.child[order], pairs.parent[order]
    first = np.r_[True, child[1:] != child[:-1]] & plausible[child]
    root[child[first]] = parent[first]
    while True:  # parents always have more reads, so chains end
        next_root = root[root]
        if np.array_equal(next_root, root):
            return root
        root = next_root


def _tail(counts: NDArray[np.float64], expected: NDArray[np.float64], dispersion: float) -> NDArray[np.float64]:
    """Return how probable it is that errors give at least so many reads."""
    if dispersion < 1e-3:
        return np.asarray(stats.poisson.sf(counts - 1, expected))
    size = 1 / dispersion
    return np.asarray(stats.nbinom.sf(counts - 1, size, size / (size + expected)))


def _to_list(counts: NDArray[np.float64], pairs: _Pairs, on_list: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return for every sequence the listed barcode that it belongs to, -1 where there is none or more than one."""
    root = np.where(on_list, np.arange(len(counts)), -1)
    use = on_list[pairs.parent] & ~on_list[pairs.child]
    child, parent = pairs.child[use], pairs.parent[use]
    distance = (pairs.kinds[use] >= 0).sum(axis=1)
    order = np.lexsort((parent, -counts[parent], distance, child))
    child, parent, distance = child[order], parent[order], distance[order]
    first = np.flatnonzero(np.r_[True, child[1:] != child[:-1]]) if len(child) else np.empty(0, np.int64)
    for at in first:
        tied = at + 1 < len(child) and child[at + 1] == child[at] and distance[at + 1] == distance[at]
        if not (tied and counts[parent[at + 1]] == counts[parent[at]]):
            root[child[at]] = parent[at]
    return root


def _build(
    adata: AnnData, names: list[str], counts: NDArray[np.float64], root: NDArray[np.int64], errors: _Errors
) -> AnnData:
    sample = str(adata.obs_names[0])
    moved = (root >= 0) & (root != np.arange(len(root))) & (counts > 0)
    lost = (root < 0) & (counts > 0)
    summed = np.bincount(root[root >= 0], weights=counts[root >= 0], minlength=len(counts))
    n_merged = np.bincount(root[moved], minlength=len(counts))
    labels = np.array(names, dtype=object)
    kept = np.flatnonzero(summed > 0)
    kept = kept[np.lexsort((labels[kept].astype(str), -summed[kept]))]
    var = pd.DataFrame(index=pd.Index(labels[kept], dtype=object))
    var[keys.SEQUENCE] = pd.Categorical(var.index)
    var[keys.SOURCE] = pd.Categorical([BARCODE] * len(var))
    var["n_merged"] = n_merged[kept].astype(np.int32)
    result = AnnData(sparse.csr_matrix(summed[kept].astype(np.float32)[None, :]), obs=adata.obs.copy(), var=var)
    result.uns = copy.deepcopy(dict(adata.uns))
    result.uns[CORRECTION] = {
        "error_rate": errors.per_base,
        "dispersion": errors.dispersion,
        "sequences_before": int((counts > 0).sum()),
        "sequences_after": len(kept),
        "reads_moved": int(counts[moved].sum()),
        "reads_dropped": int(counts[lost].sum()),
    }
    if moved.any():
        text = f"reads of {int(moved.sum()):,} sequences were returned to the barcode they are errors of"
        add_note(result, "barcodes.merged", text, count=int(counts[moved].sum()), sample=sample)
    if lost.any():
        text = f"reads of {int(lost.sum()):,} sequences are not on the list of barcodes; they were dropped"
        add_note(result, "barcodes.unlisted", text, count=int(counts[lost].sum()), sample=sample)
    if errors.assumed and len(counts) > 1:
        text = f"too few reads to learn the error rate; {errors.per_base:.1%} per base was assumed"
        add_note(result, "barcodes.assumed_rate", text, sample=sample)
    return result
