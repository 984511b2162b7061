"""How many clones a sample holds and how evenly, at its own depth and at a depth that all samples share."""

from __future__ import annotations

import zlib

import numpy as np
import pandas as pd
from anndata import AnnData
from numpy.typing import NDArray
from scipy import special

from cellprec.clones.table import LOW_DEPTH

Floats = NDArray[np.float64]

_ORDERS = (0, 1, 2)
_RAREFACTIONS = 20


def diversity(adata: AnnData, *, n_boot: int = 200, seed: int = 0) -> pd.DataFrame:
    """Measure clonal diversity of every sample, with intervals, and at equal depth so that samples compare.

    Parameters
    ----------
    adata
        samples × clones, counts in ``X``.
    n_boot
        Multinomial draws for the intervals.
    seed
        Seed of the draws; each sample has its own stream, so a sample's numbers do not depend on its neighbours.

    Returns
    -------
    DataFrame
        By sample: ``total``, ``n_clones``; ``hill_0``, ``hill_1``, ``hill_2`` (effective numbers of clones: seen,
        typical, dominant) with ``*_low`` and ``*_high`` (95 %, of drawing reads or cells again from what was seen: it
        holds neither clones never seen nor variation between replicates); ``gini``; ``clonality``
        (1 - Pielou's evenness, 0 even to 1 one clone; missing where there is one clone); ``coverage`` (the share of the
        population that belongs to clones seen); and ``equal_depth`` with ``hill_0_equal``, ``hill_1_equal``,
        ``hill_2_equal`` at the smallest depth of a library not flagged low depth (missing below that depth).

    Notes
    -----
    Hill numbers: Hill 1973. Coverage: Chao & Jost 2012, eq. 4a. ``hill_0_equal`` and ``hill_2_equal`` are exact
    (hypergeometric; Hurlbert 1971, and the expectation of the sample Simpson index), ``hill_1_equal`` is the mean of
    20 draws without replacement. Reads are not cells: where the unit is reads, intervals and coverage speak of reads.

    Examples
    --------
    >>> adata = AnnData(np.array([[25.0, 25.0, 25.0, 25.0], [97.0, 1.0, 1.0, 1.0]], dtype=np.float32))
    >>> diversity(adata)[["n_clones", "hill_1", "clonality"]].round(2)
       n_clones  hill_1  clonality
    0         4    4.00       0.00
    1         4    1.18       0.88
    """
    counts = np.rint(np.asarray(adata.X, dtype=np.float64))
    totals = counts.sum(axis=1).astype(np.int64)
    low = adata.obs[LOW_DEPTH].to_numpy(bool) if LOW_DEPTH in adata.obs else np.zeros(len(counts), dtype=bool)
    usable = totals[~low & (totals > 0)]
    depth = int(usable.min()) if len(usable) else 0
    # a stream per name: the numbers of a sample do not depend on which others there are
    streams = [np.random.default_rng([seed, zlib.crc32(name.encode())]) for name in adata.obs_names]
    rows = []
    for sample, rng in zip(counts, streams, strict=True):
        rows.append(_measure(sample[sample > 0], depth, n_boot, rng))
    return pd.DataFrame(rows, index=adata.obs_names)


def _measure(x: Floats, depth: int, n_boot: int, rng: np.random.Generator) -> dict[str, float]:
    total = x.sum()
    row: dict[str, float] = {"total": int(total), "n_clones": len(x)}
    if not len(x):
        names = [f"hill_{q}{end}" for q in _ORDERS for end in ("", "_low", "_high")]
        return row | dict.fromkeys([*names, "gini", "clonality", "coverage"], np.nan) | _equal(x, depth, rng)
    drawn = rng.multinomial(int(total), x / total, size=n_boot)
    for q in _ORDERS:
        value = _hill(x, q)
        ends = np.quantile([_hill(draw[draw > 0], q) for draw in drawn], [0.025, 0.975])
        # redrawing what was seen can only lose clones, so the draws are centred on the estimate (basic on log scale)
        middle = np.log(value) - np.mean(np.log([_hill(draw[draw > 0], q) for draw in drawn]))
        row[f"hill_{q}"] = value
        row[f"hill_{q}_low"], row[f"hill_{q}_high"] = (float(end) for end in np.exp(np.log(ends) + middle))
    row["gini"] = _gini(x)
    row["clonality"] = 1 - np.log(row["hill_1"]) / np.log(len(x)) if len(x) > 1 else np.nan
    row["coverage"] = _coverage(x)
    return row | _equal(x, depth, rng)


def _hill(x: Floats, q: int) -> float:
    p = x / x.sum()
    if q == 1:
        return float(np.exp(-np.sum(p * np.log(p))))
    return float(np.sum(p**q) ** (1 / (1 - q)))


def _gini(x: Floats) -> float:
    ordered = np.sort(x)
    n = len(ordered)
    return float(np.sum((2 * np.arange(1, n + 1) - n - 1) * ordered) / (n * ordered.sum()))


def _coverage(x: Floats) -> float:
    n, once, twice = x.sum(), np.sum(x == 1), np.sum(x == 2)
    if once == 0:
        return 1.0
    if n <= 1:
        return 0.0
    # without a clone seen twice the bias-corrected form stands in for the number of those never seen
    ratio = (
        (n - 1) * once / ((n - 1) * once + 2 * twice) if twice else (n - 1) * (once - 1) / ((n - 1) * (once - 1) + 2)
    )
    return float(1 - once / n * ratio)


def _equal(x: Floats, depth: int, rng: np.random.Generator) -> dict[str, float]:
    names = [f"hill_{q}_equal" for q in _ORDERS]
    total = x.sum()
    if depth < 1 or total < depth:
        return {"equal_depth": depth} | dict.fromkeys(names, np.nan)
    absent = special.gammaln(total - x + 1) - special.gammaln(np.maximum(total - x - depth, 0) + 1)
    absent = absent - special.gammaln(total + 1) + special.gammaln(total - depth + 1)
    seen = np.sum(1 - np.where(total - x >= depth, np.exp(absent), 0.0))
    whole = x.astype(np.int64)
    draws = rng.multivariate_hypergeometric(whole, depth, size=_RAREFACTIONS, method="marginals")
    typical = np.mean([_hill(draw[draw > 0].astype(np.float64), 1) for draw in draws])
    # the chance that two of `depth` draws are one clone, and that a draw meets itself
    pair = np.sum(x * (x - 1)) / max(total * (total - 1), 1)
    simpson = (1 + (depth - 1) * pair) / depth
    return {"equal_depth": depth} | dict(zip(names, (float(seen), float(typical), float(1 / simpson)), strict=True))
