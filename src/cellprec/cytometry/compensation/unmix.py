"""Turn the detectors of a spectral cytometer into the amount of each dye."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.optimize import nnls

from cellprec import keys
from cellprec.cytometry.compensation.detectors import channel_names, detector_names, is_saturated
from cellprec.cytometry.compensation.nnls import nonnegative_least_squares
from cellprec.cytometry.compensation.spectra import AUTOFLUORESCENCE, is_autofluorescence, spectra_pairs
from cellprec.cytometry.panel import sample_names
from cellprec.errors import InputError, UsageError
from cellprec.io.fcs.linear import require_linear
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

METHODS: Final = ("ols", "weighted", "nnls")

_ROWS: Final = 20_000
_WORST_CONDITION: Final = 1e4
_LEARN: Final = 20_000
_BINS: Final = 20
_FEW: Final = 200
# an event this many times above the dim ones whose fit misses this part of its light is poorly explained
_BRIGHT: Final = 20.0
_POOR: Final = 0.10
_MANY: Final = 0.01
# spectra that explain less than half the light of most bright events are those of other dyes
_WRONG: Final = 0.5
# share of its own noise that a detector must keep after the fit to tell how much that is
_SPARE: Final = 0.05
# floor of the noise of any detector, in parts of what is usual
_LEAST: Final = 1e-3
_BLOCK: Final = 4_000_000


class _Plan(NamedTuple):
    detectors: list[str]
    values: NDArray[np.float32]
    dyes: list[str]
    own: list[str]
    # dyes (and one color of autofluorescence) × detectors, one matrix per color
    mixes: list[NDArray[np.float64]]
    condition: float


class _Noise(NamedTuple):
    gain: NDArray[np.float64]
    floor: NDArray[np.float64]


def unmix(
    adata: AnnData,
    *,
    spectra: pd.DataFrame,
    method: Literal["ols", "weighted", "nnls"] = "weighted",
    autofluorescence: Literal["best", "all"] = "best",
    markers: Mapping[str, str] | None = None,
) -> AnnData:
    """Find how much of each dye every event carries, from the light of all detectors.

    adata: events × channels, linear, as read (``layers["raw"]`` where it is there). spectra: dyes × detectors as
    ``reference_spectra`` gives them. method: ``ols`` (least squares), ``weighted`` (least squares with the noise of
    each value: a floor and a part that grows with the light, both learned from the residuals) or ``nnls`` (least
    squares, no amount below zero). autofluorescence: of rows ``AF1``, ``AF2`` … each event takes the one that fits
    ``best``, or ``all`` are components as dyes are. markers: what each dye stains.

    Returns events × (dyes, ``AF``, and all channels that are no detector, such as scatter and time). X and
    ``layers["compensated"]``: amounts in units of the dye's brightest detector (float32); obs as it was, with
    ``unmixing_residual`` (length of what is not explained over length of the signal) and, for several,
    ``autofluorescence``; var: ``channel``, ``marker``, ``kind``, ``range`` (of the brightest detector);
    varm["spectra"]; uns["unmixing"]: method, detectors, condition number, learned noise. Saturated events and poor
    fits are notes.

    Raises InputError for detectors that the file lacks, for spectra that cannot be told apart, and for events that are
    unmixed or compensated already, or mostly unexplained by the spectra; UsageError for an unknown method.
    Source: Novo, Grégori and Rajwa 2013, Cytometry A 83A:508.

    >>> import anndata, numpy as np, pandas as pd
    >>> names = ["B1-A", "B2-A", "B3-A"]
    >>> var = pd.DataFrame({"channel": names, "kind": "fluorescence"}, index=names)
    >>> adata = anndata.AnnData(np.array([[100, 70, 10], [0, 50, 25]], dtype="float32"), var=var)
    >>> spectra = pd.DataFrame([[1, 0.5, 0], [0, 1, 0.5]], index=["FITC", "PE"], columns=names)
    >>> unmixed = unmix(adata, spectra=spectra, method="ols", markers={"FITC": "CD3"})
    >>> list(unmixed.var_names), (unmixed.X.round(3) + 0).tolist()
    (['CD3', 'PE'], [[100.0, 20.0], [0.0, 50.0]])
    """
    if method not in METHODS:
        raise UsageError(f"there is no unmixing method {method!r}", fix=f"one of {', '.join(METHODS)}")
    if autofluorescence not in ("best", "all"):
        raise UsageError(f"autofluorescence cannot be {autofluorescence!r}", fix="best or all")
    require_linear(adata, where=_where(adata))
    plan = _plan(adata, spectra=spectra, alternatives=autofluorescence == "best")
    noise = _learn_noise(plan) if method == "weighted" else None
    n = adata.n_obs
    amounts = np.empty((n, len(plan.dyes)), dtype=np.float32)
    residual, length, color = np.empty(n), np.empty(n), np.zeros(n, dtype=np.int64)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        block = plan.values[rows].astype(np.float64)
        color[rows] = _best_color(block, plan=plan)
        found, missed = _unmix_block(block, color=color[rows], plan=plan, method=method, noise=noise)
        amounts[rows], residual[rows] = found, np.linalg.norm(missed, axis=1)
        length[rows] = np.linalg.norm(block, axis=1)
    unmixed = _assemble(adata, plan=plan, amounts=amounts, markers=markers or {})
    relative = np.divide(residual, length, out=np.zeros(n), where=length > 0)
    unmixed.obs[keys.UNMIXING_RESIDUAL] = relative.astype(np.float32)
    if len(plan.own) > 1:
        unmixed.obs["autofluorescence"] = pd.Categorical(np.array(plan.own)[color], categories=plan.own)
    unmixed.uns[keys.UNMIXING] = {
        "method": method,
        "detectors": np.array(plan.detectors),
        "condition": plan.condition,
        **({"noise_gain": noise.gain, "noise_floor": noise.floor} if noise is not None else {}),
    }
    for note in spectra.attrs.get("notes", []):
        add_note(unmixed, note["code"], note["text"], count=note["count"], sample=note["sample"])
    apart = [name for name in detector_names(adata) if name not in plan.detectors]
    if apart:
        some = ", ".join(apart[:5]) + (" ..." if len(apart) > 5 else "")
        text = f"the spectra do not know {len(apart)} detectors of the file ({some}): their light was left out"
        add_note(unmixed, "unmix.detectors", text, count=len(apart), sample=_sample(adata))
    saturated = int(is_saturated(adata, detectors=plan.detectors, values=plan.values).sum())
    if saturated:
        text = "events have a saturated detector: all their amounts are uncertain"
        add_note(unmixed, "unmix.saturated", text, count=saturated, sample=_sample(adata))
    _judge_fit(unmixed, residual=residual, relative=relative, length=length)
    return unmixed


def _plan(adata: AnnData, *, spectra: pd.DataFrame, alternatives: bool) -> _Plan:
    channels = channel_names(adata)
    detectors = [str(name) for name in spectra.columns]
    names = [str(name) for name in spectra.index]
    where = _where(adata)
    missing = [name for name in detectors if channels.count(name) != 1]
    if missing:
        raise InputError(
            f"the file has no detector {', '.join(missing[:5])}",
            where=where,
            why="the spectra were measured by it, and light that is not counted would be given to the wrong dye",
            fix="give the raw file of the same instrument and configuration as the controls",
        )
    if len(set(names)) < len(names) or len(set(detectors)) < len(detectors) or not names:
        raise InputError("the spectra need one row per dye and one column per detector", where=where)
    values = spectra.to_numpy(dtype=np.float64)
    if not np.isfinite(values).all() or (values.max(axis=1) <= 0).any():
        raise InputError("the spectra hold missing values or a dye without light", where=where)
    if not set(detectors) & set(detector_names(adata)):
        raise InputError("the channels of the spectra are no detectors of light", where=where)
    if keys.COMPENSATED in adata.layers and not np.array_equal(
        adata.layers[keys.COMPENSATED], adata.layers.get(keys.RAW, adata.X)
    ):
        raise InputError("the events are compensated already", where=where, fix="unmix the raw events instead")
    held = np.asarray(adata.layers.get(keys.RAW, adata.X))[:, [channels.index(name) for name in detectors]]
    own = [name for name in names if alternatives and is_autofluorescence(name)]
    dyes = [name for name in names if name not in own]
    stained = values[[names.index(name) for name in dyes]]
    mixes = [np.vstack([stained, values[[names.index(name)]]]) for name in own] or [stained]
    condition = max(float(np.linalg.cond(mix)) if len(mix) <= len(detectors) else np.inf for mix in mixes)
    if not condition < _WORST_CONDITION:
        pair = spectra_pairs(spectra).iloc[0]
        raise InputError(
            f"the spectra cannot be told apart safely (condition number {condition:.3g})",
            where=where,
            why=f"{pair['dye']} and {pair['other']} look most alike (cosine {pair['cosine']:.4f})",
            fix="leave one of them out, or measure its control again",
        )
    return _Plan(detectors, held, dyes + ([AUTOFLUORESCENCE] if own else []), own, mixes, condition)


def _best_color(block: NDArray[np.float64], *, plan: _Plan) -> NDArray[np.int64]:
    """Which color of autofluorescence leaves the least of each event unexplained."""
    if len(plan.mixes) == 1:
        return np.zeros(len(block), dtype=np.int64)
    left = [((block - block @ np.linalg.pinv(mix) @ mix) ** 2).sum(axis=1) for mix in plan.mixes]
    return np.asarray(np.argmin(left, axis=0), dtype=np.int64)


def _unmix_block(
    block: NDArray[np.float64], *, color: NDArray[np.int64], plan: _Plan, method: str, noise: _Noise | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The amounts of each event, and what they leave unexplained in each detector."""
    amounts, missed = np.empty((len(block), len(plan.dyes))), np.empty(block.shape)
    for i, mix in enumerate(plan.mixes):
        rows = np.flatnonzero(color == i)
        values = block[rows]
        found = nonnegative_least_squares(values, spectra=mix) if method == "nnls" else values @ np.linalg.pinv(mix)
        if noise is not None:
            found = _weighted(values, mix=mix, start=found, noise=noise)
        amounts[rows], missed[rows] = found, values - found @ mix
    return amounts, missed


def _weighted(
    values: NDArray[np.float64], *, mix: NDArray[np.float64], start: NDArray[np.float64], noise: _Noise
) -> NDArray[np.float64]:
    """Least squares in which each detector of each event counts by its variance.

    The variance is that of the fitted light: of the measured light it would favor what noise made small.
    """
    k = len(mix)
    squares = (mix[:, None, :] * mix[None, :, :]).reshape(k * k, -1).T
    found = np.empty(start.shape)
    step = max(1, _BLOCK // (k * k))
    for first in range(0, len(values), step):
        rows = slice(first, first + step)
        light = np.maximum(start[rows], 0.0) @ np.maximum(mix, 0.0)
        weight = 1.0 / (noise.gain * light + noise.floor)
        gram = (weight @ squares).reshape(-1, k, k)
        right = (weight * values[rows]) @ mix.T
        found[rows] = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
    return found


def _learn_noise(plan: _Plan) -> _Noise:
    """The noise of each detector, a floor and a part per light, from what an unweighted fit leaves unexplained."""
    n_detectors = len(plan.detectors)
    flat = _Noise(np.zeros(n_detectors), np.ones(n_detectors))
    spare = np.eye(n_detectors) - np.linalg.pinv(plan.mixes[0]) @ plan.mixes[0]
    free = np.diag(spare)
    usable = free > _SPARE
    if len(plan.values) < _FEW or not usable.any():
        return flat
    # evenly over the file: what it holds may change with time
    rows = np.unique(np.linspace(0, len(plan.values) - 1, _LEARN).astype(np.int64))
    values = plan.values[rows].astype(np.float64)
    values = values[np.isfinite(values).all(axis=1)]
    if len(values) < _FEW:
        return flat
    color = _best_color(values, plan=plan)
    amounts, missed = _unmix_block(values, color=color, plan=plan, method="ols", noise=None)
    light = np.zeros(values.shape)
    for i, mix in enumerate(plan.mixes):
        light[color == i] = np.maximum(amounts[color == i], 0.0) @ np.maximum(mix, 0.0)
    # the fit spreads the noise of each detector over the others: E[missed²] = spare² @ variance
    shared = light @ spare**2 / np.maximum(free, _SPARE)
    found = np.full((n_detectors, 2), np.nan)
    for j in np.flatnonzero(usable):
        found[j] = _line(shared[:, j], missed[:, j] ** 2 / free[j])
    found = np.where(np.isfinite(found), found, np.nanmedian(found, axis=0))
    level = float(np.median(found @ [float(light.mean()), 1.0]))
    if not level > 0:
        return flat
    # no detector is without noise
    return _Noise(found[:, 0], np.maximum(found[:, 1], _LEAST * level))


def _line(light: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Slope and intercept, none below zero, of the mean variance on the light, each group of events equally sure."""
    order = np.argsort(light, kind="stable")
    groups = [group for group in np.array_split(order, _BINS) if len(group)]
    x = np.array([light[group].mean() for group in groups])
    # without the largest percent: events that the spectra do not explain
    y = np.array([variance[group][variance[group] <= np.quantile(variance[group], 0.99)].mean() for group in groups])
    if not y.max() > 0:
        return np.zeros(2)
    sure = 1 / np.maximum(y, 1e-12 * max(float(y.max()), 1e-300))
    scale = max(float(x.max()), 1e-300)
    slope, floor = nnls(np.column_stack([x / scale, np.ones(len(x))]) * sure[:, None], y * sure)[0]
    return np.array([slope / scale, floor])


def _assemble(adata: AnnData, *, plan: _Plan, amounts: NDArray[np.float32], markers: Mapping[str, str]) -> AnnData:
    unknown = [dye for dye in markers if dye not in plan.dyes]
    if unknown:
        fix = f"the spectra hold {', '.join(plan.dyes)}"
        raise InputError(f"a marker is given for {', '.join(unknown[:5])}, which was not unmixed", fix=fix)
    channels = channel_names(adata)
    others = [i for i, kind in enumerate(_kinds(adata)) if kind != "fluorescence" and channels[i] not in plan.detectors]
    held = np.asarray(adata.layers.get(keys.RAW, adata.X), dtype=np.float32)[:, others]
    labels = [str(markers.get(dye, "")) for dye in plan.dyes]
    own_markers = adata.var[keys.MARKER].astype(str).tolist() if keys.MARKER in adata.var else [""] * adata.n_vars
    top = adata.var[keys.RANGE].to_numpy(dtype=np.float64) if keys.RANGE in adata.var else np.full(adata.n_vars, np.nan)
    brightest = [channels.index(plan.detectors[int(np.argmax(row))]) for row in plan.mixes[0]]
    names = _unique([label or dye for label, dye in zip(labels, plan.dyes, strict=True)], plan.dyes)
    var = pd.DataFrame(
        {
            keys.CHANNEL: plan.dyes + [channels[i] for i in others],
            keys.MARKER: labels + [own_markers[i] for i in others],
            keys.KIND: pd.Categorical(["fluorescence"] * len(plan.dyes) + [_kinds(adata)[i] for i in others]),
            keys.RANGE: np.concatenate([top[brightest], top[others]]),
        },
        index=pd.Index(names + [str(adata.var_names[i]) for i in others], dtype=object),
    )
    clashing = var.index[var.index.duplicated()]
    if len(clashing):
        raise InputError(f"a dye is called like another channel of the file: {clashing[0]}", where=_where(adata))
    values = np.hstack([amounts, held])
    # what is known of the events stays with them; what is known of the detectors does not
    kept = ("fcs", keys.UNS, keys.DROP_REASONS, keys.ACQUISITION)
    uns = {key: copy.deepcopy(value) for key, value in adata.uns.items() if key in kept}
    obsm = {keys.DROP_REASONS: adata.obsm[keys.DROP_REASONS]} if keys.DROP_REASONS in adata.obsm else {}
    unmixed = AnnData(values, obs=adata.obs.copy(), var=var, uns=uns, obsm=obsm)
    unmixed.layers[keys.COMPENSATED] = values.copy()
    colors = np.zeros((len(var), len(plan.detectors)))
    colors[: len(plan.dyes)] = plan.mixes[0]
    unmixed.varm[keys.SPECTRA] = colors
    return unmixed


def _unique(names: list[str], dyes: list[str]) -> list[str]:
    return [name if names.count(name) == 1 else dye for name, dye in zip(names, dyes, strict=True)]


def _judge_fit(
    unmixed: AnnData, *, residual: NDArray[np.float64], relative: NDArray[np.float64], length: NDArray[np.float64]
) -> None:
    finite = np.isfinite(residual)
    if int(finite.sum()) < _FEW:
        return
    dim = finite & (length <= np.quantile(length[finite], 0.1))
    bright = finite & (length > _BRIGHT * np.median(residual[dim]))
    if bright.any() and np.median(relative[bright]) > _WRONG:
        raise InputError(
            f"the spectra leave {np.median(relative[bright]):.0%} of the light of bright events unexplained",
            where=_where(unmixed),
            why="they are the spectra of other dyes, or of another instrument or its settings",
            fix="give the single-stained controls of this panel, measured on the same day",
        )
    poor = int((bright & (relative > _POOR)).sum())
    if poor > _MANY * max(int(bright.sum()), 1):
        share = f"{poor / int(bright.sum()):.1%}"
        text = f"{share} of the bright events are poorly explained by the spectra (over {_POOR:.0%} of their light)"
        add_note(unmixed, "unmix.poor_fit", text, count=poor, sample=_sample(unmixed))


def _kinds(adata: AnnData) -> list[str]:
    return adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["fluorescence"] * adata.n_vars


def _sample(adata: AnnData) -> str:
    names = sample_names(adata)
    return names[0] if len(names) == 1 else ""


def _where(adata: AnnData) -> str:
    return f"sample {_sample(adata)}" if _sample(adata) else ""
