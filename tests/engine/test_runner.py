"""The runner: what is due runs, what is done stays, what fails is told, and a kill costs nothing but time."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from tests.engine.conftest import artifacts, run_to_the_report

from cellprec.engine.plan import Task, plan
from cellprec.engine.runner import run_study
from cellprec.engine.store import RunFolder
from cellprec.errors import ResourceError, UsageError
from cellprec.study.load import load_study

pytestmark = pytest.mark.xdist_group("engine")  # one worker, so that the whole run is made once


def test_the_planted_association_comes_out_of_the_whole_pipeline(whole: Path) -> None:
    run = RunFolder(load_study(whole).results)
    table = run.table("biomarkers.associations")
    assert table is not None
    assert table["feature"].iloc[0] == "table:labs:il6_pg_per_ml@baseline"
    assert table["verdict"].iloc[0] == "associated"
    populations = run.table("cytometry.populations")
    assert populations is not None
    b = populations[populations["population"].str.contains("B")].set_index("sample_id")["fraction"]
    assert np.allclose(b, 0.4, atol=0.08), "the planted share of B cells, through read, clean, cluster and name"


def test_every_artifact_is_readable_and_says_what_made_it(whole: Path) -> None:
    results = load_study(whole).results
    made = sorted((results / "data").glob("*.h5ad"))
    assert [p.stem for p in made] == ["cytometry", "patients"]
    for path in made:
        adata = anndata.read_h5ad(path)
        assert f'"step": "{path.stem}"' in adata.uns["cellprec"]["steps"]
    assert (results / "manifest.json").is_file()
    assert "n_clusters: 4" in (results / "settings.yaml").read_text()


def test_a_second_run_does_nothing_and_a_changed_setting_only_what_depends_on_it(whole: Path) -> None:
    again = run_study(load_study(whole), jobs=1)
    assert again.fresh == set()
    text = whole.read_text()
    try:
        whole.write_text(text.replace("permutations: 20", "permutations: 21"))
        changed = run_study(load_study(whole), jobs=1)
        assert changed.fresh == {Task("biomarkers")}
    finally:
        whole.write_text(text)
        run_study(load_study(whole), jobs=1)


def test_touched_files_of_equal_content_are_not_read_again(whole: Path) -> None:
    os.utime(whole.parent / "P00.fcs")
    assert run_study(load_study(whole), jobs=1).fresh == set()


def test_a_lost_output_is_made_again(whole: Path) -> None:
    results = load_study(whole).results
    before = artifacts(results)
    (results / "tables" / "patients.features.csv").unlink()
    assert run_study(load_study(whole), jobs=1).fresh == {Task("patients")}
    assert artifacts(results) == before


def test_no_result_outlives_what_it_rests_on(make_study: Callable[..., Path]) -> None:
    path = make_study(n_fcs=0)
    study = load_study(path)
    assert run_study(study, jobs=1).exit_code == 0
    run = RunFolder(study.results)
    assert run.table("biomarkers.headlines") is not None
    clinical = path.parent / "patients.csv"
    clinical.write_text(clinical.read_text().replace(",CR,", ",x,").replace(",PD,", ",CR,").replace(",x,", ",PD,"))
    run_study(load_study(path), until="patients", jobs=1)
    assert run.table("biomarkers.headlines") is None, "the old answer is not shown beside the corrected outcome"
    run_study(load_study(path), jobs=1)
    text = path.read_text()
    path.write_text(text[: text.index("outcomes:")].replace("patients: patients.csv\n", ""))
    run_study(load_study(path), jobs=1)
    assert run.table("biomarkers.headlines") is None, "nor that of a question no longer asked"


def test_a_corrupt_file_stops_its_sample_only(make_study: Callable[..., Path]) -> None:
    path = make_study()
    bad = path.parent / "P02.fcs"
    bad.write_bytes(bad.read_bytes()[:2000])
    outcomes = run_study(load_study(path), until="cytometry", jobs=1)
    assert outcomes.exit_code == 3
    failed = outcomes.receipts[Task("events", "P02_baseline")]
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["fix"]
    joint = RunFolder(load_study(path).results).data("cytometry")
    assert joint is not None
    assert set(joint.obs["sample_id"]) == {"P00_baseline", "P01_baseline", "P03_baseline"}


@pytest.mark.parametrize("delay", [0.0, random.uniform(0.0, 12.0)], ids=["early", "random"])
def test_kill_and_run_again_gives_what_an_uninterrupted_run_gives(
    whole: Path, make_study: Callable[..., Path], delay: float
) -> None:
    """Killed without warning, seconds after its first artifact, a run resumes to equal bytes."""
    print(f"killed {delay:.2f} s after the first artifact")
    path = make_study()
    results = path.parent / "results"
    command = [sys.executable, "-m", "cellprec", "run", str(path), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while not any((results / "work").rglob("*.h5ad")) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(delay)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    run_to_the_report(path)
    assert artifacts(results) == artifacts(load_study(whole).results)
    assert not list(results.rglob(".partial-*"))


def test_workers_do_not_outlive_a_killed_run(make_study: Callable[..., Path]) -> None:
    path = make_study()
    command = [sys.executable, "-m", "cellprec", "run", str(path), "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    group = process.pid
    results = path.parent / "results"
    deadline = time.monotonic() + 60
    while not (results / "receipts").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while _alive(group) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not _alive(group)


def _alive(group: int) -> list[str]:
    found = subprocess.run(["ps", "-eo", "pid,sid,stat"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines()[1:] if int(line.split()[1]) == group and "Z" not in line.split()[2]]


def test_interrupting_keeps_what_is_done_and_says_how_to_go_on(make_study: Callable[..., Path]) -> None:
    path = make_study()
    command = [sys.executable, "-m", "cellprec", "run", str(path), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    results = path.parent / "results"
    deadline = time.monotonic() + 60
    while not any((results / "receipts").rglob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert not list(results.rglob(".partial-*"))
    assert any(r.status == "done" for r in RunFolder(results).receipts())


def test_two_runs_at_once_are_refused(whole: Path) -> None:
    import fcntl  # noqa: PLC0415 - POSIX only

    with (load_study(whole).results / ".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(ResourceError, match="another cellprec run"):
            run_study(load_study(whole), jobs=1)


def test_a_script_without_a_main_guard_runs_once(make_study: Callable[..., Path]) -> None:
    path = make_study(n_fcs=0)
    script = path.parent / "analysis.py"
    script.write_text(
        "import cellprec as cp\nprint('started')\n"
        f"run = cp.run({str(path)!r}, until='patients', jobs=2)\nprint(run.data('patients').n_obs)\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["started", "24"]


def test_until_names_a_step_of_the_study(whole: Path) -> None:
    study = load_study(whole)
    assert plan(study, until="cytometry").names == ("events", "cytometry")
    with pytest.raises(UsageError, match="not a step of this study"):
        plan(study, until="rna")


def test_a_table_only_study_runs(make_study: Callable[..., Path]) -> None:
    path = make_study(n_fcs=0)
    outcomes = run_study(load_study(path), jobs=1)
    assert outcomes.exit_code == 0
    assert isinstance(RunFolder(load_study(path).results).table("biomarkers.prediction"), pd.DataFrame)
