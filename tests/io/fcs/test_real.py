"""Files of real instruments, and a battery of files with one property or defect each."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

import flowio
import numpy as np
import pandas as pd
import pytest

from cellprec.errors import FileFormatError
from cellprec.io.fcs import read_fcs, read_fcs_header
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))
BATTERY = DATA / "fcs_battery"
CYTOMETRY = DATA / "cytometry"
CASES = json.loads((BATTERY / "expected.json").read_text()) if BATTERY.is_dir() else {}

pytestmark = [pytest.mark.real, pytest.mark.skipif(not CASES, reason="the real data sets are not there")]


@pytest.mark.parametrize("case", CASES)
def test_battery(case):
    expected = CASES[case]
    path = BATTERY / expected["file"]
    if expected["action"].startswith("refuse"):
        with pytest.raises(FileFormatError, match="6 complete events of 7") as caught:
            read_fcs(path)
        assert str(path) in caught.value.where
        return
    adata = read_fcs(path)
    values = np.load(BATTERY / expected["expected"])
    if "expected_raw" in expected:
        # linear values are kept in 32 bits; the stored ones are exact
        np.testing.assert_allclose(adata.X, values, rtol=2**-23)
        np.testing.assert_array_equal(read_fcs(path, scale=False).X, np.load(BATTERY / expected["expected_raw"]))
    else:
        np.testing.assert_array_equal(adata.X.astype(np.float64), values)
    assert list(adata.var["channel"]) == expected["channels"]
    assert list(adata.var["marker"]) == expected["markers"]
    notes = get_notes(adata)
    if expected["warning"] != "optional":
        assert bool(notes) == (expected["warning"] == "required"), notes
    if "spillover" in expected:
        spillover = read_fcs_header(path).spillover
        wanted = expected["spillover"]
        assert (spillover is None) == (wanted is None)
        if spillover is not None:
            assert list(spillover.channels) == wanted["channels"]
            np.testing.assert_array_equal(spillover.matrix, wanted["matrix"])


def _index() -> pd.DataFrame:
    if not CASES:
        return pd.DataFrame({"file": []})
    index = pd.read_csv(CYTOMETRY / "fcs_index.csv")
    return index[~index["file"].str.startswith("citrus_simulated")].set_index("file", drop=False)


@pytest.mark.parametrize("file", list(_index()["file"]))
def test_instruments(file):
    row = _index().loc[file]
    path = CYTOMETRY / file
    if path.name in {
        "fcsparser_corrupted_10bytes.fcs",
        "fcsparser_Cytek_NL2000_header_only.fcs",
        "morganconrad_Aria.fcs",
    }:
        with pytest.raises(FileFormatError):
            read_fcs(path)
        return
    adata = read_fcs(path, scale=False)
    assert adata.shape == (int(row["n_events"]), int(row["n_channels"]))
    assert adata.var_names.is_unique
    if path.name == "tlnagy_BeckmanCoulter_Cyan.fcs":
        # the index was made with the offsets of TEXT, 46 bytes too far: there the event counter does not count
        counter = adata.X[:, list(adata.var["channel"]).index("Event Count")]
        assert (np.diff(counter) > 0).all()
    elif np.isfinite(float(row["mean_of_all_values"])):
        assert np.mean(adata.X, dtype=np.float64) == pytest.approx(float(row["mean_of_all_values"]), rel=1e-4)
    if row["flowio_default"] == "ok":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            other = flowio.FlowData(str(path))
        np.testing.assert_array_equal(adata.X, other.as_array(preprocess=False))
        if "S1400" not in str(row["cyt"]):
            np.testing.assert_allclose(read_fcs(path).X, other.as_array(), rtol=1e-6)


def test_truncation_is_named():
    with pytest.raises(FileFormatError, match="6,052 complete events of 10,000"):
        read_fcs_header(CYTOMETRY / "instruments" / "morganconrad_Aria.fcs")


def test_scaled_values_of_an_accuri():
    folder = CYTOMETRY / "instruments"
    expected = np.load(folder / "flowio_AccuriC6Plus_B01.preprocessed.npy")
    np.testing.assert_array_equal(read_fcs(folder / "flowio_AccuriC6Plus_B01.fcs").X, expected.astype(np.float32))


def test_second_data_set_of_a_coulter_file():
    path = CYTOMETRY / "instruments" / "flowio_coulter_two_datasets.lmd"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = flowio.read_multiple_data_sets(str(path), ignore_offset_error=True)
    assert len(other) == 2
    for number, data in enumerate(other):
        mine = read_fcs(path, scale=False, dataset=number)
        np.testing.assert_array_equal(mine.X, data.as_array(preprocess=False))
