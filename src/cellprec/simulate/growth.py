"""A drug experiment with barcoded cells: growth, split, death, passage. Numbers of cells per clone, nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cellprec.errors import UsageError

if TYPE_CHECKING:
    from cellprec.simulate.files import Floats

Cells = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Culture:
    """How cells are kept: all numbers are means per clone, so that a larger library means a larger culture.

    founders: cells that took up each barcode. expansion: cells a culture is grown to before it is split or passaged.
    split: cells put into each flask. passage: cells carried over at the passage. kill: share of sensitive cells that
    a drug kills.
    skew, fitness: SD of the logarithm of clone size in the library, and of growth over the whole experiment.
    """

    founders: float = 100
    expansion: float = 10_000
    split: float = 5000
    passage: float = 1000
    kill: float = 0.99
    skew: float = 1.0
    fitness: float = 0.1


def expand(cells: Cells, *, rate: Floats, target: float, rng: np.random.Generator) -> Cells:
    """Grow clones by pure birth until the culture holds about ``target`` cells.

    Each clone is a Yule process (Yule 1925): its size is negative binomial, so small clones drift the most.

    Parameters
    ----------
    cells
        Cells per clone; a clone of none stays at none.
    rate
        Growth of each clone relative to the others, as a factor over the whole growth.
    target
        Cells in the culture when it is grown; nothing happens if they are there already.
    """
    factor = np.maximum(rate * target / max(float((cells * rate).sum()), 1.0), 1.0)
    born = np.zeros_like(cells)
    alive = cells > 0
    born[alive] = rng.negative_binomial(cells[alive], 1 / factor[alive])
    return cells + born


def sample(cells: Cells, *, n: float, rng: np.random.Generator) -> Cells:
    """Carry about ``n`` cells over, each with the same chance: a bottleneck."""
    chance = min(1.0, n / max(int(cells.sum()), 1))
    return rng.binomial(cells, chance)


def grow_pool(n_clones: int, *, culture: Culture, rng: np.random.Generator) -> Cells:
    """Transduce founders from a library of uneven clones and expand them to the pool that all flasks are split from."""
    library = np.exp(rng.normal(0, culture.skew, n_clones))
    founders = rng.poisson(library / library.mean() * culture.founders)
    return expand(founders, rate=np.ones(n_clones), target=culture.expansion * n_clones, rng=rng)


def treat(pool: Cells, *, survival: Floats, culture: Culture, rate: Floats, rng: np.random.Generator) -> Cells:
    """Run one flask: split from the pool, half the death, regrowth, passage, the other half, regrowth.

    Parameters
    ----------
    survival
        Share of the cells of each clone that survive the whole treatment, 1 without a drug.
    rate
        Growth of each clone, as a factor over the whole experiment.
    """
    n = len(pool)
    cells = sample(pool, n=culture.split * n, rng=rng)
    for _ in range(2):
        cells = rng.binomial(cells, np.sqrt(survival))
        cells = expand(cells, rate=np.sqrt(rate), target=culture.expansion * n, rng=rng)
        cells = sample(cells, n=culture.passage * n, rng=rng)
    return cells


def advantage(frequency: Floats, fold: Floats) -> Floats:
    """Return how much better each clone must survive for its frequency to end ``fold`` times that without the drug.

    With expected frequencies p and folds f of the resistant clones R, all others share one survival s; the result is
    survival / s = f × (1 - sum p) / (1 - sum p f), sums over R.

    Parameters
    ----------
    frequency
        Expected frequency of each clone without the drug.
    fold
        Fold of each resistant clone; 1 marks a sensitive clone.

    Raises
    ------
    UsageError
        If the resistant clones would fill the culture.

    Examples
    --------
    >>> advantage(np.array([0.98, 0.02]), np.array([1.0, 10.0]))
    array([ 1.  , 12.25])
    """
    resistant = fold != 1
    room = 1 - float((frequency * fold)[resistant].sum())
    if room <= 0.1:
        raise UsageError(
            "the resistant clones would be more than nine tenths of the treated culture",
            why="no such fold can be had by all of them at once",
            fix="Plant fewer resistant clones or smaller folds.",
        )
    scale = (1 - float(frequency[resistant].sum())) / room
    return np.where(resistant, fold * scale, 1.0)
