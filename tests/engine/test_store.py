"""What is written is whole or not there, and a receipt vouches only for what is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellprec.engine.store import Receipt, RunFolder, defused, digest


def test_a_failing_write_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    target = tmp_path / "tables" / "a.b.csv"
    run.write_table(pd.DataFrame({"x": [1]}), "a", "b")
    before = target.read_bytes()

    def break_off() -> None:
        with run.writing(target) as path:
            path.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["a.b.csv"]


def test_sweep_removes_what_a_killed_process_left_and_nothing_at_work(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    dead = subprocess.Popen(["true"])
    dead.wait()
    with run.writing(tmp_path / "data" / "rna.h5ad") as mine:
        mine.write_bytes(b"half")
        other = mine.with_name(mine.name.replace(f"-{os.getpid()}-", f"-{dead.pid}-"))
        other.write_bytes(b"half")
        run.sweep()
        assert mine.exists()
        assert not other.exists()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["rna.h5ad"]


def test_a_receipt_is_void_when_the_key_differs_or_an_output_is_gone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    (tmp_path / "out").write_text("x")
    receipt = Receipt("s", "", key="k", status="done", outputs={"out": digest(tmp_path / "out")})
    assert run.is_current(receipt, "k")
    assert not run.is_current(receipt, "other")
    assert not run.is_current(None, "k")
    assert not run.is_current(Receipt("s", "", key="k", status="failed"), "k")
    (tmp_path / "out").unlink()
    assert not run.is_current(receipt, "k")


def test_receipts_come_back_as_written(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    receipt = Receipt("events", "P1", "k", "failed", error={"what": "w", "where": "", "why": "", "fix": "f"})
    run.write_receipt(receipt)
    assert run.receipt("events", "P1") == receipt
    assert run.receipts() == [receipt]


def test_a_folder_has_one_digest_for_its_names_and_its_bytes(tmp_path: Path) -> None:
    folder = tmp_path / "mtx"
    folder.mkdir()
    (folder / "a").write_text("1")
    first = digest(folder)
    (folder / "a").rename(folder / "b")
    second = digest(folder)
    (folder / "b").write_text("2")
    assert len({first, second, digest(folder)}) == 3


@given(st.lists(st.text(max_size=6), min_size=1, max_size=5))
def test_no_cell_of_a_table_can_run_as_a_formula(cells: list[str]) -> None:
    out = defused(pd.DataFrame({"x": cells}, dtype=object))["x"].tolist()
    for before, after in zip(cells, out, strict=True):
        if after[:1] in set("=+@-\t\r") and len(after) > 1:
            float(after)  # the only texts allowed to start like that are numbers
        assert after in {before, "'" + before}


def test_numbers_are_never_touched() -> None:
    table = pd.DataFrame({"x": [-1.5, 2.0], "word": ["-0.5", "=1+1"]})
    out = defused(table)
    assert out["x"].tolist() == [-1.5, 2.0]
    assert out["word"].tolist() == ["-0.5", "'=1+1"]
