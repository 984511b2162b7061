"""One study, two engines: the in-process runner and Snakemake leave the same bytes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.engine.conftest import artifacts

from cellprec.engine.plan import Task
from cellprec.engine.runner import run_study
from cellprec.engine.store import RunFolder
from cellprec.study.load import load_study

SNAKEFILE = Path(__file__).parents[2] / "pipelines" / "Snakefile"

pytestmark = pytest.mark.xdist_group("engine")


def snakemake(study: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline as a core facility does, through Snakemake's command line."""
    command = [sys.executable, "-m", "snakemake", "-s", str(SNAKEFILE), "--config", f"study={study}"]
    command += ["--cores", "2", "--directory", str(study.parent), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_both_engines_leave_equal_artifacts(whole: Path, make_study: Callable[..., Path]) -> None:
    theirs = make_study()
    done = snakemake(theirs)
    assert done.returncode == 0, done.stderr[-3000:]
    expected = artifacts(whole.parent / "results")
    assert artifacts(theirs.parent / "results") == expected
    assert {"data/cytometry.h5ad", "tables/biomarkers.associations.csv"} <= set(expected)
    assert (theirs.parent / "results" / "report.html").is_file()
    assert run_study(load_study(theirs), jobs=1).fresh == set(), "a run begun there goes on here"


def test_snakemake_goes_on_without_a_corrupt_sample(make_study: Callable[..., Path]) -> None:
    path = make_study()
    bad = path.parent / "P02.fcs"
    bad.write_bytes(bad.read_bytes()[:2000])
    done = snakemake(path, "--until", "events")
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = run_study(load_study(path), until="events", jobs=1)
    assert {task for task, r in outcomes.receipts.items() if r.status == "failed"} == {Task("events", "P02_baseline")}


def test_snakemake_follows_a_corrected_sheet(make_study: Callable[..., Path]) -> None:
    path = make_study(n_fcs=0)
    assert snakemake(path).returncode == 0
    run = RunFolder(path.parent / "results")
    before = run.table("biomarkers.associations")
    clinical = path.parent / "patients.csv"
    clinical.write_text(clinical.read_text().replace(",CR,", ",x,").replace(",PD,", ",CR,").replace(",x,", ",PD,"))
    assert snakemake(path).returncode == 0
    after = run.table("biomarkers.associations")
    assert before is not None
    assert after is not None
    effects = [t.set_index("feature")["effect"]["table:labs:il6_pg_per_ml@baseline"] for t in (before, after)]
    assert effects[0] == pytest.approx(1 - effects[1])
    assert effects[0] < 0.2


@pytest.mark.parametrize("what", ["rna", ""])
def test_snakemake_refuses_a_study_that_cannot_be_read(tmp_path: Path, what: str) -> None:
    (tmp_path / "study.yaml").write_text(f"nam: {what}\n")
    done = snakemake(tmp_path / "study.yaml", "-n")
    assert done.returncode != 0
    assert "nam" in done.stdout + done.stderr
