from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import anndata
import dnaio
import numpy as np
import pandas as pd
import pytest
import yaml

from cellprec.errors import UsageError
from cellprec.simulate import Culture, simulate_barcoding, simulate_counts, simulate_reads
from cellprec.simulate.barcoding import LEFT, RIGHT

TIGHT = Culture(expansion=2000, split=1000, passage=200)


def exact_counts(path: Path) -> Counter[str]:
    with dnaio.open(path) as reads:
        return Counter(
            read.sequence[len(LEFT) : -len(RIGHT)]
            for read in reads
            if read.sequence.startswith(LEFT) and read.sequence.endswith(RIGHT)
        )


def test_the_reads_give_back_the_counts(barcoding: Path) -> None:
    counts = simulate_counts(
        n_clones=600, n_reads=40_000, replicates=2, drugs=("ibrutinib", "venetoclax"), resistant=6, both=1, seed=3
    )
    expected = counts.to_df().loc["venetoclax_2"]
    found = pd.Series(exact_counts(barcoding / "fastq" / "venetoclax_2.fastq.gz")).reindex(expected.index).fillna(0)
    assert found.sum() / expected.sum() == pytest.approx(0.995**60, abs=0.01)  # reads without an error in 60 bases
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    assert (found <= expected).mean() > 0.97  # errors turn one barcode into another only by rare chance


def test_errors_are_where_the_quality_is_low(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    barcodes = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(50)]
    path = simulate_reads(
        tmp_path / "a.fastq.gz", sequences=barcodes, counts=np.full(50, 400), left=LEFT, right=RIGHT, junk=0.02
    )
    with dnaio.open(path) as reads:
        records = list(reads)
    assert len(records) == 20_400
    assert len({read.name for read in records}) == len(records)
    bases = np.array([list(read.sequence) for read in records])
    quality = np.array([list(read.qualities.encode()) for read in records]) - 33
    wrong = bases[:, : len(LEFT)] != np.array(list(LEFT))
    real = wrong.mean(axis=1) < 0.3
    assert (~real).sum() == 400
    assert wrong[real].mean() == pytest.approx(0.005, rel=0.1)
    assert quality[:, : len(LEFT)][real][wrong[real]].max() <= 20
    assert quality[:, : len(LEFT)][real][~wrong[real]].min() >= 25


def test_planted_clones_are_enriched_as_the_truth_says(barcoding: Path) -> None:
    samples = pd.read_csv(barcoding / "samples.csv", keep_default_na=False)
    found = pd.DataFrame({row.sample_id: exact_counts(barcoding / row.path) for row in samples.itertuples()}).fillna(0)
    frequency = found / found.sum()
    mean = {arm: frequency[group["sample_id"]].mean(axis=1) for arm, group in samples.groupby("arm")}
    start = mean[""]
    truth = pd.read_csv(barcoding / "truth.csv")
    assert truth.groupby("question").size().to_dict() == {
        "ibrutinib vs vehicle": 7,
        "venetoclax vs vehicle": 7,
        "combination vs vehicle": 1,
    }
    assert (truth["kind"] == "clone").all()
    assert (2 ** truth["effect"]).between(4, 60).all()
    for question, planted in truth.groupby("question"):
        drug, control = question.split(" vs ")
        fold = np.log2(mean[drug].clip(1e-6) / mean[control].clip(1e-6))
        seen = planted[planted["t0_frequency"] > 5e-4]
        assert np.abs(fold[seen["name"]].to_numpy() - seen["effect"]).median() < 0.5
        others = fold.drop(planted["name"])[start.drop(planted["name"]) > 1e-3]
        assert others.max() < 1.5
        assert np.allclose(start.reindex(seen["name"]), seen["t0_frequency"], rtol=0.6)
    resistant = [set(group["name"]) for _, group in truth.groupby("question", sort=False)]
    assert resistant[0] & resistant[1] == resistant[2]


def test_the_study_is_complete(barcoding: Path) -> None:
    samples = pd.read_csv(barcoding / "samples.csv", dtype=str, keep_default_na=False)
    assert list(samples) == ["sample_id", "modality", "path", "arm", "timepoint", "replicate"]
    assert samples.groupby(["arm", "timepoint"]).size().to_dict() == {
        ("", "t0"): 2,
        ("combination", "end"): 2,
        ("ibrutinib", "end"): 2,
        ("vehicle", "end"): 2,
        ("venetoclax", "end"): 2,
    }
    study = yaml.safe_load((barcoding / "study.yaml").read_text())
    assert study["settings"] == {
        "reads": {"left": LEFT, "right": RIGHT, "pattern": "N20"},
        "clones": {"control": "vehicle"},
    }


def test_a_null_experiment_has_drift_and_nothing_else() -> None:
    adata = simulate_counts(resistant=0, n_clones=3000, n_reads=300_000, jackpots=0, seed=8, culture=TIGHT)
    assert adata.uns["truth"].empty
    frequency = adata.to_df(layer="frequency")
    common = frequency.columns[frequency.loc["vehicle_1":"vehicle_3"].mean() > 3e-4]
    mean = {arm: frequency.loc[(adata.obs["arm"] == arm).to_numpy(), common].mean() for arm in ("vehicle", "drug")}
    assert np.log2(mean["drug"] / mean["vehicle"]).mean() == pytest.approx(0, abs=0.05)

    def spread(arm: str) -> float:
        logs = np.log(frequency.loc[(adata.obs["arm"] == arm).to_numpy(), common] + 1e-7)
        return float(logs.var(ddof=1).mean())

    counting = float((1 / (frequency.loc["vehicle_1":"vehicle_3", common].mean() * 300_000)).mean())
    assert spread("vehicle") > 1.5 * counting  # bottlenecks add to counting
    assert spread("drug") > 2 * spread("vehicle")  # death is a bottleneck


def test_a_tighter_bottleneck_drifts_more() -> None:
    def disagreement(split: float) -> float:
        adata = simulate_counts(
            resistant=0, n_clones=500, seed=1, culture=Culture(split=split, passage=split), n_reads=50_000
        )
        logs = np.log(adata.to_df().loc["vehicle_1":"vehicle_3"] + 1)
        return float(logs.var(ddof=1).mean())

    tight, middle, wide = (disagreement(split) for split in (5, 30, 500))
    assert tight > 1.5 * middle > 1.5**2 * wide


def test_pre_existing_means_the_same_clones_in_every_replicate() -> None:
    adata = simulate_counts(n_clones=1000, resistant=15, fold=(10, 20), seed=5)
    planted = adata.uns["truth"]["name"]
    frequency = adata.to_df(layer="frequency")
    tops = [set(row.nlargest(30).index) & set(planted) for _, row in frequency.loc["drug_1":"drug_3"].iterrows()]
    assert all(len(a & b) >= 8 for a, b in pairwise(tops))


def test_counts_survive_an_h5ad_file(tmp_path: Path) -> None:
    for resistant in (0, 5):
        adata = simulate_counts(n_clones=200, resistant=resistant, n_reads=5000)
        adata.write_h5ad(tmp_path / "counts.h5ad")
        again = anndata.read_h5ad(tmp_path / "counts.h5ad")
        assert np.array_equal(again.X, adata.X)
        assert len(again.uns["truth"]) == resistant
    assert adata.X.sum(axis=1).tolist() == [5000] * 9


def test_a_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    def contents(name: str, seed: int) -> dict[str, bytes]:
        folder = simulate_barcoding(tmp_path / name, n_clones=300, n_reads=500, replicates=1, seed=seed).parent
        return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}

    first, again, other = contents("a", 1), contents("b", 1), contents("c", 2)
    assert first == again
    assert [name for name in first if first[name] == other[name]] == ["samples.csv"]


def test_too_many_resistant_clones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="3 resistant clones are too many among 10"):
        simulate_barcoding(tmp_path / "demo", n_clones=10)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="nine tenths"):
        simulate_counts(n_clones=100, resistant=20, fold=(50, 60))
