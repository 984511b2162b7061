"""Every notebook runs from top to bottom in an empty folder; its own assertions hold."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    pictures = [o for c in notebook.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    drawn = [c for c in notebook.cells if c.cell_type == "code" and c.source.rstrip().endswith(".figure")]
    assert len(pictures) == len(drawn) >= 3, "every figure of the notebook was drawn"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS
