"""What a result depends on: every change of an input is seen, by exactly the tasks that it reaches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cellprec.engine import execute
from cellprec.engine.execute import _inputs, _key
from cellprec.engine.plan import Plan, Task, plan
from cellprec.engine.store import RunFolder
from cellprec.study.load import load_study

Edit = Callable[[Path], None]


def replace(name: str, old: str, new: str) -> Edit:
    """Change the words of a file of the study."""

    def edit(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new, 1))

    return edit


def append(name: str) -> Edit:
    """Add a byte to a file of the study."""

    def edit(root: Path) -> None:
        (root / name).write_bytes((root / name).read_bytes() + b" ")

    return edit


EVENTS = {"events"}
STUDY = {"cytometry", "patients", "biomarkers"}
CHANGES: dict[str, tuple[Edit, set[str]]] = {
    "an FCS file": (append("P00.fcs"), {"events P00_baseline", "flowjo P00_baseline"}),
    "a gates file": (append("gates.wsp"), {"events P00_baseline", "flowjo P00_baseline"}),
    "the sign table": (append("signs.csv"), {"cytometry"}),
    "the spillover matrix": (append("comp.csv"), {f"events P0{i}_baseline" for i in range(4)}),
    "a laboratory table": (append("labs.csv"), {"table labs"}),
    "an outcome": (replace("patients.csv", "P00,CR", "P00,PD"), {"patients", "biomarkers"}),
    "what counts as yes": (replace("study.yaml", "[CR]", "[PD]"), {"patients", "biomarkers"}),
    "a covariate": (replace("study.yaml", "covariates: [age_years]", "covariates: []"), {"patients", "biomarkers"}),
    "a batch": (
        replace("samples.csv", "P00,baseline,0", "P00,baseline,9"),
        {"events P00_baseline", "flowjo P00_baseline", *STUDY},
    ),
    "the order of time": (replace("study.yaml", "[baseline]", "[baseline, later]"), STUDY),
    "a setting": (replace("study.yaml", "n_clusters: 4", "n_clusters: 5"), {"cytometry"}),
}


@pytest.fixture
def study(make_study: Callable[..., Path]) -> Path:
    path = make_study(extra="  events: {spillover: comp.csv}\n")
    root = path.parent
    path.write_text(path.read_text().replace("n_clusters: 4", "n_clusters: 4, populations: signs.csv"))
    for name in ("gates.wsp", "signs.csv", "comp.csv"):
        (root / name).write_text("x")
    lines = (root / "samples.csv").read_text().splitlines()
    gated = [f"{line},{'gates.wsp' if line.startswith('P00') else ''}" for line in lines[1:]]
    (root / "samples.csv").write_text("\n".join([lines[0] + ",gates", *gated]) + "\n")
    return path


def keys_of(path: Path) -> dict[str, str]:
    """The key of every task, nothing having been run."""
    todo: Plan = plan(load_study(path))
    run = RunFolder(todo.study.results)
    return {f"{t.step} {t.sample}".strip(): _key(todo, t, run, _inputs(todo, t)) for t in todo.tasks()}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_seen_by_exactly_the_tasks_that_read_it(study: Path, change: str) -> None:
    edit, expected = CHANGES[change]
    before = keys_of(study)
    edit(study.parent)
    after = keys_of(study)
    assert {name for name in before if before[name] != after[name]} == expected


def test_the_seed_and_the_code_are_seen_by_all(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = keys_of(study)
    study.write_text(study.read_text().replace("seed: 3", "seed: 4"))
    seeded = keys_of(study)
    assert all(before[name] != seeded[name] for name in before)
    monkeypatch.setattr(execute, "code_version", lambda: "another")
    assert all(seeded[name] != key for name, key in keys_of(study).items())


def test_what_lies_upstream_is_seen(study: Path) -> None:
    todo = plan(load_study(study))
    run = RunFolder(todo.study.results)
    task = Task("patients")
    before = _key(todo, task, run, {})
    run.write_receipt(execute.Receipt("cytometry", "", key="k", status="done", outputs={"data/cytometry.h5ad": "1"}))
    first = _key(todo, task, run, {})
    run.write_receipt(execute.Receipt("cytometry", "", key="k", status="done", outputs={"data/cytometry.h5ad": "2"}))
    assert len({before, first, _key(todo, task, run, {})}) == 3


def test_the_files_beside_a_matrix_are_part_of_it(study: Path) -> None:
    root = study.parent
    folder = root / "mtx"
    folder.mkdir()
    for name in ("matrix.mtx", "features.tsv", "barcodes.tsv"):
        (folder / name).write_text("x")
    (root / "samples.csv").open("a").write("R,rna,mtx/matrix.mtx,P00,baseline,0,\n")
    before = keys_of(study)
    (folder / "features.tsv").write_text("other genes")
    after = keys_of(study)
    assert before["cells R"] != after["cells R"]
