from __future__ import annotations

import anndata
import numpy as np
import pandas as pd
import pytest
from flowutils import transforms
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cellprec.cytometry.scales.transform import estimate_transform, inverse_transform, transform
from cellprec.errors import InputError, UsageError
from cellprec.notes import get_notes


def events(
    columns: dict[str, tuple[str, np.ndarray]], *, top: float = 262144.0, samples: object = "s"
) -> anndata.AnnData:
    values = np.column_stack([column for _, column in columns.values()]).astype("float32")
    var = pd.DataFrame({"kind": [kind for kind, _ in columns.values()], "range": top}, index=list(columns))
    obs = pd.DataFrame({"sample_id": samples}, index=[str(i) for i in range(len(values))])
    return anndata.AnnData(values, obs=obs, var=var)


def codes(adata: anndata.AnnData) -> list[str]:
    return [note.code for note in get_notes(adata)]


RNG = np.random.default_rng(0)
STAIN = np.r_[RNG.normal(0, 300, 3000), RNG.lognormal(9, 0.5, 1000)]


def test_each_kind_gets_its_scale() -> None:
    adata = events(
        {
            "FSC-A": ("scatter", RNG.uniform(0, 2e5, 4000)),
            "CD3": ("fluorescence", STAIN),
            "CD4": ("mass", RNG.gamma(1, 50, 4000)),
            "Time": ("time", np.arange(4000)),
            "Center": ("other", RNG.uniform(0, 900, 4000)),
        }
    )
    parameters = estimate_transform(adata)
    assert parameters["transform"].tolist() == ["linear", "logicle", "arcsinh", "linear", "none"]
    assert parameters.loc["CD4", "cofactor"] == 5
    assert parameters.loc["CD3", ["t", "m", "a"]].tolist() == [262144.0, 4.5, 0.0]
    raw = adata.X.copy()
    transform(adata, parameters=parameters)
    assert adata.X.dtype == np.float32
    np.testing.assert_allclose(adata.X[:, 0], raw[:, 0] / 262144, rtol=1e-6)
    np.testing.assert_allclose(adata.X[:, 2], np.arcsinh(raw[:, 2] / 5), rtol=1e-5)
    np.testing.assert_array_equal(adata.X[:, 4], raw[:, 4])
    width = adata.var["transform_w"]["CD3"]
    np.testing.assert_allclose(
        adata.X[:, 1], transforms.logicle(raw[:, 1].astype(float), None, t=262144, m=4.5, w=width, a=0), atol=1e-6
    )


def test_the_width_is_that_of_parks_for_known_negatives() -> None:
    # |N(0, s)|: 95 % of the half normal lies below 1.96 s
    adata = events({"CD3": ("fluorescence", np.r_[RNG.normal(0, 300, 200_000), np.full(10, 1e5)])})
    expected = (4.5 - np.log10(262144 / (1.96 * 300))) / 2
    assert estimate_transform(adata).loc["CD3", "w"] == pytest.approx(expected, abs=0.005)


def test_negatives_end_up_round_the_zero_not_on_a_wall() -> None:
    adata = events({"CD3": ("fluorescence", STAIN)})
    transform(adata, parameters=estimate_transform(adata))
    negative = adata.X[:3000, 0]
    assert negative.min() > -0.1
    assert abs(np.mean(negative < np.median(negative)) - 0.5) < 0.01
    # one hill, not the two that a logarithm makes of a population round zero
    center = np.mean(np.abs(negative - np.median(negative)) < negative.std() / 2)
    assert center > 0.3


def test_no_negatives_give_the_usual_width_and_wide_ones_a_note() -> None:
    adata = events({"a": ("fluorescence", RNG.uniform(1, 1e4, 500)), "b": ("fluorescence", RNG.normal(0, 5e4, 500))})
    parameters = estimate_transform(adata)
    assert parameters.loc["a", "w"] == 0.5
    assert parameters.loc["b", "w"] == 2.0
    assert codes(adata) == ["events.wide_negatives"]


def test_parameters_come_from_all_samples_and_from_kept_events_only() -> None:
    samples = np.repeat(["a", "b"], 2000)
    adata = events(
        {"CD3": ("fluorescence", np.r_[RNG.uniform(1, 1e4, 2000), RNG.normal(0, 300, 2000)])}, samples=samples
    )
    alone = estimate_transform(adata[adata.obs["sample_id"] == "a"].copy())
    together = estimate_transform(adata)
    assert alone.loc["CD3", "w"] == 0.5
    assert together.loc["CD3", "w"] == pytest.approx((4.5 - np.log10(262144 / 588)) / 2, abs=0.05)
    adata.obs["keep"] = samples == "a"
    assert estimate_transform(adata).loc["CD3", "w"] == 0.5


@settings(max_examples=40, deadline=None)
@example(values=[0.0, 1e-12, 2e-9, -1e-12], width=0.0, kind="logicle")
@given(
    values=st.lists(st.floats(-1e4, 2.6e5, width=32), min_size=2, max_size=30),
    width=st.floats(0, 2),
    kind=st.sampled_from(["logicle", "biexponential", "arcsinh", "linear", "none"]),
)
def test_forth_and_back_and_order_is_kept(values: list[float], width: float, kind: str) -> None:
    adata = events({"c": ("fluorescence", np.array(values))})
    parameters = pd.DataFrame(
        {
            "transform": [kind],
            "t": 262144.0,
            "m": 4.5,
            "w": -(10**width) if kind == "biexponential" else width,
            "a": 0.0,
            "cofactor": 5.0,
        },
        index=["c"],
    )
    before = adata.X[:, 0].astype(float)
    transform(adata, parameters=parameters)
    after = adata.X[:, 0].astype(float)
    assert (np.diff(after[np.argsort(before, kind="stable")]) >= 0).all()
    np.testing.assert_allclose(inverse_transform(adata)[:, 0], before, rtol=2e-4, atol=0.5)


def test_constant_and_missing_values_survive() -> None:
    column = np.full(100, 7.0)
    holes = STAIN[:100].copy()
    holes[3] = np.nan
    adata = events({"a": ("fluorescence", column), "b": ("mass", np.zeros(100)), "c": ("fluorescence", holes)})
    adata.X[0, 1] = 100
    transform(adata, parameters=estimate_transform(adata))
    assert np.isfinite(adata.X[:, :2]).all()
    assert np.flatnonzero(~np.isfinite(adata.X[:, 2])).tolist() == [3]


def test_transformed_files_are_left_alone_with_a_note() -> None:
    adata = events({"CD3": ("mass", np.arcsinh(RNG.gamma(1, 100, 500) / 5))})
    before = adata.X.copy()
    parameters = estimate_transform(adata)
    assert parameters["transform"].tolist() == ["none"]
    assert codes(adata) == ["events.already_transformed"]
    transform(adata, parameters=parameters)
    np.testing.assert_array_equal(adata.X, before)


def test_whole_small_counts_are_not_taken_for_transformed_ones() -> None:
    adata = events({"CD3": ("mass", RNG.poisson(3, 500))})
    assert estimate_transform(adata)["transform"].tolist() == ["arcsinh"]


def test_a_mix_of_transformed_and_linear_samples_is_refused_by_name() -> None:
    counts = RNG.gamma(1, 100, 500)
    adata = events({"CD3": ("mass", np.r_[np.arcsinh(counts / 5), counts])}, samples=np.repeat(["done", "linear"], 500))
    with pytest.raises(InputError, match="transformed already") as caught:
        estimate_transform(adata)
    assert "done" in caught.value.where
    assert "linear" not in caught.value.where.split(": ")[1]


def test_a_range_that_the_data_exceed_is_not_believed() -> None:
    adata = events({"CD3": ("fluorescence", STAIN)}, top=1024.0)
    assert estimate_transform(adata).loc["CD3", "t"] == pytest.approx(STAIN.max(), rel=1e-6)
    assert codes(adata) == ["events.range_exceeded"]


def test_a_cofactor_makes_everything_arcsinh_and_must_be_positive() -> None:
    adata = events({"a": ("fluorescence", STAIN), "b": ("scatter", STAIN)})
    parameters = estimate_transform(adata, cofactor=150)
    assert parameters["transform"].tolist() == ["arcsinh", "linear"]
    assert parameters.loc["a", "cofactor"] == 150
    with pytest.raises(UsageError, match="cofactor"):
        estimate_transform(adata, cofactor=0)


def test_a_channel_without_parameters_and_a_second_transform_are_refused() -> None:
    adata = events({"a": ("fluorescence", STAIN), "b": ("fluorescence", STAIN)})
    parameters = estimate_transform(adata)
    with pytest.raises(InputError, match="b"):
        transform(adata, parameters=parameters.loc[["a"]])
    transform(adata, parameters=parameters)
    with pytest.raises(UsageError, match="already"):
        transform(adata, parameters=parameters)


def test_with_the_linear_layer_it_can_be_done_again(tmp_path: object) -> None:
    adata = events({"a": ("fluorescence", STAIN)})
    adata.layers["compensated"] = adata.X.copy()
    transform(adata, parameters=estimate_transform(adata))
    once = adata.X.copy()
    transform(adata, parameters=estimate_transform(adata))
    np.testing.assert_array_equal(adata.X, once)
    adata.write_h5ad(tmp_path / "a.h5ad")  # type: ignore[operator]
    assert anndata.read_h5ad(tmp_path / "a.h5ad").var["transform"].tolist() == ["logicle"]  # type: ignore[operator]


def test_one_badly_compensated_sample_does_not_widen_the_scale_of_all() -> None:
    rng = np.random.default_rng(1)
    names = np.repeat(["a", "b", "c", "d"], 1000)
    noise = rng.normal(0, 300, 4000)
    good = estimate_transform(events({"CD3": ("fluorescence", noise)}, samples=names)).loc["CD3", "w"]
    bad = np.where(names == "b", noise * 100, noise)
    adata = events({"CD3": ("fluorescence", bad)}, samples=names)
    assert estimate_transform(adata).loc["CD3", "w"] == pytest.approx(good, abs=0.03)
    (note,) = get_notes(adata)
    assert (note.code, note.sample) == ("events.deep_negatives", "b")


def test_samples_count_alike_and_their_order_does_not() -> None:
    rng = np.random.default_rng(2)
    depth = {"a": 100, "b": 300, "c": 900}
    size = {"a": 20_000, "b": 500, "c": 500}
    names = np.concatenate([np.repeat(k, n) for k, n in size.items()])
    noise = rng.normal(0, 1, len(names)) * np.array([depth[k] for k in names])
    once = estimate_transform(events({"CD3": ("fluorescence", noise)}, samples=names)).loc["CD3", "w"]
    assert once == pytest.approx((4.5 - np.log10(262144 / (1.96 * 300))) / 2, abs=0.05)
    order = rng.permutation(len(names))
    again = estimate_transform(events({"CD3": ("fluorescence", noise[order])}, samples=names[order])).loc["CD3", "w"]
    assert again == pytest.approx(once, abs=1e-12)


def test_a_subsample_of_the_study_gives_nearly_the_same_scale() -> None:
    rng = np.random.default_rng(3)
    names = np.repeat(["a", "b"], 20_000)
    adata = events({"CD3": ("fluorescence", rng.normal(50, 300, 40_000))}, samples=names)
    whole = estimate_transform(adata).loc["CD3", "w"]
    part = estimate_transform(adata[rng.choice(40_000, 4000, replace=False)].copy()).loc["CD3", "w"]
    assert part == pytest.approx(whole, abs=0.02)


def test_one_wild_value_does_not_stretch_the_scale() -> None:
    adata = events({"CD3": ("fluorescence", np.r_[STAIN, 1e9, np.inf])}, top=1024.0)
    assert estimate_transform(adata).loc["CD3", "t"] == pytest.approx(STAIN.max(), rel=1e-6)


def test_the_biexponential_is_the_logicle_of_the_same_decades() -> None:
    raw = events({"CD3": ("fluorescence", STAIN), "CD4": ("mass", np.abs(STAIN))})
    adata = raw.copy()
    parameters = estimate_transform(adata, method="biexponential")
    assert parameters["transform"].tolist() == ["biexponential", "arcsinh"]
    # FlowJo's own default for 18 bits
    assert parameters.loc["CD3", "m"] == pytest.approx(4.41854, abs=1e-5)
    transform(adata, parameters=parameters)
    np.testing.assert_allclose(inverse_transform(adata), raw.X, rtol=1e-4, atol=0.05)
    width = (4.41854 - np.log10(262144 / abs(np.quantile(STAIN[STAIN < 0], 0.05)))) / 2
    same = transforms.logicle(raw.X[:, 0].astype(float), None, t=262144, m=4.41854, w=width, a=0)
    # FlowJo puts zero on a whole channel of 4096 and divides by 4097
    assert np.abs(adata.X[:, 0] - same).max() < 0.001


def test_an_estimated_cofactor_is_that_of_the_noise_or_the_usual_one_with_a_note() -> None:
    rng = np.random.default_rng(4)
    bright = np.r_[np.zeros(3000), 2e4 * np.exp(rng.normal(0, 0.3, 3000))] + rng.normal(0, 150, 6000)
    adata = events(
        {
            "CD3": ("fluorescence", bright),
            "CD4": ("fluorescence", rng.normal(0, 150, 6000)),
            "CD8": ("mass", np.abs(bright)),
        },
        samples=np.tile(["a", "b"], 3000),
    )
    parameters = estimate_transform(adata, method="arcsinh")
    assert parameters["transform"].tolist() == ["arcsinh"] * 3
    assert parameters.loc["CD3", "cofactor"] == pytest.approx(150 / 0.3, rel=0.2)
    assert parameters["cofactor"].tolist()[1:] == [150, 5]
    assert codes(adata) == ["events.cofactor_unknown"]
    assert estimate_transform(adata, method="arcsinh", cofactor=7)["cofactor"].tolist() == [7, 7, 7]


def test_a_method_that_does_not_exist_or_has_no_cofactor_is_refused() -> None:
    adata = events({"a": ("fluorescence", STAIN)})
    with pytest.raises(UsageError, match="hyperlog"):
        estimate_transform(adata, method="hyperlog")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="cofactor"):
        estimate_transform(adata, method="biexponential", cofactor=5)
    with pytest.raises(UsageError, match="cofactor"):
        estimate_transform(adata, cofactor=np.nan)


def test_many_events_are_scaled_as_one_by_one() -> None:
    rng = np.random.default_rng(5)
    n = 40_000
    raw = events(
        {
            "a": ("fluorescence", rng.normal(0, 300, n)),
            "b": ("scatter", rng.uniform(0, 2e5, n)),
            "c": ("mass", rng.gamma(1, 50, n)),
        }
    )
    parameters = estimate_transform(raw)
    whole = raw.copy()
    transform(whole, parameters=parameters)
    rows = rng.choice(n, 50, replace=False)
    for row in rows:
        one = raw[[row]].copy()
        transform(one, parameters=parameters)
        np.testing.assert_array_equal(one.X[0], whole.X[row])
