"""Neutral drift as it happens in a barcoding experiment, and clones that resist: an oracle apart from the code."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData


def experiment(
    seed: int,
    *,
    n_clones: int = 2000,
    replicates: int = 3,
    bottleneck: float = 50,
    drug_bottleneck: float | None = None,
    spread: float = 1.2,
    depth: float = 1e6,
    resistant: int = 0,
    folds: tuple[float, float] = (4, 16),
    passages: int = 3,
) -> tuple[AnnData, np.ndarray]:
    """Founders, then passages of Yule growth and a split to ``bottleneck`` cells per clone, then PCR and reads."""
    rng = np.random.default_rng(seed)
    share = rng.lognormal(0, spread, n_clones)
    share /= share.sum()
    fold = np.ones(n_clones)
    picked = rng.choice(n_clones, resistant, replace=False)
    fold[picked] = np.exp(rng.uniform(np.log(folds[0]), np.log(folds[1]), resistant))
    rows, design = [], []
    for arm in ("vehicle", "drug"):
        cells_per_clone = drug_bottleneck if arm == "drug" and drug_bottleneck else bottleneck
        growth = 8 * (fold ** (1 / passages) if arm == "drug" else np.ones(n_clones))
        for replicate in range(replicates):
            cells = rng.poisson(share * n_clones * cells_per_clone)
            for _ in range(passages):
                grown = np.where(cells > 0, cells + rng.negative_binomial(np.maximum(cells, 1), 1 / growth), 0)
                cells = rng.poisson(grown / grown.sum() * n_clones * cells_per_clone)
            amplified = cells * rng.gamma(50, 1 / 50, n_clones)
            rows.append(rng.poisson(amplified / amplified.sum() * depth))
            design.append((arm, str(replicate + 1)))
    obs = pd.DataFrame(design, columns=["arm", "replicate"], index=[f"{a}_{r}" for a, r in design]).astype("category")
    var = pd.DataFrame(index=[f"bc{i}" for i in range(n_clones)])
    return AnnData(np.array(rows, dtype=np.float32), obs=obs, var=var), fold


@pytest.fixture(name="experiment")
def _experiment():
    return experiment
