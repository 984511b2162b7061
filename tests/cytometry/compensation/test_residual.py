"""Errors planted into a right matrix are found; a right matrix is left in peace."""

from __future__ import annotations

import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest

from cellprec.cytometry.compensation.compensate import compensate
from cellprec.cytometry.compensation.residual import _fall, _judge, compensation_errors
from cellprec.cytometry.compensation.spillover import estimate_spillover
from cellprec.errors import InputError, UsageError
from cellprec.io.fcs import read_fcs

DATA = Path(os.environ.get("CELLPREC_DATA", Path(__file__).parents[4] / "shared" / "data"))
FLOWCORE = DATA / "cytometry" / "flowcore_compensation"

K = 5
NAMES = [f"B{i}-A" for i in range(K)]


def truth(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    spill = np.where(rng.random((K, K)) < 0.6, rng.uniform(0.02, 0.3, (K, K)), 0.0)
    np.fill_diagonal(spill, 1)
    return spill


def record(amounts: np.ndarray, spill: np.ndarray, seed: int, *, auto: float = 4.0) -> anndata.AnnData:
    rng = np.random.default_rng([seed, 1])
    n = len(amounts)
    light = amounts @ spill + rng.lognormal(auto, 0.4, (n, 1)) * np.linspace(0.5, 1.5, K)
    seen = rng.poisson(light / 5) * 5 + rng.normal(0, 15, (n, K))
    var = pd.DataFrame({"channel": NAMES, "marker": [f"CD{i}" for i in range(K)], "kind": "fluorescence"}, index=NAMES)
    return anndata.AnnData(seen.astype("float32"), var=var)


def single(dye: int, spill: np.ndarray, seed: int, *, stained: float = 0.6, n: int = 4000) -> anndata.AnnData:
    rng = np.random.default_rng([seed, 2])
    amounts = np.zeros((n, K))
    amounts[:, dye] = rng.lognormal(8.5, 0.5, n) * (rng.random(n) < stained)
    return record(amounts, spill, seed)


def full(spill: np.ndarray, seed: int, n: int = 20_000) -> anndata.AnnData:
    """Cells of eight kinds, each with some of the dyes, bright or dim, some together and some apart."""
    rng = np.random.default_rng([seed, 3])
    has = rng.random((8, K)) < 0.45
    level = rng.uniform(7.5, 9.5, (8, K))
    kind = rng.integers(0, 8, n)
    return record(rng.lognormal(level[kind], 0.4) * has[kind], spill, seed)


def compensated(adata: anndata.AnnData, spill: np.ndarray) -> anndata.AnnData:
    compensate(adata, spillover=pd.DataFrame(spill, index=NAMES, columns=NAMES))
    return adata


@pytest.mark.parametrize("planted", [-0.10, -0.05, -0.02, 0.02, 0.05, 0.10])
def test_planted_errors_are_found_in_single_stains(planted: float) -> None:
    for seed in range(4):
        spill = truth(seed)
        wrong = spill.copy()
        dye, detector = seed % K, (seed + 2) % K
        wrong[dye, detector] += planted
        found = compensation_errors(compensated(single(dye, spill, seed), wrong), stained=NAMES[dye])
        row = found.set_index("detector").loc[NAMES[detector]]
        assert row["verdict"] == ("over" if planted > 0 else "under")
        # what is left reaches the detector through the inverse of the wrong matrix
        left = (spill[dye] @ np.linalg.inv(wrong))[[dye, detector]]
        assert row["error"] == pytest.approx(left[1] / left[0], abs=0.005)
        assert NAMES[detector] in row["reason"]


def test_the_right_matrix_is_raised_in_less_than_one_in_twenty() -> None:
    verdicts: list[str] = []
    for seed in range(8):
        spill = truth(seed)
        blank = compensated(record(np.zeros((3000, K)), spill, seed + 50), spill)
        for dye in range(K):
            control = single(dye, spill, 10 * seed + dye, stained=1.0 if dye % 2 else 0.6)
            found = compensation_errors(compensated(control, spill), stained=NAMES[dye], unstained=blank)
            verdicts += found["verdict"].tolist()
    assert np.isin(verdicts, ["over", "under"]).mean() < 0.05
    assert np.mean([verdict == "fine" for verdict in verdicts]) > 0.9


def test_full_stains_show_strong_overcompensation_and_raise_little_else() -> None:
    found_planted, raised, judged = [], 0, 0
    for seed in range(8):
        spill = truth(seed)
        right = compensation_errors(compensated(full(spill, seed), spill))
        assert not right["verdict"].eq("under").any()
        raised += int(right["verdict"].eq("over").sum())
        judged += len(right)
        wrong = spill.copy()
        dye, detector = seed % K, (seed + 1) % K
        wrong[dye, detector] += 0.08
        table = compensation_errors(compensated(full(spill, seed), wrong)).set_index(["dye", "detector"])
        row = table.loc[(NAMES[dye], NAMES[detector])]
        if row["verdict"] != "cannot tell" or np.isfinite(row["error"]):
            found_planted.append(row["verdict"] == "over")
    assert raised < 0.05 * judged
    assert len(found_planted) >= 4
    assert np.mean(found_planted) > 0.7


def test_undercompensation_of_a_full_stain_is_not_told_from_biology() -> None:
    spill = truth(1)
    wrong = spill.copy()
    wrong[0, 1] = max(wrong[0, 1] - 0.1, 0.0)
    table = compensation_errors(compensated(full(spill, 1), wrong))
    assert not table["verdict"].eq("under").any()
    assert table.loc[table["verdict"].eq("cannot tell"), "reason"].str.len().gt(0).all()
    assert set(table["basis"]) == {"full stain"}


def test_what_cannot_be_told_says_why() -> None:
    spill = truth(0)
    dark = compensated(record(np.zeros((2000, K)), spill, 3), spill)
    table = compensation_errors(dark)
    assert set(table["verdict"]) == {"cannot tell"}
    assert table["error"].isna().all()
    alone = compensation_errors(compensated(single(0, spill, 0, stained=1.0), spill), stained="CD0")
    assert set(alone["verdict"]) == {"cannot tell"}
    assert alone["reason"].str.contains("0 background").all()
    few = compensation_errors(compensated(single(0, spill, 0, n=60), spill), stained="B0-A")
    assert set(few["verdict"]) == {"cannot tell"}


def test_an_error_within_its_interval_is_none_and_a_fall_above_zero_may_be_biology() -> None:
    names = {"detector": "B1-A", "dye": "B0-A"}
    assert _judge(-0.03, 0.05, tolerance=0.01, **names)[0] == "cannot tell"
    assert _judge(-0.03, 0.02, tolerance=0.01, **names)[0] == "over"
    assert _judge(0.03, 0.02, tolerance=0.01, **names)[0] == "under"
    assert _judge(0.005, 0.002, tolerance=0.01, **names)[0] == "fine"
    rng = np.random.default_rng(0)
    bright = rng.random(4000) < 0.5
    x = np.where(bright, rng.lognormal(8, 0.5, 4000), rng.normal(0, 20, 4000))
    verdicts = [_fall(x, zero - 0.1 * x + rng.normal(0, 20, 4000), bright, tolerance=0.01, names=("B0-A", "B1-A"))[3]
                for zero in (0, 5000)]  # fmt: skip
    assert verdicts == ["over", "cannot tell"]


@pytest.mark.parametrize("stained", [None, "B0-A"])
@pytest.mark.parametrize("n", [0, 1])
def test_no_event_and_one_event_tell_nothing(n: int, stained: str | None) -> None:
    var = pd.DataFrame({"channel": ["B0-A", "B1-A"], "kind": "fluorescence"}, index=["B0-A", "B1-A"])
    found = compensation_errors(anndata.AnnData(np.ones((n, 2), dtype="float32"), var=var), stained=stained)
    assert set(found["verdict"]) == {"cannot tell"}
    assert (found["reason"] != "").all()


def test_dropped_events_do_not_count_and_bad_calls_are_refused() -> None:
    spill = truth(0)
    control = compensated(single(0, spill, 0), spill)
    dirty = control.copy()
    dirty.layers["compensated"][:1500, 2] = -5000
    dirty.obs["keep"] = np.arange(dirty.n_obs) >= 1500
    assert set(compensation_errors(dirty, stained="B0-A")["verdict"]) == {"fine"}
    with pytest.raises(InputError, match="BO-A") as caught:
        compensation_errors(control, stained="BO-A")
    assert "did you mean" in caught.value.fix
    with pytest.raises(UsageError, match="tolerance"):
        compensation_errors(control, tolerance=0.0)
    del dirty.layers["compensated"]
    dirty.var["transform"] = "logicle"
    with pytest.raises(InputError, match="transformed"):
        compensation_errors(dirty, stained="B0-A")


@pytest.mark.real
@pytest.mark.skipif(not FLOWCORE.is_dir(), reason="the real data sets are not there")
def test_real_controls_are_fine_with_their_own_matrix_and_not_with_another() -> None:
    match = pd.read_csv(FLOWCORE / "comp_match.txt", dtype=str)
    files = {row.channel: read_fcs(FLOWCORE / "controls" / f"{row.filename}.fcs") for row in match.itertuples()}
    blank = files.pop("unstained")
    matrix = estimate_spillover(files, unstained=blank)
    wrong = matrix.copy()
    wrong.loc["FL2-H", "FL3-H"] += 0.05
    for spillover, wanted in ((matrix, "fine"), (wrong, "over")):
        control, dark = files["FL2-H"].copy(), blank.copy()
        compensate(control, spillover=spillover)
        compensate(dark, spillover=spillover)
        table = compensation_errors(control, stained="FL2-H", unstained=dark).set_index("detector")
        assert table.loc["FL3-H", "verdict"] == wanted
