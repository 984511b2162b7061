"""The demo studies: what was planted is found, what was not is not, end to end from files to tables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from cellprec.engine.runner import run_study
from cellprec.engine.store import RunFolder
from cellprec.simulate import simulate_barcoding
from cellprec.study.load import load_study


@pytest.mark.parametrize("seed", [1, 2])
def test_barcoding_finds_the_planted_clones_and_nothing_between_control_halves(tmp_path: Path, seed: int) -> None:
    path = simulate_barcoding(tmp_path / "study", seed=seed)
    outcomes = run_study(load_study(path), jobs=2)
    assert outcomes.exit_code == 0
    run = RunFolder(load_study(path).results)
    tests, contrasts = run.table("clones.tests"), run.table("clones.contrasts")
    assert tests is not None
    assert contrasts is not None
    truth = pd.read_csv(path.parent / "truth.csv")
    found = above = called = false = 0
    for question, planted in truth.groupby("question"):
        here = tests[tests["contrast"].str.startswith(f"{question} ")].set_index("clone")
        assert len(here) > 1_900, "the library was recovered from the reads"
        limit = here["detection_limit"].iloc[0]
        visible = set(planted.loc[planted["t0_frequency"] > limit, "name"])
        enriched = set(here.index[here["call"] == "enriched"])
        found, above = found + len(visible & enriched), above + len(visible)
        called, false = called + len(enriched), false + len(enriched - set(planted["name"]))
    assert above >= 15
    assert found >= 0.95 * above
    assert false <= 0.05 * called
    halves = contrasts[contrasts["kind"] == "negative control"]
    assert len(halves) == 1
    assert halves[["n_enriched", "n_depleted"]].to_numpy().sum() == 0


@pytest.mark.slow
def test_cart_demo_ends_in_a_report_with_the_planted_populations_on_top(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cellprec", "demo", "--folder", str(tmp_path / "demo")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    report = Path(done.stdout.strip().splitlines()[-1].removeprefix("report: "))
    assert report.is_file()
    run = RunFolder(report.parent)
    table = run.table("biomarkers.associations")
    assert table is not None
    truth = pd.read_csv(tmp_path / "demo" / "truth.csv").set_index("name")
    for name, row in truth.iterrows():
        mine = table[table["outcome"] == row["question"]].reset_index(drop=True)
        if row["kind"] == "feature":
            assert mine["feature"].iloc[0] == name
            assert mine["verdict"].iloc[0] == "associated"
        else:
            verdict = mine.set_index("feature").loc[str(name), "verdict"]
            assert verdict in {"confounded with batch", "not significant"}
    car = run.table("rna.car")
    assert car is not None
    after = car["sample_id"].str.endswith("day14")
    assert car.loc[after, "fraction"].median() > 0.1 > 0.02 > car.loc[~after, "fraction"].max()
