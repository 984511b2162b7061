"""Names that are spelled late must behave as plain strings do: the index of strings is the oracle."""

from __future__ import annotations

import pickle

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cellprec.io.fcs.event_names import event_names

PREFIX = "P01:"


def plain(rows) -> pd.Index:
    return pd.Index([f"{PREFIX}{row}" for row in rows], dtype=object)


def both(rows) -> tuple[pd.Index, pd.Index]:
    late = event_names(PREFIX, rows if isinstance(rows, range) else np.array(rows, dtype=np.int64))
    return late, plain(rows)


ROWS = st.one_of(
    st.builds(range, st.integers(0, 20), st.integers(20, 40), st.integers(1, 3)),
    st.lists(st.integers(0, 2000), unique=True, max_size=12),
)


@settings(max_examples=150, deadline=None)
@given(rows=ROWS, data=st.data())
def test_everything_asked_of_an_index(rows, data):
    late, strings = both(rows)
    assert list(late) == list(strings)
    assert late.is_unique
    wanted = data.draw(st.sampled_from([*strings, "P01:3", "P01:03", "P02:3", "P01:", "P01:-1", "x"]))
    assert (wanted in late) == (wanted in strings)
    np.testing.assert_array_equal(late == wanted, strings == wanted)
    np.testing.assert_array_equal(late.get_indexer([wanted, "P01:7"]), strings.get_indexer([wanted, "P01:7"]))
    np.testing.assert_array_equal(late.isin([wanted]), strings.isin([wanted]))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(strings), max_size=len(strings))), dtype=bool)
    assert list(late[mask]) == list(strings[mask])
    cut = data.draw(st.slices(len(strings)))
    assert list(late[cut]) == list(strings[cut])
    assert list(late.sort_values()) == list(strings.sort_values())
    assert list(late.append(late[:2]).unique()) == list(strings)
    assert list(late.append(pd.Index(["P02:1"]))) == [*strings, "P02:1"]
    assert list(late.union(pd.Index(["P02:1"]))) == list(strings.union(pd.Index(["P02:1"])))
    assert late.equals(late.copy())
    assert list(pickle.loads(pickle.dumps(late))) == list(strings)  # our own bytes
    assert list(late.astype(str)) == list(strings)
    assert list(late + "-1") == list(strings + "-1")
    assert list("a" + late) == list("a" + strings)
    np.testing.assert_array_equal(late < wanted, strings < wanted)
    np.testing.assert_array_equal(late >= late[::-1], strings >= strings[::-1])
    np.testing.assert_array_equal(late != strings, strings != strings)
    assert late.is_monotonic_increasing == strings.is_monotonic_increasing
    assert list(late.difference([wanted])) == list(strings.difference([wanted]))
    assert list(late.where(late != wanted, "zz")) == list(strings.where(strings != wanted, "zz"))
    assert list(late.insert(0, "zz")) == list(strings.insert(0, "zz"))


def test_text_methods_and_type():
    late, strings = both(range(12))
    assert list(late.str.split(":").str[1]) == list(strings.str.split(":").str[1])
    assert list(late.str.replace("P01", "A")) == list(strings.str.replace("P01", "A"))
    assert late.str.endswith("1").tolist() == strings.str.endswith("1").tolist()
    assert pd.api.types.is_string_dtype(late)
    assert pd.api.types.infer_dtype(late) == "string"
    assert late.dtype == pd.api.types.pandas_dtype(late.dtype.name)


def test_names_that_are_missing_are_missing():
    late, strings = both([5, 2])
    frame = pd.DataFrame({"a": [1, 2]}, index=late)
    assert frame.reindex(["P01:2", "P01:9"])["a"].tolist()[0] == 2
    series = pd.Series(late).reindex([1, 7])
    assert series.isna().tolist() == [False, True]
    assert pd.Series(late).equals(pd.Series(late).copy())
    assert pd.Series(strings).tolist() == pd.Series(late).tolist()


def test_a_name_cannot_be_changed_in_place():
    series = pd.Series(event_names(PREFIX, range(3)))
    with pytest.raises(TypeError, match="cannot be changed"):
        series.iloc[0] = "other"


def table(prefix: str, n: int) -> anndata.AnnData:
    obs = pd.DataFrame({"a": np.arange(n, dtype=float)}, index=event_names(prefix, range(n)))
    return anndata.AnnData(X=np.arange(2 * n, dtype=np.float32).reshape(n, 2), obs=obs)


def test_an_anndata_named_so(tmp_path):
    adata = table(PREFIX, 6)
    assert adata["P01:5"].X.tolist() == [[10, 11]]
    assert adata[["P01:4", "P01:1"]].obs_names.tolist() == ["P01:4", "P01:1"]
    with pytest.raises(KeyError):
        adata["P01:6"]
    part = adata[adata.obs["a"] > 2].copy()
    assert part.obs_names.tolist() == ["P01:3", "P01:4", "P01:5"]
    joined = anndata.concat([adata, table("P02:", 2)])
    assert joined.obs_names.tolist() == [*plain(range(6)), "P02:0", "P02:1"]
    assert joined["P02:1"].X.tolist() == [[2, 3]]
    for number, each in enumerate((adata, part, adata[:2], joined)):
        each.write_h5ad(tmp_path / f"{number}.h5ad")
        back = anndata.read_h5ad(tmp_path / f"{number}.h5ad")
        assert back.obs_names.tolist() == each.obs_names.tolist()
        each.write_zarr(tmp_path / f"{number}.zarr")
        assert anndata.read_zarr(tmp_path / f"{number}.zarr").obs_names.tolist() == each.obs_names.tolist()


def test_h5ad_holds_plain_strings(tmp_path):
    h5py = pytest.importorskip("h5py")
    table(PREFIX, 3).write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad") as file:
        index = file["obs/_index"]
        assert index.attrs["encoding-type"] == "string-array"
        assert index.asstr()[:].tolist() == ["P01:0", "P01:1", "P01:2"]


def test_names_of_a_column():
    adata = table(PREFIX, 3)
    adata.obs["name"] = adata.obs_names
    adata.obs["again"] = adata.obs_names.to_series()
    assert adata.obs["name"].tolist() == adata.obs_names.tolist() == adata.obs["again"].tolist()
    assert adata.obs.groupby("name").size().tolist() == [1, 1, 1]
    assert adata.obs.join(pd.DataFrame({"b": [7]}, index=["P01:1"]))["b"].tolist()[1] == 7
    assert adata.obs.reset_index()["index"].tolist() == adata.obs_names.tolist()
    merged = adata.obs.merge(pd.DataFrame({"name": ["P01:2"], "c": [1]}), on="name")
    assert merged["a"].tolist() == [2]


def test_names_are_plain_strings_where_the_library_hides_what_late_names_need(monkeypatch):
    monkeypatch.setattr("cellprec.io.fcs.event_names._REGISTRY", None)
    names = event_names("P01:", range(2, 5))
    assert names.dtype == object
    assert names.tolist() == ["P01:2", "P01:3", "P01:4"]
