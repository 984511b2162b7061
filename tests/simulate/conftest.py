"""One study of each kind, small, written once for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellprec.simulate import simulate_barcoding, simulate_cart


@pytest.fixture(scope="session")
def cart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulate_cart(tmp_path_factory.mktemp("cart") / "study", n_events=1200, n_cells=80, seed=3).parent


@pytest.fixture(scope="session")
def barcoding(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("barcoding") / "study"
    return simulate_barcoding(folder, n_clones=600, n_reads=40_000, replicates=2, seed=3).parent
