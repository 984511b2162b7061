"""Small real studies for every room above the science floor."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cellprec.io import write_fcs

os.environ.setdefault("OMP_NUM_THREADS", "1")

CHANNELS = ("FSC-A", "FSC-H", "SSC-A", "FITC-A", "PE-A", "APC-A", "Time")
MARKERS = ("", "", "", "CD3", "CD4", "CD19", "")


def write_events(
    path: Path, *, seed: int, n: int = 400, markers: tuple[str, ...] = MARKERS, b_share: float = 0.4
) -> None:
    """Write an FCS file of CD4 T cells and B cells."""
    rng = np.random.default_rng(seed)
    is_b = rng.random(n) < b_share
    high, low = rng.lognormal(9, 0.3, (n, 3)), rng.normal(50, 60, (n, 3))
    carries = np.column_stack([~is_b, ~is_b, is_b])
    forward = rng.normal(60_000, 4_000, n)
    events = np.column_stack(
        [
            forward,
            forward * rng.normal(0.9, 0.01, n),
            rng.normal(20_000, 2_000, n),
            np.where(carries, high, low),
            np.arange(n),
        ]
    )
    write_fcs(path, events, channels=CHANNELS, markers=markers, ranges=[262_144] * len(CHANNELS))


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Path]:
    """Write a study of 24 patients: blood tables, and FCS files of the first four; return its study.yaml."""

    def make(*, folder: str = "study", n_fcs: int = 4, extra: str = "") -> Path:
        root = tmp_path / folder
        root.mkdir()
        rng = np.random.default_rng(0)
        patients = [f"P{i:02d}" for i in range(24)]
        responds = np.arange(24) % 2 == 0
        labs = pd.DataFrame({"patient_id": patients})
        labs["il6_pg_per_ml"] = np.where(responds, 5.0, 50.0) * rng.lognormal(0, 0.3, 24)
        labs["ldh_u_per_l"] = rng.lognormal(5.5, 0.2, 24).round(1)
        labs.to_csv(root / "labs.csv", index=False)
        clinical = pd.DataFrame({"patient_id": patients, "response": np.where(responds, "CR", "PD")})
        clinical["age_years"] = rng.integers(40, 80, 24)
        clinical.to_csv(root / "patients.csv", index=False)
        rows = [("labs", "table", "labs.csv", "", "baseline", "")]
        for i in range(n_fcs):
            write_events(root / f"{patients[i]}.fcs", seed=i)
            rows.append(
                (f"{patients[i]}_baseline", "cytometry", f"{patients[i]}.fcs", patients[i], "baseline", str(i % 2))
            )
        sheet = pd.DataFrame(rows, columns=["sample_id", "modality", "path", "patient_id", "timepoint", "batch"])
        sheet.to_csv(root / "samples.csv", index=False)
        (root / "study.yaml").write_text(
            "name: small\nseed: 3\npatients: patients.csv\ntimepoints: [baseline]\n"
            "outcomes:\n  response: {column: response, positive: [CR]}\ncovariates: [age_years]\n"
            "settings:\n  cytometry: {n_clusters: 4}\n  biomarkers: {permutations: 20, repeats: 1}\n" + extra
        )
        return root / "study.yaml"

    return make
