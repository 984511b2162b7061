from __future__ import annotations

import time
from pathlib import Path

import flowio
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import yaml
from scipy.stats import mannwhitneyu

from cellprec.errors import UsageError
from cellprec.simulate import cart as cart_module
from cellprec.simulate import simulate_cart

# the standard genetic code, bases in the order TCAG (NCBI translation table 1)
CODE = dict(
    zip(
        (a + b + c for a in "TCAG" for b in "TCAG" for c in "TCAG"),
        "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRRIIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG",
        strict=True,
    )
)


def read_flow(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read an FCS file with flowio: events by channel, and compensated by its own spillover, by marker."""
    data = flowio.FlowData(str(path))
    channels = [data.channels[i]["pnn"] for i in sorted(data.channels)]
    markers = [data.channels[i].get("pns", "") for i in sorted(data.channels)]
    raw = pd.DataFrame(data.as_array(), columns=channels)
    n, *words = data.text["spillover"].split(",")
    names, numbers = words[: int(n)], np.array(words[int(n) :], float).reshape(int(n), int(n))
    compensated = raw[names].to_numpy() @ np.linalg.inv(numbers)
    return raw, pd.DataFrame(compensated, columns=[markers[channels.index(name)] for name in names])


def test_events_are_those_of_a_cytometer(cart: Path) -> None:
    raw, compensated = read_flow(cart / "fcs" / "P01_baseline.fcs")
    assert raw.shape == (1200, 14)
    assert set(compensated) == {"CD3", "CD4", "CD8", "CD19", "CD14", "CD16", "CD56", "CD45RA", "CCR7", "CAR"}
    assert raw["Time"].is_monotonic_increasing
    assert (compensated < 0).to_numpy().any()
    assert 1e3 < compensated["CD3"].quantile(0.95) < 1e5
    assert (raw.drop(columns="Time") >= 262143).any(axis=1).mean() == pytest.approx(0.01)
    ratio = raw["FSC-A"] / raw["FSC-H"]
    assert 0.025 < (ratio > 1.3 * ratio.median()).mean() < 0.06


def test_spillover_is_really_in_the_events(cart: Path) -> None:
    raw, compensated = read_flow(cart / "fcs" / "P02_baseline.fcs")
    bright = compensated["CD3"].between(5e3, 1e5) & (compensated["CD4"] < 700)
    assert raw.loc[bright, "BV605-A"].median() > 500  # CD3 on BV510 shines into the CD4 detector
    assert abs(compensated.loc[bright, "CD4"].median()) < 150


def test_planted_fractions_are_in_the_files(cart: Path) -> None:
    """Gate every tube by the sign table with fixed cuts, and find the fractions that the truth states."""
    signs = pd.read_csv(cart / "populations.csv", index_col=0)
    truth = pd.read_csv(cart / "truth_fractions.csv").query("modality == 'cytometry'")
    gated = []
    for path in sorted((cart / "fcs").glob("*.fcs")):
        raw, compensated = read_flow(path)
        ratio = raw["FSC-A"] / raw["FSC-H"]
        single = (raw.drop(columns="Time") < 262143).all(axis=1) & (ratio / ratio.median()).between(0.85, 1.15)
        positive = compensated.loc[single] > 700
        for population, row in signs.iterrows():
            wanted = row.dropna()
            inside = (positive[wanted.index] == (wanted > 0)).all(axis=1)
            gated.append((path.stem, population, inside.mean()))
    found = pd.DataFrame(gated, columns=["sample_id", "population", "gated"]).merge(truth)
    assert len(found) == 48 * 7
    assert (found["gated"] - found["fraction"]).abs().max() < 0.02


def test_planted_features_foretell_and_the_decoy_only_seems_to(cart: Path) -> None:
    samples = pd.read_csv(cart / "samples.csv").query("modality == 'cytometry' and timepoint == 'baseline'")
    fractions = pd.read_csv(cart / "truth_fractions.csv").query("modality == 'cytometry'")
    table = fractions.pivot(index="sample_id", columns="population", values="fraction").loc[samples["sample_id"]]
    table.index = pd.Index(samples["patient_id"])
    centered = np.log(table + 1e-3).sub(np.log(table + 1e-3).mean(axis=1), axis=0)
    patients = pd.read_csv(cart / "patients.csv", index_col=0).loc[table.index]
    batch = samples.set_index("patient_id")["batch"]
    outcome = {"response": patients["response"].isin(["CR", "PR"]), "severe_icans": patients["icans_grade"] >= 3}

    truth = pd.read_csv(cart / "truth.csv")
    for row in truth.itertuples():
        population = row.name.removeprefix("cytometry:fraction:").removesuffix("@baseline")
        yes = outcome[row.question]
        values = centered[population]
        auc = mannwhitneyu(values[yes], values[~yes]).statistic / yes.sum() / (~yes).sum()
        if row.kind == "feature":
            assert auc > 0.9, population
        else:
            assert auc > 0.65, population
            within = values - values.groupby(batch).transform("mean")
            assert mannwhitneyu(within[yes], within[~yes]).pvalue > 0.2
            assert mannwhitneyu(values[batch == "B2"], values[batch == "B1"]).pvalue < 1e-3


def test_cells_are_a_cell_ranger_matrix(cart: Path) -> None:
    adata = sc.read_10x_h5(cart / "rna" / "P03_day14.h5")
    assert adata.shape == (80, 1152)
    assert adata.var_names.is_unique
    assert adata.obs_names.str.fullmatch("[ACGT]{16}-1").all()
    counts = adata.X.toarray()
    assert np.array_equal(counts, np.round(counts))
    genes = (counts > 0).sum(axis=1)
    assert 400 < np.median(genes) < 800
    mito = counts[:, adata.var_names.str.startswith("MT-")].sum(axis=1) / counts.sum(axis=1)
    assert (genes < 200).sum() == pytest.approx(4, abs=2)  # the poor cells
    assert mito[genes < 200].min() > 0.15
    assert np.median(mito) == pytest.approx(0.05, abs=0.02)


def test_the_transgene_is_seen_in_seven_of_ten_car_t_cells(cart: Path) -> None:
    truth = pd.read_csv(cart / "truth_fractions.csv").query("population == 'CAR-T'").set_index("sample_id")["n"]
    seen = {path.stem: 0 for path in (cart / "rna").glob("*.h5")}
    for name in seen:
        adata = sc.read_10x_h5(cart / "rna" / f"{name}.h5")
        seen[name] = int((adata[:, "CAR_CD19"].X.toarray() > 0).sum())
    table = pd.DataFrame({"seen": seen, "true": truth})
    before = table.index.str.endswith("baseline")
    assert table.loc[before, "true"].sum() == 0
    assert table.loc[before, "seen"].sum() <= 4
    # doublets and poor cells carry the CAR too, so a little more is seen than the truth of single cells says
    assert 0.65 < table.loc[~before, "seen"].sum() / table.loc[~before, "true"].sum() < 0.85


def test_receptors_join_the_cells_and_translate(cart: Path) -> None:
    contigs = pd.concat(
        pd.read_csv(path).assign(sample_id=path.stem.removesuffix("_contigs")) for path in (cart / "vdj").glob("*.csv")
    )
    for sample, group in contigs.groupby("sample_id"):
        cells = sc.read_10x_h5(cart / "rna" / f"{sample}.h5").obs_names
        assert group["barcode"].isin(cells).all()
    productive = contigs[contigs["productive"]]
    translated = productive["cdr3_nt"].map(lambda nt: "".join(CODE[nt[i : i + 3]] for i in range(0, len(nt), 3)))
    assert (translated == productive["cdr3"]).all()
    assert productive["cdr3"].str.match("^C.*[FW]$").all()
    assert (contigs.loc[~contigs["productive"], "cdr3_nt"].str.len() % 3 != 0).all()

    expanded = set(pd.read_csv(cart / "truth_clonotypes.csv")["trb_cdr3_nt"])
    size = productive[productive["cdr3_nt"].isin(expanded)].groupby(["cdr3_nt", "sample_id"]).size()
    day = size.index.get_level_values("sample_id").str.split("_").str[1]
    assert set(day) == {"day14"}
    assert size.max() >= 5


def test_sheets_name_every_file_and_join(cart: Path) -> None:
    samples = pd.read_csv(cart / "samples.csv", dtype=str, keep_default_na=False)
    assert all((cart / path).is_file() for path in samples["path"])
    assert not samples.duplicated(["sample_id", "modality"]).any()
    by_modality = samples.groupby("modality")["sample_id"].apply(set)
    assert by_modality["rna"] == by_modality["vdj"] == by_modality["cytometry"]
    study = yaml.safe_load((cart / "study.yaml").read_text())
    assert study["outcomes"] == {
        "response": {"column": "response", "positive": ["CR", "PR"]},
        "severe_icans": {"column": "icans_grade", "at_least": 3},
    }
    assert study["settings"]["cells"] == {"transgenes": ["CAR_CD19"]}
    patients = pd.read_csv(cart / "patients.csv")
    assert set(study["covariates"]) < set(patients.columns)
    assert set(patients["response"]) <= {"CR", "PR", "SD", "PD"}
    assert set(pd.read_csv(cart / "plasma.csv")["patient_id"]) == set(patients["patient_id"])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_seed_gives_the_same_bytes_and_another_seed_other_ones(tmp_path: Path) -> None:
    small = {"n_patients": 12, "n_events": 60, "n_cells": 20}
    first = contents(simulate_cart(tmp_path / "a", seed=4, **small).parent)
    time.sleep(1.1)  # time stamps in the files would now differ
    again = contents(simulate_cart(tmp_path / "b", seed=4, **small).parent)
    other = contents(simulate_cart(tmp_path / "c", seed=5, **small).parent)
    assert first == again
    assert first.keys() == other.keys()
    same = {name for name in first if first[name] == other[name]}
    assert same <= {"samples.csv", "populations.csv", "truth.csv"}


def test_a_folder_in_use_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("mine")
    with pytest.raises(UsageError, match="already there"):
        simulate_cart(tmp_path)
    assert contents(tmp_path) == {"samples.csv": b"mine"}


def test_a_failure_leaves_no_half_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*args: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(cart_module, "write_csv", full_disk)
    with pytest.raises(OSError, match="no space"):
        simulate_cart(tmp_path / "demo", n_patients=12, n_events=50, n_cells=20)
    assert list(tmp_path.iterdir()) == []
