"""Stored values are not taken for light."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from tests.io.fcs.maker import FLOATS, INTEGERS, fcs

from cellprec.cytometry.compensation.compensate import compensate
from cellprec.errors import UsageError
from cellprec.io.fcs import read_fcs
from cellprec.io.fcs.linear import require_linear
from cellprec.io.flowjo import export_fcs

AMPLIFIED = fcs(INTEGERS.astype("<u2").tobytes(), DATATYPE="I", bits=(16,) * 5, P3E="4,1")


def test_amplified_values_as_stored_are_refused_wherever_light_is_meant(tmp_path):
    path = tmp_path / "log.fcs"
    path.write_bytes(AMPLIFIED)
    stored, linear = read_fcs(path, scale=False), read_fcs(path)
    assert (stored.uns["fcs"]["scaled"], linear.uns["fcs"]["scaled"]) == (False, True)
    assert stored.X[0, 2] != linear.X[0, 2]
    for refused in (lambda: compensate(stored), lambda: export_fcs(stored, path=tmp_path / "out.fcs")):
        with pytest.raises(UsageError, match="not linear"):
            refused()
    assert not (tmp_path / "out.fcs").exists()
    compensate(linear)
    # also after the object was away on disk
    stored.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(UsageError, match="not linear"):
        require_linear(anndata.read_h5ad(tmp_path / "a.h5ad"))


def test_what_is_stored_linear_is_linear(tmp_path):
    path = tmp_path / "linear.fcs"
    path.write_bytes(fcs())
    stored = read_fcs(path, scale=False)
    assert stored.uns["fcs"]["scaled"]
    np.testing.assert_array_equal(read_fcs(export_fcs(stored, path=tmp_path / "out.fcs")).X, FLOATS)
