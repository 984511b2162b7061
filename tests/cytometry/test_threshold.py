from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.scales.transform import estimate_transform, transform
from cellprec.cytometry.threshold import Threshold, find_threshold

RNG = np.random.default_rng(0)


def find(values: np.ndarray, *, kind: str = "fluorescence", weights: np.ndarray | None = None) -> Threshold:
    adata = anndata.AnnData(values.astype("float32")[:, None], var=pd.DataFrame({"kind": [kind]}, index=["m"]))
    return find_threshold(adata, channel="m", weights=np.ones(len(values)) if weights is None else weights)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_the_valley_lies_between_two_hills(share: float) -> None:
    n = 5000
    values = np.where(RNG.random(n) < share, RNG.normal(5, 0.5, n), RNG.normal(1, 0.5, n))
    found = find(values)
    assert found.how == "valley"
    assert 2.2 < found.value < 3.8


@pytest.mark.parametrize("seed", range(10))
def test_one_hill_has_no_threshold(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for values in (rng.normal(3, 1, 5000), rng.exponential(1, 5000), np.abs(rng.normal(0, 1, 5000))):
        found = find(values)
        assert found.how == "none"
        assert np.isnan(found.value)


def test_a_broad_shoulder_is_cut_where_it_explains_most() -> None:
    found = find(np.r_[RNG.normal(1, 0.4, 5000), 1.5 + RNG.beta(1, 1.5, 5000) * 6])
    assert found.how == "otsu"
    assert 2 < found.value < 4


def test_weights_let_a_rare_population_be_seen() -> None:
    values = np.r_[RNG.exponential(0.5, 100_000), RNG.normal(4, 0.4, 100)]
    weights = np.r_[np.ones(100_000) / np.sqrt(100_000), np.ones(100) / np.sqrt(100)]
    found = find(values, kind="mass", weights=weights)
    assert found.how == "valley"
    assert 2 < found.value < 3.5


def test_mass_noise_of_a_few_counts_is_no_population() -> None:
    values = np.arcsinh(np.r_[np.zeros(3000), RNG.normal(2.5, 0.3, 3000)] / 5)
    found = find(values, kind="mass")
    assert found.how == "scale"
    assert (values < found.value).mean() > 0.95
    assert find(values, kind="fluorescence").how == "valley"


def test_constant_empty_and_missing_values_have_none() -> None:
    assert find(np.full(100, 2.0)).how == "none"
    assert find(np.full(100, np.nan)).how == "none"
    holes = np.r_[RNG.normal(0, 0.3, 500), RNG.normal(4, 0.3, 500), np.full(10, np.nan)]
    assert find(holes).how == "valley"


def test_where_all_are_negative_or_all_positive_the_scale_decides() -> None:
    for kind in ("mass", "fluorescence"):
        low = RNG.gamma(1, 1, 3000) if kind == "mass" else RNG.normal(0, 150, 3000)
        high = RNG.lognormal(5, 0.4, 3000) if kind == "mass" else RNG.lognormal(10, 0.4, 3000)
        values = np.column_stack([low, high])
        if kind == "fluorescence":
            values[:100, 1] = RNG.normal(0, 150, 100)
        var = pd.DataFrame({"kind": [kind] * 2, "range": 262144.0}, index=["low", "high"])
        adata = anndata.AnnData(values.astype("float32"), var=var)
        transform(adata, parameters=estimate_transform(adata))
        for name, positive in (("low", False), ("high", True)):
            found = find_threshold(adata, channel=name, weights=np.ones(3000))
            assert found.how in ("scale", "valley")
            assert (np.median(adata[:, name].X) > found.value) == positive
