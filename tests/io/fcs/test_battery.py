"""Every property and defect of FCS files known to us, each in one small file with its truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.io.fcs.cases import all_cases
from tests.io.fcs.maker import REFUSED, UNSAID

from cellprec.errors import FileFormatError
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.notes import get_notes

CASES = all_cases()


@pytest.mark.parametrize("name", CASES)
def test_case(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = tmp_path / f"P01{case.suffix}"
    path.write_bytes(case.content)
    if case.values is REFUSED:
        with pytest.raises(FileFormatError) as caught:
            read_fcs(path, dataset=case.dataset)
        told = f"{caught.value.what} {caught.value.why}"
        assert case.message
        assert caught.match(case.message), told
        assert str(path) in caught.value.where
        return
    adata = read_fcs(path, scale=case.scale, dataset=case.dataset)
    values = np.asarray(adata.X, dtype=np.float64)
    if case.rtol:
        np.testing.assert_allclose(values, case.values, rtol=case.rtol)
    else:
        np.testing.assert_array_equal(values, np.asarray(case.values, dtype=np.float64))
    assert tuple(adata.var["channel"]) == tuple(case.channels)
    assert tuple(adata.var["marker"]) == tuple(case.markers)
    assert adata.var_names.is_unique
    notes = get_notes(adata)
    if case.noted is not None:
        assert bool(notes) == case.noted, notes
    header = read_fcs_header(path, dataset=case.dataset)
    assert (header.n_events, header.channels, header.markers) == (
        adata.n_obs,
        tuple(case.channels),
        tuple(case.markers),
    )
    if case.spillover is not UNSAID:
        found = header.spillover
        assert (found is None) == (case.spillover is None), notes
        if found is not None:
            assert found.channels == tuple(case.spillover[0])
            np.testing.assert_allclose(found.matrix, case.spillover[1], rtol=1e-12)


def test_enough_cases() -> None:
    assert len(CASES) >= 250
    assert all(case.reason for case in CASES.values())
