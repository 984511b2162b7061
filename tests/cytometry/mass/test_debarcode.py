from __future__ import annotations

import itertools
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.mass.debarcode import debarcode, debarcode_table, split_debarcoded
from cellprec.errors import InputError, StudyError, UsageError
from cellprec.notes import get_notes

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data")) / "cytometry" / "catalyst"
PALLADIUM = (102, 104, 105, 106, 108, 110)


def scheme(*, n: int = 6, k: int = 3, samples: int = 20) -> pd.DataFrame:
    """The first codes with k of n metals."""
    codes = [[int(c in ones) for c in range(n)] for ones in itertools.combinations(range(n), k)][:samples]
    masses = PALLADIUM[:n] if n <= 6 else (*PALLADIUM, *range(140, 134 + n))
    return pd.DataFrame(codes, index=[f"S{i:02d}" for i in range(len(codes))], columns=list(masses))


class Pool:
    """A pooled run of known truth: index of the sample, -1 for doublets of two samples, -2 for debris."""

    def __init__(
        self,
        key: pd.DataFrame,
        *,
        events: int = 500,
        abundance: np.ndarray | None = None,
        doublets: float = 0.0,
        debris: float = 0.0,
        brightness: np.ndarray | float = 1.0,
        background: np.ndarray | float = 3.0,
        staining: float = 0.3,
        noise: float = 0.3,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        bits = key.to_numpy()
        shares = np.ones(len(key)) if abundance is None else abundance
        counts = np.round(events * shares).astype(int)
        truth = np.repeat(np.arange(len(key)), counts)
        lone = len(truth)
        n_doublets = int(doublets * lone / (1 - doublets))
        pairs = truth[rng.integers(0, lone, (n_doublets, 2))]
        pairs = pairs[pairs[:, 0] != pairs[:, 1]]
        n_debris = int(debris * lone)

        def stain(samples: np.ndarray) -> np.ndarray:
            shape = (len(samples), bits.shape[1])
            size = np.exp(rng.normal(0, staining, len(samples)))[:, None]
            return bits[samples] * 800.0 * brightness * size * np.exp(rng.normal(0, noise, shape))

        content = np.vstack(
            [stain(truth), stain(pairs[:, 0]) + stain(pairs[:, 1]), np.zeros((n_debris, bits.shape[1]))]
        )
        content += np.exp(rng.normal(np.log(background), 0.7, content.shape))
        self.truth = np.r_[truth, np.full(len(pairs), -1), np.full(n_debris, -2)]
        order = rng.permutation(len(content))
        self.truth, content = self.truth[order], content[order]
        # the samples in an event: one twice, two, or none
        self.members = np.vstack([np.column_stack([truth, truth]), pairs, np.full((n_debris, 2), -1)])[order]
        values = (rng.poisson(content) - rng.uniform(0, 1, content.shape)).astype("float32")
        channels = [f"{'Pd' if mass < 120 else 'Nd'}{mass}Di" for mass in key.columns]
        var = pd.DataFrame({"channel": channels, "marker": [f"BC{m}" for m in key.columns], "kind": "mass"})
        var.index = var["marker"].to_numpy()
        obs = pd.DataFrame({"sample_id": "pool"}, index=[f"pool:{i}" for i in range(len(values))])
        self.adata = anndata.AnnData(values, var=var, obs=obs)
        self.true_names = np.array([*key.index, "nothing", "two samples"])[self.truth]

    @property
    def called(self) -> np.ndarray:
        return self.adata.obs["debarcoded_sample"].astype(str).to_numpy()

    def right(self) -> float:
        """Share of the assigned events that belong where they were put; doublets and debris belong nowhere."""
        assigned = self.called != "unassigned"
        return float((self.called == self.true_names)[assigned].mean())

    def found(self) -> float:
        """Share of the single cells that were put where they belong."""
        single = self.truth >= 0
        return float((self.called == self.true_names)[single].mean())


def codes(adata: anndata.AnnData) -> set[str]:
    return {note.code for note in get_notes(adata)}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"doublets": 0.3, "debris": 0.1},
        {"doublets": 0.2, "noise": 0.6, "staining": 0.6},
        {"doublets": 0.3, "noise": 0.4, "staining": 0.4, "brightness": 0.3, "background": 5.0},
        {"doublets": 0.3, "brightness": np.array([1, 0.05, 0.3, 1, 2, 0.5])},
        {"doublets": 0.2, "abundance": np.geomspace(0.05, 3, 20)},
    ],
    ids=["plain", "doublets", "noisy", "dim", "uneven", "abundance"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_events_go_where_they_belong(settings: dict, seed: int) -> None:
    pool = Pool(scheme(), seed=seed, **settings)
    debarcode(pool.adata, key=scheme())
    assert pool.right() >= 0.98
    assert pool.found() >= 0.98


def test_uneven_channels_would_be_misread_without_being_evened_out() -> None:
    # the background of one metal outshines the barcode of another: what the test above is worth
    brightness, background = np.array([1, 0.05, 0.3, 1, 2, 0.5]), np.array([80.0, 3, 3, 3, 3, 3])
    pool = Pool(scheme(), brightness=brightness, background=background)
    highest = np.argsort(-pool.adata.X, axis=1)[:, :3]
    bits = np.zeros(pool.adata.shape, dtype=int)
    np.put_along_axis(bits, highest, 1, axis=1)
    assert (bits == scheme().to_numpy()[pool.truth]).all(axis=1).mean() < 0.9
    debarcode(pool.adata, key=scheme(), cutoff=None, max_distance=None)
    assert "events.barcodes_uneven" in codes(pool.adata)
    assert pool.right() > 0.95


@pytest.mark.parametrize(("n", "k", "samples"), [(6, 3, 2), (6, 3, 15), (6, 2, 15), (10, 4, 60)])
def test_any_scheme_of_k_of_n(n: int, k: int, samples: int) -> None:
    key = scheme(n=n, k=k, samples=samples)
    pool = Pool(key, events=200, doublets=0.2)
    debarcode(pool.adata, key=key)
    assert pool.right() >= 0.98
    assert pool.found() >= 0.98


def test_codes_of_several_lengths_are_read_by_the_largest_gap_and_doublets_are_warned_of() -> None:
    rows = [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 1, 1, 1, 0], [0, 1, 1, 0, 0, 1]]
    key = pd.DataFrame(rows, index=list("ABCDE"), columns=list(PALLADIUM))
    pool = Pool(key)
    debarcode(pool.adata, key=key)
    assert pool.right() >= 0.99
    assert pool.found() >= 0.99
    note = next(n for n in get_notes(pool.adata) if n.code == "events.barcodes_of_lengths")
    assert "1 or 2 or 3 metals" in note.text
    assert note.count == 1  # A and B make C


def test_expected_misassignment_is_what_a_code_that_no_sample_has_receives() -> None:
    everything = scheme()
    key = everything.iloc[np.sort(np.random.default_rng(0).permutation(20)[:12])]
    pool = Pool(key, events=1000, doublets=0.3, noise=0.6, background=20)
    debarcode(pool.adata, key=key, cutoff=0.05, max_distance=None)
    table = debarcode_table(pool.adata)
    # events that were given to a sample none of whose cells are in them
    called = pool.adata.obs["debarcoded_sample"].cat.codes.to_numpy()
    strange = (pool.called != "unassigned") & ~(pool.members == called[:, None]).any(axis=1)
    assert strange.sum() > 100
    assert 0.5 < table["expected_misassigned"].sum() / strange.sum() < 2
    pool = Pool(scheme())
    debarcode(pool.adata, key=scheme())
    assert debarcode_table(pool.adata)["expected_misassigned"].isna().all()
    assert debarcode_table(pool.adata)["says"].str.startswith("cannot tell the misassignment").all()


def test_a_used_code_that_the_key_lacks_is_stated_and_not_assigned() -> None:
    pool = Pool(scheme(samples=20), doublets=0.1)
    debarcode(pool.adata, key=scheme(samples=18))
    texts = [note.text for note in get_notes(pool.adata) if note.code == "events.barcode_unlisted"]
    assert [("105 108 110" in text, "106 108 110" in text) for text in texts] == [(True, False), (False, True)]
    assert pool.right() >= 0.99
    assert (pool.adata.obs["bc_reason"][pool.truth >= 18] == "code not in key").mean() > 0.95


def test_a_sample_without_events_is_stated() -> None:
    pool = Pool(scheme(samples=17), doublets=0.1)
    debarcode(pool.adata, key=scheme(samples=18))
    empty = [note.sample for note in get_notes(pool.adata) if note.code == "events.barcode_empty"]
    assert empty == ["S17"]
    assert debarcode_table(pool.adata).set_index("sample").loc["S17", "says"] != ""


def test_the_yields_are_those_of_the_separations() -> None:
    pool = Pool(scheme(samples=10), doublets=0.3)
    debarcode(pool.adata, key=scheme(samples=10), cutoff=0.4, max_distance=None)
    table = debarcode_table(pool.adata).set_index("sample")
    separation = pool.adata.obs["bc_separation"].to_numpy()
    assert separation[pool.called != "unassigned"].min() >= 0.4
    np.testing.assert_allclose(table["yield"], table["yield_at_0.4"])
    assert table["assigned"].sum() == (pool.called != "unassigned").sum()
    falling = table[[f"yield_at_{c / 10}" for c in range(1, 10)]].to_numpy()
    assert (np.diff(falling, axis=1) <= 0).all()


def test_far_events_are_dropped_by_their_distance() -> None:
    pool = Pool(scheme())
    pool.adata.X[:30] *= 40  # well separated, but far brighter than any cell
    debarcode(pool.adata, key=scheme())
    assert (pool.adata.obs["bc_reason"][:30] == "distance").mean() > 0.9
    debarcode(pool.adata, key=scheme(), max_distance=None)
    assert not (pool.adata.obs["bc_reason"] == "distance").any()


def test_beads_are_left_out_and_dropped_events_do_not_weigh() -> None:
    pool = Pool(scheme(), doublets=0.2)
    keep = pool.truth >= 0
    pool.adata.obs["keep"] = keep
    pool.adata.obs["bead"] = np.arange(pool.adata.n_obs) < 100
    debarcode(pool.adata, key=scheme())
    assert (pool.adata.obs["bc_reason"][:100] == "bead").all()
    assert debarcode_table(pool.adata)["events"].sum() == (keep[100:]).sum()


def test_dropped_events_weigh_in_nothing_that_is_said_of_the_others() -> None:
    pool, key = Pool(scheme(samples=4), events=200, doublets=0.2), scheme(samples=4)
    keep = np.arange(pool.adata.n_obs) % 4 != 0
    pool.adata.X[~keep] *= 20
    pool.adata.obs["keep"] = keep
    alone = pool.adata[keep].copy()
    debarcode(pool.adata, key=key)
    debarcode(alone, key=key)
    columns = ["bc_separation", "bc_distance", "debarcoded_sample", "bc_reason"]
    pd.testing.assert_frame_equal(pool.adata.obs.loc[keep, columns], alone.obs[columns])
    pd.testing.assert_frame_equal(debarcode_table(pool.adata), debarcode_table(alone))


def test_neither_the_order_of_events_nor_that_of_the_key_matters() -> None:
    pool, key = Pool(scheme(samples=12), doublets=0.3), scheme(samples=12)
    order = np.random.default_rng(1).permutation(pool.adata.n_obs)
    shuffled = pool.adata[order].copy()
    debarcode(pool.adata, key=key)
    debarcode(shuffled, key=key.iloc[::-1, ::-1])
    np.testing.assert_array_equal(shuffled.obs["debarcoded_sample"].astype(str), pool.called[order])


def test_cutoffs_may_be_given_for_each_sample() -> None:
    pool, key = Pool(scheme(samples=2)), scheme(samples=2)
    debarcode(pool.adata, key=key, cutoff={"S00": 0.2, "S01": 1.0}, max_distance=None)
    assert set(pool.called) == {"S00", "unassigned"}
    with pytest.raises(UsageError, match="S01"):
        debarcode(pool.adata, key=key, cutoff={"S00": 0.2})


def test_an_event_that_is_no_number_has_no_separation() -> None:
    key = scheme(n=4, k=2, samples=4)
    pool = Pool(key, events=100)
    pool.adata.X[5, 0] = np.nan
    debarcode(pool.adata, key=key)
    assert pool.adata.obs[["bc_separation", "bc_distance"]].iloc[5].isna().all()
    assert pool.adata.obs["debarcoded_sample"].iloc[5] == "unassigned"
    assert pool.adata.obs["bc_reason"].iloc[5] == "not finite"
    assert np.isfinite(pool.adata.obs["bc_separation"].drop(pool.adata.obs_names[5])).all()


def test_the_samples_are_split_with_names_of_their_own(tmp_path: Path) -> None:
    pool, key = Pool(scheme(samples=4), doublets=0.2), scheme(samples=4)
    debarcode(pool.adata, key=key)
    parts = split_debarcoded(pool.adata)
    assert list(parts) == list(key.index)
    for name, part in parts.items():
        assert part.n_obs == (pool.called == name).sum()
        assert set(part.obs["sample_id"]) == {name}
        assert set(part.obs["pool"]) == {"pool"}
        assert part.obs_names[0].startswith(f"{name}:pool:")
        np.testing.assert_array_equal(part.X, pool.adata.X[pool.called == name])
    pool.adata.write_h5ad(tmp_path / "pool.h5ad")
    again = anndata.read_h5ad(tmp_path / "pool.h5ad")
    assert debarcode_table(again)["assigned"].tolist() == debarcode_table(pool.adata)["assigned"].tolist()


def test_everything_wrong_with_a_key_is_said_at_once() -> None:
    pool = Pool(scheme(samples=3))
    key = scheme(samples=6).rename(columns={110: "BC111"}).astype(object)
    key.loc["S03"] = key.loc["S02"]
    key.loc["S04"] = 1
    key.loc["S05"] = [1, 1, 2, 0, 0, 0]
    with pytest.raises(StudyError) as caught:
        debarcode(pool.adata, key=key)
    said = [(p.code, p.sample or p.column) for p in caught.value.problems]
    expected = {("channel", "BC111"), ("code", "S03"), ("code", "S04"), ("value", "S05")}
    assert {(code.removeprefix("barcode_key."), where) for code, where in said} >= expected
    assert "BC110" in next(p.fix for p in caught.value.problems if p.column == "BC111")


def test_wrong_calls_are_refused() -> None:
    pool, key = Pool(scheme(samples=2), events=60), scheme(samples=2)
    with pytest.raises(InputError):
        debarcode(pool.adata, key=key.iloc[:0])
    for wrong in ({"cutoff": "guess"}, {"cutoff": 30}, {"cofactor": 0.0}, {"max_distance": -1.0}):
        with pytest.raises(UsageError):
            debarcode(pool.adata, key=key, **wrong)
    with pytest.raises(UsageError):
        split_debarcoded(pool.adata)
    with pytest.raises(UsageError):
        debarcode_table(pool.adata)
    pool.adata.obs["keep"] = False
    with pytest.raises(InputError, match="no event is left"):
        debarcode(pool.adata, key=key)


@pytest.mark.real
@pytest.mark.skipif(not DATA.is_dir(), reason="the real data sets are not there")
def test_real_pool_agrees_with_its_key() -> None:
    table = pd.read_csv(DATA / "sample_ff.csv.gz")
    key = pd.read_csv(DATA / "sample_key.csv", index_col=0)
    var = pd.DataFrame([column.split("|") for column in table], columns=["channel", "marker"]).assign(kind="mass")
    var.index = var["marker"].to_numpy()
    highest = np.zeros(table.shape, dtype=int)
    np.put_along_axis(highest, np.argsort(-table.to_numpy(), axis=1)[:, :3], 1, axis=1)
    names = {tuple(row): name for name, row in zip(key.index, key.to_numpy(), strict=True)}
    truth = np.array([names[tuple(row)] for row in highest])
    adata = anndata.AnnData(table.to_numpy("float32"), var=var)
    debarcode(adata, key=key)
    called = adata.obs["debarcoded_sample"].astype(str).to_numpy()
    assigned = called != "unassigned"
    assert (called == truth)[assigned].mean() >= 0.98
    assert 0.6 < assigned.mean() < 0.9  # a third of this pool are doublets and debris
    debarcode(adata, key=key, cutoff=None, max_distance=None)
    assert (adata.obs["debarcoded_sample"].astype(str) == truth).mean() >= 0.98
    assert debarcode_table(adata)["events"].tolist() == [1000] * 20
