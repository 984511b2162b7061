"""Which clones rise or fall between two conditions by more than drift between replicates explains."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy import optimize, stats
from statsmodels.stats.multitest import multipletests

from cellprec import keys
from cellprec.clones.drift import Drift, Floats, Scale, fit_drift, moderate, trend
from cellprec.clones.table import DESIGN, LOW_DEPTH, TOTAL, told
from cellprec.errors import UsageError

Selection = Mapping[str, str | Sequence[str]]

_OWN = "own replicates"
_ALIKE = "replicates of the same condition"
_STUDY = "replicates of the whole study"

_MIN_CELLS = 3.0
_RULE_OF_THREE = 3.0
_POWER = 0.8


@dataclass(frozen=True)
class _Arm:
    freq: Floats
    depth: Floats
    drift: Drift
    source: str

    @property
    def n(self) -> int:
        return len(self.freq)

    @property
    def mean(self) -> Floats:
        return np.asarray(self.freq.mean(axis=0))


def dynamics(
    adata: AnnData,
    *,
    treated: Selection,
    control: Selection,
    name: str = "",
    kind: str = "drug",
    alpha: float = 0.05,
    min_fold: float = 2.0,
) -> pd.DataFrame:
    """Find the clones that a condition enriches or depletes beyond what drift between replicates does.

    Parameters
    ----------
    adata
        samples × clones with PCR replicates summed (:func:`~cellprec.clones.table.collapse`). Rows of equal design
        columns (patient, arm, timepoint) are taken as biological replicates, the units of the test. Low-depth
        libraries are left out.
    treated, control
        Which rows: by column of ``obs`` the value, or the values, it must have.
    name, kind
        Written into the result: the name of the contrast, and ``drug``, ``time`` or ``negative control``.
    alpha
        False discovery rate (Benjamini & Hochberg 1995), the family being the tested clones of this contrast.
    min_fold
        The fold that matters: a clone whose whole interval lies below it is not called, however small its p.

    Returns
    -------
    DataFrame
        One row per clone: ``log2fc`` with ``low`` and ``high`` (95 %) of its share of the library, ``log2fc_robust``
        against the typical clone, ``censored`` (unseen on one side: the fold is a bound, taken at the detection limit
        of that side), ``p``, ``q``, ``frequency_treated``, ``frequency_control``, ``n_treated`` and ``n_control``
        (replicates), ``call`` (enriched, depleted, none, cannot tell) with ``reason``,
        ``detectable_fold`` (the rise that would have been called with 80 % power at this control frequency), and, the
        same in each row, ``contrast``, ``kind``, ``detection_limit``, ``shift``
        (log2 change of the typical clone) and ``cv2_source``.

    Raises
    ------
    UsageError
        If a selection finds no library, both find the same one, or PCR replicates were not summed.

    Notes
    -----
    *Null.* Replicates differ by founder sampling, bottlenecks at passages, PCR and reads; :class:`Drift` is fitted to
    them, per condition where it has replicates and over the study where not. On the scale that makes this variance
    one (:class:`Scale`) the means are compared by a moderated t (Smyth 2004): the clone's own variance, shrunk to
    the common one by as much as the clones' variances agree. Replicates that share a history before the conditions
    parted (one flask split after drift) make too small a null: no statistics can see that.

    Where few cells found a culture that scale overstates how surprising an absence is; p of a clone of which
    one side saw less than the worth of a founding cell is the larger of that test and of one that takes the means as
    gamma distributed with the same variance (their ratio follows F).

    *Composition.* Frequencies add to one, so a few clones that take over push all others down. A clone is called only
    if its share *and* its share relative to the typical clone (median shift over mid-abundance clones) move the same
    way; p is the larger of the two (intersection-union). Under takeover the many that lose share but not against each
    other are thus not "depleted", and those that only lose less than the others are not "enriched".

    *Cannot tell.* Clones too rare for the drift seen (fewer than three founding cells expected in a condition), and
    all clones where no condition of the study has replicates.

    *Detection limit.* The control frequency above which a true ``min_fold`` rise would have been called with 80 %
    power, at the p-value that the correction asked for.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> share = np.r_[0.05, np.full(99, 0.95 / 99)]
    >>> grown = share * np.r_[8, np.ones(99)]
    >>> means = np.vstack([share] * 3 + [grown / grown.sum()] * 3)
    >>> counts = rng.poisson(means * 20000 * rng.gamma(100, 0.01, means.shape))
    >>> obs = pd.DataFrame({"arm": ["vehicle"] * 3 + ["drug"] * 3}, index=list("abcdef"))
    >>> result = dynamics(AnnData(counts.astype("f4"), obs=obs), treated={"arm": "drug"}, control={"arm": "vehicle"})
    >>> result["call"].value_counts().to_dict()
    {'none': 99, 'enriched': 1}
    """
    rows = _rows(adata, treated, "treated"), _rows(adata, control, "control")
    if set(rows[0]) & set(rows[1]):
        both = sorted(set(rows[0]) & set(rows[1]))[0]
        raise UsageError(f"{both} is both treated and control", where=f"contrast {name}", fix="Narrow the selections.")
    arms = _arms(adata, rows)
    base = _frequencies(adata, rows)
    if arms is None:
        base = _cannot(base, "no condition of this study has replicates: drift cannot be told from selection")
        fixed: dict[str, float | str] = {"detection_limit": np.nan, "shift": np.nan, "cv2_source": "none"}
    else:
        base, fixed = _test(base, arms[:2], arms[2], alpha=alpha, min_fold=min_fold)
    base.insert(0, "contrast", name or f"{_say(treated)} vs {_say(control)}")
    base.insert(1, "kind", kind)
    for column, value in fixed.items():
        base[column] = value
    return base


def _say(selection: Selection) -> str:
    return " ".join(value if isinstance(value, str) else "+".join(value) for value in selection.values())


def _rows(adata: AnnData, selection: Selection, side: str) -> list[str]:
    keep = np.ones(adata.n_obs, dtype=bool)
    for column, value in selection.items():
        if column not in adata.obs:
            raise UsageError(f"{side}: there is no column {column!r}", fix=f"Columns: {', '.join(adata.obs.columns)}.")
        values = [value] if isinstance(value, str) else list(value)
        held = told(adata.obs[column])
        absent = sorted(set(values) - set(held))
        if absent:
            raise UsageError(f"{side}: no library has {column} {absent[0]!r}", fix=f"There are {sorted(set(held))}.")
        keep &= held.isin(values).to_numpy()
    found = adata.obs[keep]
    if LOW_DEPTH in found:
        found = found[~found[LOW_DEPTH].astype(bool)]
    if found.empty:
        raise UsageError(f"{side}: no library of sufficient depth is {_say(selection)}")
    design = [column for column in DESIGN if column in found]
    if keys.PCR_REPLICATE in found and found[design].astype(str).duplicated().any():
        raise UsageError(
            f"{side}: PCR replicates of one library stand in separate rows",
            why="they are not independent replicates of the experiment",
            fix="Call collapse() first.",
        )
    return [str(name) for name in found.index]


def _counts(adata: AnnData, names: list[str]) -> tuple[Floats, Floats]:
    places = adata.obs_names.get_indexer(pd.Index(names))
    counts = np.asarray(adata.X, dtype=np.float64)[places]
    depth = adata.obs[TOTAL].to_numpy(np.float64)[places] if TOTAL in adata.obs else counts.sum(axis=1)
    return counts / np.maximum(depth, 1)[:, None], depth


def _replicate_groups(adata: AnnData) -> list[list[str]]:
    obs = adata.obs
    if LOW_DEPTH in obs:
        obs = obs[~obs[LOW_DEPTH].astype(bool)]
    # every sheet column that is not about the library itself tells conditions apart
    design = [column for column in DESIGN if column in obs and column != keys.REPLICATE]
    if not design:
        return []
    # rows that say nothing of their design are not replicates of one another
    named = np.any([told(obs[column]) != "" for column in DESIGN if column in obs], axis=0)
    obs = obs[named]
    return [[str(n) for n in names.index] for _, names in obs.groupby([obs[c].astype(str) for c in design])]


def _same_condition(adata: AnnData, names: list[str]) -> bool:
    design = [column for column in DESIGN if column in adata.obs and column != keys.REPLICATE]
    return bool(design) and len(adata.obs.loc[names, design].astype(str).drop_duplicates()) == 1


def _arms(adata: AnnData, rows: tuple[list[str], list[str]]) -> tuple[_Arm, _Arm, list[_Arm]] | None:
    """Return both conditions with their drift, and the replicated conditions of the whole study."""
    held = [_counts(adata, names) for names in rows]
    own = [fit_drift([freq], depths=[depth]) for freq, depth in held]
    groups = [_counts(adata, names) for names in _replicate_groups(adata) if len(names) > 1]
    study = fit_drift([freq for freq, _ in groups], depths=[depth for _, depth in groups]) if groups else None
    alike = _same_condition(adata, [*rows[0], *rows[1]])
    shared = own[0] or own[1]
    if alike and shared is None:
        # one replicate against another: their own scatter is the drift, and only outliers can stand out of it
        groups = [(np.vstack([freq for freq, _ in held]), np.concatenate([depth for _, depth in held]))]
        shared = study = fit_drift([freq for freq, _ in groups], depths=[depth for _, depth in groups])
    arms = []
    for (freq, depth), drift in zip(held, own, strict=True):
        used = drift or (shared if alike else None) or study
        if used is None:
            return None
        source = _OWN if drift else _ALIKE if alike else _STUDY
        arms.append(_Arm(freq, depth, used, source))
    everywhere = [_Arm(freq, depth, study, _STUDY) for freq, depth in groups] if study else []
    return arms[0], arms[1], everywhere


def _frequencies(adata: AnnData, rows: tuple[list[str], list[str]]) -> pd.DataFrame:
    treated, control = (_counts(adata, names)[0] for names in rows)
    frame = pd.DataFrame({"clone": adata.var_names.astype(str)}, index=adata.var_names.astype(str))
    for column in ("log2fc", "low", "high", "log2fc_robust"):
        frame[column] = np.nan
    frame["censored"] = (treated.sum(axis=0) > 0) != (control.sum(axis=0) > 0)
    frame["p"], frame["q"] = np.nan, np.nan
    frame["frequency_treated"], frame["frequency_control"] = treated.mean(axis=0), control.mean(axis=0)
    frame["n_treated"], frame["n_control"] = len(treated), len(control)
    return frame


def _reason(arms: tuple[_Arm, _Arm], usual: str) -> str:
    if min(arm.n / arm.drift.phi for arm in arms) < _MIN_CELLS:
        return "replicates of one condition differ too much, at any abundance"
    return usual


def _cannot(frame: pd.DataFrame, reason: str) -> pd.DataFrame:
    return frame.assign(call="cannot tell", reason=reason, detectable_fold=np.nan)


def _test(
    frame: pd.DataFrame, arms: tuple[_Arm, _Arm], study: list[_Arm], *, alpha: float, min_fold: float
) -> tuple[pd.DataFrame, dict[str, float | str]]:
    t, c = arms
    scale = Scale(t.drift.mean_with(c.drift))
    pooled = (t.mean + c.mean) / 2
    # cells that found each condition, all replicates together, were the clone the same in both
    cells = np.min([arm.n / arm.drift.cv2(pooled) for arm in arms], axis=0)
    tested = (pooled > 0) & (cells >= _MIN_CELLS)
    variance = np.sum([scale.variance(pooled, drift=arm.drift) / arm.n for arm in arms], axis=0)
    own, df = _own_variance(scale, arms)
    missed = trend(own[tested], df=df[tested], along=pooled[tested])
    own, variance = own / missed(pooled), variance * missed(pooled)
    prior, df0 = moderate(own[tested], df=df[tested])
    if df0 == 0:
        prior, df0 = _study_prior(study)
    if df0 + df.max(initial=0) == 0:
        return _cannot(frame, _reason(arms, "too few clones seen in replicates to measure drift")), {
            "detection_limit": np.nan,
            "shift": np.nan,
            "cv2_source": "none",
        }
    spread = (df0 * prior + df * own) / (df0 + df)
    error = np.sqrt(spread * variance)
    total_df = df0 + df
    shift = _shift(t.mean, c.mean, tested & (c.mean > 0), pooled)
    difference = _difference(scale, t.freq, c.freq)
    # the higher side is brought down: bringing the other up would make evidence of clones that nobody could have seen
    scale_t, scale_c = min(1.0, 2**-shift), min(1.0, 2**shift)
    robust = _difference(scale, t.freq * scale_t, c.freq * scale_c)
    noise = spread * missed(pooled)
    p_share = np.maximum(_p(difference / error, total_df), _gamma_p(arms, t.mean, c.mean, noise=noise))
    p_typical = np.maximum(
        _p(robust / error, total_df), _gamma_p(arms, t.mean * scale_t, c.mean * scale_c, noise=noise)
    )
    p = np.maximum(p_share, p_typical)
    # the interval is that of the more cautious of both tests, so that it holds 0 where p is above 0.05
    width = np.maximum(error, np.abs(difference) / np.maximum(stats.t.isf(p_share / 2, total_df), 1e-12))
    _effects(frame, scale, arms, tested, difference, width * stats.t.ppf(0.975, total_df), shift)
    frame["p"] = np.where(tested, p, np.nan)
    frame.loc[tested, "q"] = multipletests(p[tested], method="fdr_bh")[1] if tested.any() else np.nan
    agree = np.sign(difference) == np.sign(robust)
    frame["reason"] = np.where(tested, "", _reason(arms, "too rare for the drift between replicates"))
    _call(frame, tested, agree, difference > 0, alpha=alpha, min_fold=min_fold)
    significant = int((frame["q"] <= alpha).sum())
    threshold = alpha * max(significant, 1) / max(int(tested.sum()), 1)
    middle_df = float(np.median(total_df[tested])) if tested.any() else max(df0, 1.0)
    limit, folds = _limit(scale, arms, lambda f: prior * missed(f), middle_df, threshold, min_fold)
    frame["detectable_fold"] = np.where(tested, folds(np.maximum(c.mean, _floor(c))), np.nan)
    source = next(arm.source for arm in sorted(arms, key=lambda arm: arm.source == _OWN))
    return frame, {"detection_limit": limit, "shift": shift, "cv2_source": source}


def _difference(scale: Scale, treated: Floats, control: Floats) -> Floats:
    return np.asarray(scale.forward(treated).mean(axis=0) - scale.forward(control).mean(axis=0))


def _gamma_p(arms: Sequence[_Arm], treated: Floats, control: Floats, *, noise: Floats) -> Floats:
    """Return the p-value of a ratio of gamma means, F distributed, less than a founding cell taken as one.

    Where few cells found a culture, "not seen" lies many standard deviations off on the stabilized scale although
    missing the clone is likely; here it is as likely as the number of founding cells makes it. 0 where each side saw
    the worth of a founding cell.
    """
    pooled = np.maximum((treated + control) / 2, 1e-300)
    shape_t, shape_c = (arm.n / (arm.drift.cv2(pooled) * noise) for arm in arms)
    cells_t, cells_c = shape_t * treated / pooled, shape_c * control / pooled
    ratio = np.maximum(cells_t, 1) / shape_t / (np.maximum(cells_c, 1) / shape_c)
    low, high = stats.f.cdf(ratio, 2 * shape_t, 2 * shape_c), stats.f.sf(ratio, 2 * shape_t, 2 * shape_c)
    absent = np.minimum(cells_t, cells_c) < 1
    return np.asarray(np.where(absent, np.minimum(1, 2 * np.minimum(low, high)), 0.0))


def _p(statistic: Floats, df: Floats) -> Floats:
    return np.asarray(2 * stats.t.sf(np.abs(statistic), df))


def _own_variance(scale: Scale, arms: Sequence[_Arm]) -> tuple[Floats, Floats]:
    """Return the observed over the expected variance of each clone within the conditions, and its df."""
    total, df = np.zeros(arms[0].freq.shape[1]), np.zeros(arms[0].freq.shape[1])
    for arm in arms:
        if arm.n < 2:
            continue
        # replicates that both missed the clone agree without telling anything
        informative = arm.n / arm.drift.cv2(arm.mean) >= _MIN_CELLS
        expected = scale.variance(arm.mean, drift=arm.drift)
        observed = scale.forward(arm.freq).var(axis=0, ddof=1) / np.maximum(expected, 1e-300)
        total += np.where(informative, (arm.n - 1) * observed, 0)
        df += np.where(informative, arm.n - 1, 0)
    return total / np.maximum(df, 1), df


def _study_prior(study: list[_Arm]) -> tuple[float, float]:
    """Return variance and df from the replicates of the whole study, for contrasts that have too few of their own."""
    parts = [_own_variance(Scale(arm.drift), [arm]) for arm in study]
    if not parts:
        return 1.0, 0.0
    ratio, df = (np.concatenate(column) for column in zip(*parts, strict=True))
    prior, df0 = moderate(ratio, df=df)
    return prior, min(df0, float(len(ratio)))


def _shift(treated: Floats, control: Floats, usable: np.ndarray, pooled: Floats) -> float:
    """Log2 change of the typical clone: the median over the middle half, by abundance, of the clones tested."""
    if usable.sum() < 10:
        return 0.0
    low, high = np.quantile(pooled[usable], [0.25, 0.75])
    middle = usable & (pooled >= low) & (pooled <= high)
    with np.errstate(divide="ignore"):
        ratios = np.clip(np.log2(treated[middle] / control[middle]), -20, 20)
    shift = float(np.median(ratios))
    # the standard error of a median, from its order statistics; a shift within two of them is taken as none
    step = 0.5 / np.sqrt(len(ratios))
    noise = float(np.diff(np.quantile(ratios, [0.5 - step, 0.5 + step]))[0] / 2)
    return shift if abs(shift) > 2 * noise else 0.0


def _effects(
    frame: pd.DataFrame,
    scale: Scale,
    arms: tuple[_Arm, _Arm],
    tested: np.ndarray,
    difference: Floats,
    width: Floats,
    shift: float,
) -> None:
    t, c = arms
    floor_t, floor_c = (_floor(arm) for arm in arms)
    center = (scale.forward(t.freq).mean(axis=0) + scale.forward(c.freq).mean(axis=0)) / 2

    def ends(delta: Floats) -> tuple[Floats, Floats]:
        return scale.backward(center + delta / 2), scale.backward(center - delta / 2)

    def fold(top: Floats, bottom: Floats) -> Floats:
        return np.asarray(np.log2(np.maximum(top, floor_t)) - np.log2(np.maximum(bottom, floor_c)))

    estimate = fold(t.mean, c.mean)
    # a detection limit above what was seen on the other side is no change the other way
    estimate = np.where(np.sign(difference) * estimate > 0, estimate, 0.0)
    least, most = ends(difference - width), ends(difference + width)
    frame["log2fc"] = estimate
    low, high = np.minimum(fold(*least), estimate), np.maximum(fold(*most), estimate)
    # an end beyond a detection limit is open, unless p says that the change has a sign
    low = np.where(difference > width, np.maximum(low, 0), np.where(least[0] < floor_t, -np.inf, low))
    high = np.where(difference < -width, np.minimum(high, 0), np.where(most[1] < floor_c, np.inf, high))
    frame["low"], frame["high"] = np.where(tested, low, np.nan), np.where(tested, high, np.nan)
    frame["log2fc_robust"] = estimate - shift
    frame["censored"] = (t.mean < floor_t) != (c.mean < floor_c)


def _floor(arm: _Arm) -> float:
    """Return the frequency of which an arm expects three founding cells: what it can miss with 5 % probability."""
    b, c, least = arm.drift.b, arm.drift.c, arm.n / _RULE_OF_THREE
    return float((2 * b / (np.sqrt(c**2 + 4 * b * least) - c)) ** 2)


def _call(
    frame: pd.DataFrame, tested: np.ndarray, agree: np.ndarray, rises: np.ndarray, *, alpha: float, min_fold: float
) -> None:
    call = np.full(len(frame), "none", dtype=object)
    bound = np.log2(min_fold)
    significant = (frame["q"] <= alpha).to_numpy()
    up, down = (frame["high"] >= bound).to_numpy(), (frame["low"] <= -bound).to_numpy()
    call[significant & agree & rises & up] = "enriched"
    call[significant & agree & ~rises & down] = "depleted"
    call[~tested] = "cannot tell"
    small = significant & agree & (call == "none")
    frame.loc[small, "reason"] = f"changed, but by less than {min_fold:g}-fold"
    frame.loc[significant & ~agree, "reason"] = "its share and its share against the typical clone moved apart"
    frame.insert(list(frame.columns).index("reason"), "call", call)


def _limit(
    scale: Scale,
    arms: tuple[_Arm, _Arm],
    prior: Callable[[Floats], Floats],
    df: float,
    threshold: float,
    min_fold: float,
) -> tuple[float, Callable[[Floats], Floats]]:
    """Return the control frequency for ``min_fold``, and the fold for a control frequency, that are called in 80 %."""
    critical = stats.t.isf(threshold / 2, df)
    needed = optimize.brentq(lambda ncp: _power(critical, df, ncp) - _POWER, 0, 10 * critical + 50)

    def enough(frequency: Floats, fold: Floats) -> np.ndarray:
        pooled = frequency * (1 + fold) / 2
        variance = np.sum([scale.variance(pooled, drift=arm.drift) / arm.n for arm in arms], axis=0)
        cells = np.min([arm.n / arm.drift.cv2(pooled) for arm in arms], axis=0)
        stable = (scale.forward(frequency * fold) - scale.forward(frequency)) / np.sqrt(variance)
        noise = prior(pooled)
        gamma = stats.norm.isf(_gamma_p(arms, frequency * fold, frequency * np.ones_like(fold), noise=noise) / 2)
        expected = np.minimum(stable / np.sqrt(noise), gamma)
        return np.asarray((expected >= needed) & (cells >= _MIN_CELLS))

    grid = np.geomspace(1e-7, 0.5, 800)
    called = enough(grid, np.float64(min_fold) * np.ones_like(grid))
    folds = np.geomspace(1.05, 1024, 250)
    smallest = np.array([folds[np.argmax(row)] if row.any() else np.inf for row in enough(grid[:, None], folds)])
    return (
        float(grid[np.argmax(called)]) if called.any() else float("nan"),
        # the next rarer clone of the grid, so that nothing is interpolated towards infinity
        lambda frequency: smallest[np.clip(np.searchsorted(grid, frequency) - 1, 0, len(grid) - 1)],
    )


def _power(critical: float, df: float, ncp: float) -> float:
    # scipy's noncentral t loses precision at large df, where it is normal anyway
    return float(stats.nct.sf(critical, df, ncp) if df < 200 else stats.norm.sf(critical - ncp))
