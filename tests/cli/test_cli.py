"""The command line: light, clear, with exit codes that a script can trust, and never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

HEAVY = ("numpy", "pandas", "scanpy", "torch", "flowkit", "anndata", "scipy")


def cellprec(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command line as a user does."""
    env = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, "-m", "cellprec", *words], capture_output=True, text=True, check=False, cwd=cwd, env=env
    )


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["check", "-h"], ["demo", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    code = (
        f"import sys; sys.argv = ['cellprec', *{words!r}]\n"
        "from cellprec.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('LOADED', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Usage" in said
    assert said.strip().endswith("LOADED []")


def test_help_tells_every_setting_of_every_step() -> None:
    from cellprec.steps.catalogue import CATALOGUE  # noqa: PLC0415

    said = " ".join(cellprec("run", "--help").stdout.split())
    for step in CATALOGUE.values():
        assert f"{step.name}:" in said
        assert all(f"{knob}=" in said for knob in step.settings)


def test_schema_is_json_and_knows_every_setting() -> None:
    from cellprec.steps.catalogue import CATALOGUE  # noqa: PLC0415

    schema = json.loads(cellprec("schema").stdout)
    for step in CATALOGUE.values():
        for knob in step.settings.values():
            found = schema["$defs"][f"{step.name}_settings"]["properties"][knob.name]
            assert found["description"] == knob.text
            assert found["default"] == knob.default


def test_check_names_the_problem_and_exits_3(make_study: Callable[..., Path]) -> None:
    path = make_study()
    good = cellprec("check", str(path))
    assert good.returncode == 0
    assert "ready" in good.stdout
    assert "response: 12 yes (response in ['CR']), 12 no, 0 missing" in good.stdout
    path.write_text(path.read_text().replace("permutations", "permutation"))
    bad = cellprec("check", str(path))
    assert bad.returncode == 3
    assert "study.yaml, row 10" in bad.stdout
    assert "'permutations'" in bad.stdout


def test_many_alike_problems_are_grouped(make_study: Callable[..., Path]) -> None:
    path = make_study(n_fcs=0)
    with (path.parent / "samples.csv").open("a") as handle:
        handle.writelines(f"X{i},cytometry,x{i}.fcs,P{i % 24:02d},baseline,1\n" for i in range(300))
    said = cellprec("check", str(path)).stdout
    assert said.count("there is no file") == 5
    assert "and 295 more like these (rows 8, 9, 10" in said


def test_version() -> None:
    said = cellprec("--version")
    assert (said.returncode, said.stdout) == (0, "cellprec 0.1.0\n")


def test_errors_are_words_and_codes_not_tracebacks(tmp_path: Path, make_study: Callable[..., Path]) -> None:
    missing = cellprec("run", str(tmp_path / "nothing.yaml"))
    assert missing.returncode == 3
    unknown = cellprec("run", str(make_study(n_fcs=0)), "--until", "nonsense")
    assert unknown.returncode == 2
    assert "table" in unknown.stderr, "the steps of the study are named"
    for ended in (missing, unknown):
        assert "Traceback" not in ended.stderr


def test_a_corrupt_file_ends_in_a_line_a_report_and_exit_3(make_study: Callable[..., Path]) -> None:
    path = make_study()
    bad = path.parent / "P02.fcs"
    bad.write_bytes(bad.read_bytes()[:2000])
    ended = cellprec("run", str(path), "--until", "events")
    assert ended.returncode == 3
    assert "P02_baseline" in ended.stderr
    assert "Traceback" not in ended.stderr
    page = (path.parent / "results" / "report.html").read_text()
    assert "P02_baseline" in page[: page.index('id="samples"')], "the report says on top who is missing"
    assert "P02_baseline" in (path.parent / "results" / "log.txt").read_text()


def test_init_finds_the_files_and_writes_a_study_that_checks(tmp_path: Path, make_study: Callable[..., Path]) -> None:
    data = make_study().parent
    for name in ("study.yaml", "samples.csv", "patients.csv"):
        (data / name).unlink()
    counts = pd.DataFrame({"barcode": [f"ACGT{i}" for i in range(20)], "A": range(20), "B": range(1, 21)})
    counts.to_csv(data / "counts.csv", index=False)
    (data / "reads_R1.fastq").write_text("@r\nACGT\n+\nIIII\n")
    (data / "reads_R2.fastq").write_text("@r\nACGT\n+\nIIII\n")
    ended = cellprec("init", str(data))
    assert ended.returncode == 0, ended.stderr
    sheet = pd.read_csv(data / "samples.csv", dtype=str)
    assert sheet["modality"].value_counts().to_dict() == {"cytometry": 4, "counts": 2, "table": 1, "fastq": 1}
    assert sheet.loc[sheet["modality"] == "counts", "column"].tolist() == ["A", "B"]
    said = cellprec("check", str(data))
    assert "1 to mend" in said.stdout, "only the user knows how the library was built"
    assert "constant sequences" in said.stdout
    study = data / "study.yaml"
    study.write_text(study.read_text().replace("  reads:", "  reads: {left: ACGT, pattern: N4}"))
    assert cellprec("check", str(data)).returncode == 0
    again = cellprec("init", str(data))
    assert again.returncode == 2, "nothing is overwritten"


def test_doctor_gives_advice_for_each_thing() -> None:
    said = cellprec("doctor")
    for thing in ("Python", "packages", "cores", "memory", "disk", "GPU", "Slurm"):
        assert thing in said.stdout
    assert said.returncode in {0, 4}
