"""A small study that has everything, with invented numbers that the tests look up again in the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from cellprec.notes import Note
from cellprec.report.build import build_report
from cellprec.report.section import Figure
from cellprec.steps.contract import Design, Outcome

POPULATIONS = ["CD4 naive", "CD4 memory", "CD8 naive", "CD8 memory", "B", "NK", "Classical monocytes", "unassigned"]
MARKERS = ["CD3", "CD4", "CD8", "CD19", "CD14", "CD16", "CD56", "CD45RA", "CCR7"]
DRUGS = ["ibrutinib", "venetoclax", "combination"]


@dataclass
class FakeRun:
    path: Path
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    datas: dict[str, ad.AnnData] = field(default_factory=dict)
    ran: dict[str, Any] = field(default_factory=dict)
    said: list[Note] = field(default_factory=list)

    def data(self, step: str) -> ad.AnnData | None:
        return self.datas.get(step)

    def table(self, name: str) -> pd.DataFrame | None:
        return self.tables.get(name)

    def manifest(self) -> dict[str, Any]:
        return self.ran

    def notes(self) -> list[Note]:
        return self.said


@dataclass
class FakeStudy:
    name: str
    design: Design
    truth: Path | None = None


@dataclass
class Case:
    run: FakeRun
    study: FakeStudy


def sheet(n_patients: int) -> pd.DataFrame:
    rows = []
    for i in range(n_patients):
        for timepoint in ("baseline", "day14"):
            common = {"patient_id": f"P{i + 1:02d}", "timepoint": timepoint, "batch": f"b{i % 2 + 1}"}
            name = f"P{i + 1:02d}_{timepoint}"
            rows += [{"sample_id": name, "modality": kind, **common} for kind in ("cytometry", "rna")]
    for arm in ["vehicle", *DRUGS]:
        rows += [
            {"sample_id": f"{arm}_r{r}", "modality": "fastq", "timepoint": "end", "arm": arm, "replicate": str(r)}
            for r in (1, 2, 3)
        ]
    return pd.DataFrame(rows).fillna("")


def step(name: str, sample: str = "", status: str = "done", **more: Any) -> dict[str, Any]:
    base = {"step": name, "sample": sample, "status": status, "seconds": 1.5, "device": "cpu", "settings": {}}
    return {**base, "error": None, "says": f"What {name} does", **more}


def manifest(samples: pd.DataFrame, failed: str) -> dict[str, Any]:
    reads = {"cytometry": "events", "rna": "cells", "fastq": "reads"}
    settings = {
        "events": {"margins": True, "doublets": True, "spillover": None},
        "cells": {"min_genes": 200, "max_mito": None, "doublets": True, "transgenes": ["CAR_CD19"]},
        "reads": {"left": "ACGTACGT", "right": "", "pattern": "N20", "max_mismatches": 1},
    }
    steps = [
        step(reads[row.modality], row.sample_id, settings=settings[reads[row.modality]])
        for row in samples.itertuples()
        if (row.modality, row.sample_id) != ("cytometry", failed)
    ]
    error = {
        "what": "the file ends before its data do: 812 of 3,000 events are complete",
        "where": f"fcs/{failed}.fcs",
        "why": "An incomplete file would bias every fraction.",
        "fix": "Copy the file again from the cytometer.",
    }
    steps.insert(1, step("events", failed, "failed", error=error, settings=settings["events"]))
    steps += [
        step("cytometry", settings={"n_clusters": 40, "cofactor": None, "populations": "populations.csv"}),
        step("rna", device="cuda", settings={"integration": "scvi", "n_latent": 10, "n_top_genes": 2000}),
        step("clones", settings={"control": "vehicle", "alpha": 0.05, "min_fold": 2.0}),
        step("patients"),
        step("biomarkers", settings={"batch": "batch", "permutations": 200, "repeats": 5}),
    ]
    return {
        "cellprec": "0.1.0",
        "study": {"name": "demo", "seed": 1},
        "started": "2026-03-01T10:00:00+00:00",
        "finished": "2026-03-01T10:02:30+00:00",
        "platform": {"python": "3.11.7", "system": "Linux x86_64", "cores": 2, "memory_gb": 16, "device": "cuda"},
        "packages": {"scanpy": "1.11.5", "scvi-tools": "1.4.0", "numpy": "2.4.6"},
        "steps": steps,
        "inputs": [{"path": f"fcs/{name}.fcs", "sha256": "ab" * 32} for name in samples["sample_id"][:30]],
    }


def cell_tables(names: list[str], stage: str, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    noun = "n_events" if stage == "cytometry" else "n_cells"
    total = rng.integers(2000, 4000, len(names)) if stage == "cytometry" else rng.integers(110, 400, len(names))
    share = rng.uniform(0.8, 0.97, len(names))
    share[2] = 0.31
    kept = (total * share).astype(int)
    samples = pd.DataFrame({"sample_id": names, noun: total, "n_kept": kept, "kept_fraction": kept / total})
    samples["margin" if stage == "cytometry" else "low_genes"] = (total - kept) // 2
    samples["doublet"] = total - kept - (total - kept) // 2
    if stage == "rna":
        samples[["median_umis", "median_genes", "median_mito"]] = [3210.0, 1234.0, 0.043]
    weights = rng.dirichlet(np.array([8, 6, 5, 4, 3, 3, 5, 1]), len(names))
    populations = pd.DataFrame(
        [
            {"sample_id": name, "population": p, "n": int(k * w), "fraction": w}
            for name, k, row in zip(names, kept, weights, strict=True)
            for p, w in zip(POPULATIONS, row, strict=True)
        ]
    )
    clusters = pd.DataFrame(
        {
            "cluster": [str(i) for i in range(1, 17)],
            "n": rng.integers(100, 9000, 16),
            "population": POPULATIONS * 2,
            "confidence": rng.uniform(0.6, 1, 16),
        }
    )
    if stage == "cytometry":
        clusters[MARKERS] = rng.normal(0.5, 0.2, (16, len(MARKERS)))
    else:
        clusters["markers"] = "CD3E, CD4, IL7R"
    return {f"{stage}.samples": samples, f"{stage}.populations": populations, f"{stage}.clusters": clusters}


def cell_data(names: list[str], rng: np.random.Generator, *, n: int = 1500) -> ad.AnnData:
    labels = rng.integers(0, len(POPULATIONS), n)
    centers = rng.normal(0, 6, (len(POPULATIONS), 2))
    obs = pd.DataFrame(
        {
            "sample_id": pd.Categorical(rng.choice(names, n)),
            "population": pd.Categorical([POPULATIONS[i] for i in labels]),
            "cluster": pd.Categorical([str(i + 1) for i in labels]),
        }
    )
    obs.index = [f"{sample}:{i}" for i, sample in enumerate(obs["sample_id"])]
    cells = ad.AnnData(rng.normal(size=(n, 3)).astype("float32"), obs=obs)
    umap = centers[labels] + rng.normal(0, 1, (n, 2))
    umap[: n // 5] = np.nan
    cells.obsm["X_umap"] = umap.astype("float32")
    return cells


def clone_parts(samples: pd.DataFrame, rng: np.random.Generator) -> tuple[dict[str, pd.DataFrame], ad.AnnData]:
    own = samples[samples["modality"] == "fastq"].set_index("sample_id")
    n = 300
    names = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(n)]
    base = rng.lognormal(0, 1.2, n)
    resistant = np.arange(6)
    base[resistant] = np.median(base) * 2
    counts = []
    for arm in own["arm"]:
        fold = np.where(np.isin(np.arange(n), resistant) & (arm == "ibrutinib"), 20.0, 1.0)
        counts.append(rng.poisson(base * fold * 200))
    X = np.array(counts, dtype="float32")
    obs = own[["arm", "timepoint", "replicate"]].astype("category")
    clones = ad.AnnData(X, obs=obs, var=pd.DataFrame({"sequence": names, "source": "barcode"}, index=names))
    clones.layers["frequency"] = X / X.sum(1, keepdims=True)
    clones.uns["cellprec"] = {"unit": "reads"}
    tests = []
    control = clones.layers["frequency"][(obs["arm"] == "vehicle").to_numpy()].mean(0)
    for drug in DRUGS:
        mean = clones.layers["frequency"][(obs["arm"] == drug).to_numpy()].mean(0)
        fc = np.log2((mean + 1e-7) / (control + 1e-7))
        called = np.where(fc > 3, "enriched", np.where(fc < -3, "depleted", "none"))
        p = np.clip(10 ** -(np.abs(fc) * 3), 1e-12, 1)
        frame = pd.DataFrame({"contrast": f"{drug} vs vehicle", "clone": names, "log2fc": fc, "low": fc - 1})
        frame = frame.assign(high=fc + 1, p=p, q=np.minimum(p * 5, 1), frequency_treated=mean)
        tests.append(frame.assign(frequency_control=control, n_treated=3, n_control=3, call=called))
    tests = pd.concat(tests, ignore_index=True)
    kinds = [*[(f"{d} vs vehicle", "drug") for d in DRUGS], ("vehicle half vs half", "negative control")]
    contrasts = pd.DataFrame(
        [
            {
                "contrast": c,
                "kind": kind,
                "n_tested": n,
                "n_enriched": int(((tests["contrast"] == c) & (tests["call"] == "enriched")).sum()),
                "n_depleted": 0,
                "n_treated": 3,
                "n_control": 3,
                "detection_limit": 1e-5,
                "verdict": f"Clones were compared: {c}.",
            }
            for c, kind in kinds
        ]
    )
    hill = rng.uniform(20, 200, len(own))
    diversity = pd.DataFrame({"sample_id": own.index, "total": X.sum(1), "n_clones": n, "hill_1": hill})
    diversity = diversity.assign(hill_1_low=hill - 3, hill_1_high=hill + 3, clonality=0.23, gini=0.7, coverage=0.9987)
    replicates = pd.DataFrame({"arm": DRUGS, "timepoint": "end", "sample_a": "r1", "sample_b": "r2"})
    replicates = replicates.assign(r=[0.97, 0.95, 0.91], n_shared=250, top_overlap=0.9, control_overlap=0.85)
    parts = {"samples": diversity, "contrasts": contrasts, "tests": tests, "replicates": replicates}
    return {f"clones.{name}": table for name, table in parts.items()}, clones


def biomarker_tables(patients: list[str], rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    planted = {"response": "CD8 memory", "severe_icans": "Classical monocytes"}
    rows, prediction, predictions = [], [], []
    for outcome, best in planted.items():
        features = [best, "NK", *[p for p in POPULATIONS if p not in {best, "NK", "unassigned"}]]
        for rank, name in enumerate(features):
            auc = [0.934, 0.81, 0.66, 0.6, 0.55, 0.5, 0.42, 0.4][rank]
            decoy = name == "NK" and outcome == "response"
            verdict = "confounded with batch" if decoy else "associated" if rank == 0 else "not significant"
            p = [0.00021, 0.004, 0.2, 0.4, 0.6, 0.9, 0.5, 0.4][rank]
            feature = f"cytometry:fraction:{name}@baseline"
            row = {"outcome": outcome, "feature": feature, "modality": "cytometry", "timepoint": "baseline"}
            row |= {"family": "fraction", "n": 24, "n_positive": 12, "effect": auc, "low": auc - 0.13}
            row |= {"high": min(auc + 0.13, 0.999), "difference": 0.8 - rank / 10, "p": p, "q": min(p * 7, 1)}
            rows.append(
                row | {"p_within_batch": 0.6 if decoy else p, "batch_p": 0.001 if decoy else 0.5, "verdict": verdict}
            )
        for model, auc in (("clinical", 0.553), ("features", 0.871), ("features and clinical", 0.862)):
            rest = {"low": auc - 0.15, "high": min(auc + 0.1, 1), "p_permutation": 0.005, "brier": 0.151}
            prediction.append(
                {"outcome": outcome, "model": model, "auc": auc, **rest, "n": 24, "n_events": 12, "verdict": "ok"}
            )
            observed = rng.integers(0, 2, len(patients))
            probability = np.clip(observed * 0.4 + rng.uniform(0, 0.6, len(patients)), 0, 1)
            frame = pd.DataFrame({"outcome": outcome, "patient_id": patients, "model": model})
            predictions.append(frame.assign(probability=probability, observed=observed))
    headlines = [{"outcome": o, "sentence": f"{b} at baseline goes with {o} (AUC 0.93)."} for o, b in planted.items()]
    confounding = {"outcome": "response", "column": "batch", "v": 0.58, "p": 0.012}
    confounding["sentence"] = "10 of 12 responders were run in batch b2: what batch does cannot be told from response."
    tables = {"associations": rows, "prediction": prediction, "headlines": headlines, "confounding": [confounding]}
    made = {f"biomarkers.{name}": pd.DataFrame(content) for name, content in tables.items()}
    return made | {"biomarkers.predictions": pd.concat(predictions, ignore_index=True)}


def make_case(folder: Path, *, n_patients: int = 12, failed: str = "P02_baseline") -> Case:
    rng = np.random.default_rng(7)
    samples = sheet(n_patients)
    patients = sorted(set(samples["patient_id"]) - {""})
    names = sorted({row.sample_id for row in samples.itertuples() if row.modality == "rna"})
    clone_tables, clones = clone_parts(samples, rng)
    tables = cell_tables([n for n in names if n != failed], "cytometry", rng) | cell_tables(names, "rna", rng)
    fraction = rng.uniform(0.02, 0.4, len(names))
    car = pd.DataFrame({"sample_id": names, "n_cells": 200, "n_detected": (200 * fraction).astype(int)})
    tables["rna.car"] = car.assign(fraction=car["n_detected"] / 200, low=fraction * 0.7, high=fraction * 1.3)
    tables |= clone_tables | biomarker_tables(patients, rng)
    truth = pd.DataFrame(
        [
            {
                "kind": "feature",
                "question": "response",
                "name": "cytometry:fraction:CD8 memory@baseline",
                "effect": 1.2,
            },
            {"kind": "confounded", "question": "response", "name": "cytometry:fraction:NK@baseline", "effect": 0.8},
            *[
                {"kind": "clone", "question": "ibrutinib vs vehicle", "name": name, "effect": 4.3}
                for name in clones.var_names[:6]
            ],
        ]
    )
    folder.mkdir(parents=True, exist_ok=True)
    truth.to_csv(folder / "truth.csv", index=False)
    datas = {"cytometry": cell_data(names, rng), "rna": cell_data(names, rng, n=800), "clones": clones}
    notes = [
        Note("events.margin", "events at the edge of a detector's range were set aside", 12 + i, name)
        for i, name in enumerate(names)
    ]
    notes.append(Note("rna.names", "gene symbols were made unique", 3))
    run = FakeRun(folder / "results", tables, datas, manifest(samples, failed), notes)
    yes = {patient: float(i % 2) for i, patient in enumerate(patients)}
    outcomes = (
        Outcome("response", "response", positive=("CR", "PR"), yes=yes),
        Outcome("severe_icans", "icans", at_least=3, yes=yes),
    )
    features = sorted(set(tables["biomarkers.associations"]["feature"]))
    batches = pd.DataFrame({"batch": [f"b{i % 2 + 1}" for i in range(len(patients))]}, index=patients)
    values = rng.normal(size=(len(patients), len(features))).astype("float32")
    datas["patients"] = ad.AnnData(values, obs=batches, var=pd.DataFrame({"unit": "clr"}, index=features))
    clinical = pd.DataFrame({"age_years": range(len(patients))}, index=pd.Index(patients, name="patient_id"))
    design = Design("Demo", samples, clinical, outcomes, ("age_years",), ("baseline", "day14", "end"), 1)
    return Case(run, FakeStudy("CAR-T and barcoded lymphoma: a demonstration", design, folder / "truth.csv"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures and plotly are stood in for: drawing them has its own tests and takes most of the time."""

    def drawn(folder: Path, axes: Any, *, name: str, alt: str, caption: str) -> Figure:
        return Figure(name, "data:,", alt, caption, 100)

    monkeypatch.setattr("cellprec.report.figure.save_figure", drawn)
    monkeypatch.setattr("cellprec.report.build.get_plotlyjs", lambda: "/* plotly.js v0 */")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    """A complete study; a test changes what it is about."""
    return make_case(tmp_path)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, str]:
    """A complete study and its report, built once."""
    case = make_case(tmp_path_factory.mktemp("study"))
    return case, build_report(case.run, case.study).read_text(encoding="utf-8")
