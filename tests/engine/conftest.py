"""One small study, run once without interruption, for all tests of the engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import make_study

from cellprec.engine.store import digest


def artifacts(results: Path) -> dict[str, str]:
    """Digest of everything that must not depend on when, where or how often a study was run."""
    folders = ("data", "tables", "work", "flowjo")
    files = [p for folder in folders for p in (results / folder).rglob("*") if p.is_file()]
    return {str(p.relative_to(results)): digest(p) for p in files}


def run_to_the_report(path: Path) -> None:
    """Run a study as its user does."""
    subprocess.run([sys.executable, "-m", "cellprec", "run", str(path), "--jobs", "2"], check=True, capture_output=True)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small study, run once without interruption."""
    path = make_study.__wrapped__(tmp_path_factory.mktemp("whole"))()
    run_to_the_report(path)
    return path
