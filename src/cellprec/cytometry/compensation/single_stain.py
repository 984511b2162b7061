"""Single-stained controls: which dye each holds, its positive events, and the background they stand on."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from cellprec import keys
from cellprec.cytometry.panel import find_channels
from cellprec.errors import Problem, StudyError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

Background = Literal["own negatives", "unstained", "none"]

# area, height and width of a pulse: of detectors with several, the one that most detectors have
_PULSES: Final = ("-A", "-H", "-W")
_PULSE: Final = re.compile(r"-[AHW]$")
_BINS: Final = 128
_SMOOTH: Final = 3.0
_NORMAL: Final = 1.4826
# a valley between negatives and positives: half as high as both hills, sure against counting noise
_DEPTH: Final = 2.0
_DEVIATIONS: Final = 3.0
_SHARE: Final = 0.05
_RARE: Final = 0.01
_FEW: Final = 100
# scatter of one kind of particle: within so many deviations; a mean further off than this is another kind
_CORE: Final = 3.0
_SHIFT: Final = 1.5
_TIGHT: Final = 4.0
_BRIGHT: Final = 0.95
_AMBIGUOUS: Final = 0.8
_SPREADS: Final = 2.0
_SATURATED: Final = 0.5
_PILE: Final = 3


@dataclass(frozen=True, eq=False)
class SingleStain:
    """One control, its events split: ``positive`` and ``negative`` are events × detectors, linear, as measured."""

    name: str
    channel: str
    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    background: Background
    saturated: int = 0


def split_controls(
    controls: Mapping[str, AnnData], *, unstained: AnnData | None = None, channels: Sequence[str] | None = None
) -> tuple[list[str], list[SingleStain], list[str]]:
    """Find the dye, the positive events and the background of every single-stained control.

    controls: events × channels by the name of their channel ($PnN or $PnS, ``PE`` finds ``PE-A``); a name that is no
    channel (of a file, say) is given the channel in which its bright events exceed the background most.
    unstained: the same particles without a dye. channels: those that must have a control.

    Dropped events, those at the end of a detector and those not finite are left out. Positives are those above the
    deepest valley of the stained channel, all of them where there is none; of these, the core in forward and side
    scatter. The background is the negatives of the same control; where it has none, the unstained of the same scatter;
    else none.

    Returns the detectors ($PnN, in the order of the file), the controls in that order, and sentences on what the
    reader must know. Raises StudyError with all problems at once.

    >>> import anndata, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> var = pd.DataFrame({"channel": ["FITC-A", "PE-A"], "kind": "fluorescence"}, index=["FITC-A", "PE-A"])
    >>> blank = anndata.AnnData(rng.normal(10, 2, (500, 2)).astype("float32"), var=var)
    >>> dyes = [[900.0, 100.0], [20.0, 800.0]]
    >>> stains = {f"{i}.fcs": anndata.AnnData(rng.normal(dye, 50, (500, 2)), var=var) for i, dye in enumerate(dyes)}
    >>> names, found, notes = split_controls(stains, unstained=blank)
    >>> names, [(stain.name, stain.channel, stain.background) for stain in found]
    (['FITC-A', 'PE-A'], [('0.fcs', 'FITC-A', 'unstained'), ('1.fcs', 'PE-A', 'unstained')])
    """
    if not isinstance(controls, Mapping):
        raise UsageError("the controls need names", fix="give a mapping: {'PE-A': events of the PE control, ...}")
    controls = {name: _kept(adata) for name, adata in controls.items()}
    unstained = None if unstained is None else _kept(unstained)
    problems = _unfit(controls, unstained)
    _raise(problems)
    given = {name: _named(adata, name) for name, adata in controls.items()}
    measured = _measured(next(iter(controls.values())), named=[channel for channel in given.values() if channel])
    blank = None if unstained is None else _linear(unstained, measured)
    notes: list[str] = []
    for name, channel in given.items():
        if channel is None:
            found, problem = _brightest(name, _linear(controls[name], measured), names=measured, blank=blank)
            given[name] = found
            if problem:
                problems.append(problem)
            else:
                notes.append(f"{name} is brightest in {found}: it was taken for the control of that channel")
    problems += _coverage(given, channels, measured)
    _raise(problems)
    used = [channel for channel in measured if channel in given.values()]
    stains = []
    for name, channel in sorted(given.items(), key=lambda item: used.index(str(item[1]))):
        stain = split_control(controls[name], unstained=unstained, name=name, channel=str(channel), used=used)
        problems += _judge(stain, used=used, unstained=unstained)
        stains.append(stain)
    _raise(problems)
    left = [channel for channel in measured if channel not in used and not channel.endswith(("-H", "-W"))]
    if left:
        notes.append(f"no control was given for {', '.join(left)}: outside the matrix")
    return used, stains, notes


def _kept(adata: AnnData) -> AnnData:
    return adata[adata.obs[keys.KEEP].to_numpy(dtype=bool)] if keys.KEEP in adata.obs else adata


def _raise(problems: list[Problem]) -> None:
    if problems:
        what = f"the compensation controls have {len(problems)} problem{'s' * (len(problems) != 1)}"
        raise StudyError(problems, what=what)


def _unfit(controls: Mapping[str, AnnData], unstained: AnnData | None) -> list[Problem]:
    if not controls:
        return [Problem("compensation.none", "there is no single-stained control", fix="give one per dye")]
    problems = []
    files = dict(controls) | ({} if unstained is None else {"unstained": unstained})
    panel = _labels(next(iter(controls.values())))
    for name, adata in files.items():
        kinds = adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["fluorescence"]
        if "fluorescence" not in kinds:
            fix = "spillover of mass channels is another matter: use the tools for mass cytometry"
            problems.append(Problem("compensation.kind", "it has no fluorescence channel", sample=name, fix=fix))
        elif keys.TRANSFORM in adata.var and keys.RAW not in adata.layers:
            fix = "give the events as they were read"
            problems.append(Problem("compensation.transformed", "it is transformed", sample=name, fix=fix))
        elif sorted(_labels(adata)) != sorted(panel):
            apart = sorted(set(panel) ^ set(_labels(adata)))
            what = f"its channels are not those of the first control: {', '.join(apart[:5])}"
            problems.append(Problem("compensation.panel", what, sample=name, fix="record all controls with one setup"))
        elif adata.n_obs < _FEW:
            what = f"it holds {adata.n_obs} events, at least {_FEW} are needed"
            problems.append(Problem("compensation.few", what, sample=name, fix="record the control again"))
    return problems


def _labels(adata: AnnData) -> list[str]:
    return adata.var[keys.CHANNEL].astype(str).tolist() if keys.CHANNEL in adata.var else list(adata.var_names)


def _named(adata: AnnData, name: str) -> str | None:
    labels = _labels(adata)
    for wanted in (name, f"{name}-A", f"{name}-H"):
        if wanted in labels:
            return wanted
    found = find_channels(adata, names=[name]).get(name)
    return None if found is None else labels[int(adata.var_names.get_loc(found))]


def _measured(adata: AnnData, *, named: Sequence[str]) -> list[str]:
    """Return the fluorescence channels: of each detector the pulse that the controls name, else the usual one."""
    kinds = adata.var[keys.KIND].astype(str) if keys.KIND in adata.var else ["fluorescence"] * adata.n_vars
    labels = [label for label, kind in zip(_labels(adata), kinds, strict=True) if kind == "fluorescence"]
    times = Counter(label[-2:] for label in labels)
    usual = sorted(_PULSES, key=lambda end: -times[end])
    bases = {_PULSE.sub("", name) for name in named}
    chosen = []
    for label in labels:
        base = _PULSE.sub("", label)
        first = next((base + end for end in usual if base + end in labels), label)
        if label in named or (base not in bases and label in (first, base)):
            chosen.append(label)
    return chosen


def _linear(adata: AnnData, names: Sequence[str]) -> NDArray[np.float64]:
    labels = _labels(adata)
    held = adata.layers.get(keys.RAW, adata.X)
    return np.asarray(held)[:, [labels.index(name) for name in names]].astype(np.float64)


def _brightest(
    name: str, values: NDArray[np.float64], *, names: Sequence[str], blank: NDArray[np.float64] | None
) -> tuple[str | None, Problem | None]:
    low = np.nanquantile(values, 1 - _BRIGHT, axis=0) if blank is None else np.nanmedian(blank, axis=0)
    above = np.nanquantile(values, _BRIGHT, axis=0) - low
    order = np.argsort(-above)
    if len(order) > 1 and above[order[1]] > _AMBIGUOUS * above[order[0]]:
        what = f"it is no channel, and {names[order[0]]} and {names[order[1]]} are about equally bright in it"
        fix = "name the control after its channel"
        return None, Problem("compensation.ambiguous", what, sample=name, fix=fix)
    return names[order[0]], None


def _coverage(
    given: Mapping[str, str | None], channels: Sequence[str] | None, measured: Sequence[str]
) -> list[Problem]:
    problems = []
    for channel, times in Counter(channel for channel in given.values() if channel).items():
        if times > 1:
            names = ", ".join(name for name, other in given.items() if other == channel)
            what = f"{channel} has {times} controls: {names}"
            problems.append(Problem("compensation.twice", what, fix="give one control per channel"))
        if channel not in measured:
            what = f"{channel} is no fluorescence channel"
            problems.append(Problem("compensation.kind", what, fix="name the control after a detector of light"))
    for channel in channels or ():
        if channel not in given.values() and None not in given.values():
            what = f"{channel} has no control"
            problems.append(Problem("compensation.missing", what, fix="record one, or leave the channel out"))
    return problems


def split_control(
    adata: AnnData, *, unstained: AnnData | None, name: str, channel: str, used: Sequence[str]
) -> SingleStain:
    """Split one control into positive and background events, as ``split_controls`` says.

    channel: the $PnN of the stained channel. used: the detectors to return, that channel among them.

    >>> import anndata, pandas as pd
    >>> var = pd.DataFrame({"channel": ["PE-A"], "kind": "fluorescence"}, index=["PE-A"])
    >>> light = np.random.default_rng(0).normal([10.0] * 300 + [900.0] * 300, 5)[:, None]
    >>> stain = split_control(anndata.AnnData(light, var=var), unstained=None, name="c", channel="PE-A", used=["PE-A"])
    >>> len(stain.positive), len(stain.negative), stain.background
    (300, 300, 'own negatives')
    """
    values, scatter = _linear(adata, used), _scatter(adata)
    whole = ~_saturated(values) & np.isfinite(values).all(axis=1)
    n_saturated = int((~whole).sum())
    values, scatter = values[whole], scatter[whole]
    blank = blank_scatter = None
    if unstained is not None:
        blank, blank_scatter = _linear(unstained, used), _scatter(unstained)
        fine = ~_saturated(blank) & np.isfinite(blank).all(axis=1)
        blank, blank_scatter = (blank[fine], blank_scatter[fine]) if fine.any() else (None, None)
    own = used.index(channel)
    cut = find_valley(values[:, own], blank=None if blank is None else blank[:, own])
    bright = values[:, own] > cut
    middle, spread = _core(scatter[bright])
    inside = _within(scatter, middle, spread)
    positive = values[bright & inside]
    negative = values[~bright & inside]
    if len(negative) >= max(_FEW, _SHARE * len(positive)):
        return SingleStain(name, channel, positive, negative, "own negatives", n_saturated)
    if blank is not None and blank_scatter is not None:
        alike = _within(blank_scatter, middle, spread)
        if _same_kind(blank_scatter, alike, middle, spread):
            return SingleStain(name, channel, positive, blank[alike], "unstained", n_saturated)
    return SingleStain(name, channel, positive, values[:0], "none", n_saturated)


def _scatter(adata: AnnData) -> NDArray[np.float64]:
    """Return forward and side scatter, the area where it is there; no column where there is none."""
    labels = _labels(adata)
    chosen = []
    for kind in ("FSC", "SSC", "FS", "SS"):
        for end in ("-A", "-H", ""):
            if f"{kind}{end}" in labels:
                chosen.append(f"{kind}{end}")
                break
    return _linear(adata, chosen)


def _core(scatter: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if not len(scatter):
        return np.zeros(scatter.shape[1]), np.full(scatter.shape[1], np.inf)
    middle = np.median(scatter, axis=0)
    spread = _NORMAL * np.median(np.abs(scatter - middle), axis=0)
    return middle, np.where(spread > 0, spread, np.inf)


def _within(
    scatter: NDArray[np.float64], middle: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.bool_]:
    return np.asarray((np.abs(scatter - middle) <= _CORE * spread).all(axis=1))


def _same_kind(
    scatter: NDArray[np.float64],
    alike: NDArray[np.bool_],
    middle: NDArray[np.float64],
    spread: NDArray[np.float64],
) -> bool:
    """Tell whether the unstained hold the particles of the control: beads among cells are off center, or tighter."""
    if alike.sum() < max(_FEW, _SHARE * len(scatter)):
        return False
    center, width = _core(scatter[alike])
    known = np.isfinite(spread) & np.isfinite(width)
    shifted = np.abs(center - middle)[known] > _SHIFT * spread[known]
    tighter = width[known] * _TIGHT < spread[known]
    return not (shifted.any() or tighter.any())


def _saturated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which events lie in the pile at the end of a detector, wherever the file says that the detector ends."""
    piled = np.zeros(len(values), dtype=bool)
    for column in values.T:
        finite = column[np.isfinite(column)]
        top = finite.max() if len(finite) else np.inf
        below = finite[finite < top]
        at_top = len(finite) - len(below)
        # on a coarse scale the highest value is met as often as the one before it, give or take
        before = int((below == below.max()).sum()) if len(below) else at_top
        if at_top >= max(3, 0.0005 * len(finite)) and at_top > _PILE * before:
            piled |= column >= top
    return piled


def find_valley(x: NDArray[np.float64], *, blank: NDArray[np.float64] | None = None) -> float:
    """Return where positives begin in a channel, minus infinity where all events are of one hill.

    x: linear light of events. blank: the same of unstained ones, which tell rare positives from dirt.

    >>> light = np.random.default_rng(0).normal([10.0] * 300 + [900.0] * 300, 5)
    >>> 20 < find_valley(light) < 880
    True
    """
    if not len(x):
        return -np.inf
    noise = np.quantile(x, 0.30) - np.quantile(x, 0.05) if blank is None else _NORMAL * _mad(blank)
    z = np.arcsinh(x / max(float(noise), 1e-9))
    low, high = np.quantile(z, [0.0005, 0.9995])
    if high <= low:
        return -np.inf
    counts, edges = np.histogram(np.clip(z, low, high), bins=_BINS, range=(low, high))
    smooth = gaussian_filter1d(counts.astype(np.float64), _SMOOTH, mode="nearest")
    hills = find_peaks(np.r_[0, smooth, 0])[0] - 1
    best, cut = 0.0, -np.inf
    for left, right in itertools.pairwise(hills):
        k = int(left + np.argmin(smooth[left : right + 1]))
        side = min(smooth[: k + 1].max(), smooth[k:].max())
        sure = (side - smooth[k]) * np.sqrt(2 * np.sqrt(np.pi) * _SMOOTH) / np.sqrt(side + smooth[k])
        above = z > edges[k + 1]
        # few bright events are the stain only where the rest looks unstained, else they are doublets or dirt
        dark = blank is not None and np.median(x[~above]) <= np.quantile(blank, 0.99)
        enough = above.mean() >= _SHARE or (dark and above.mean() >= _RARE and above.sum() >= _FEW)
        if enough and side >= _DEPTH * smooth[k] and sure >= _DEVIATIONS and side > best:
            best, cut = float(side), float(np.sinh(edges[k + 1]) * max(float(noise), 1e-9))
    return cut


def _mad(values: NDArray[np.float64]) -> float:
    return float(np.median(np.abs(values - np.median(values))))


def _judge(stain: SingleStain, *, used: Sequence[str], unstained: AnnData | None) -> list[Problem]:
    own = used.index(stain.channel)
    n = len(stain.positive)
    if stain.saturated > _SATURATED * (n + stain.saturated):
        what = f"{stain.saturated:,} of its events lie at the end of a detector, or are not finite"
        fix = "record it again with a lower voltage or a dimmer stain"
        return [Problem("compensation.saturated", what, sample=stain.name, fix=fix)]
    if n < _FEW:
        what = f"{n} stained events are left in it, at least {_FEW} are needed"
        return [Problem("compensation.few", what, sample=stain.name, fix="record the control again")]
    dark = stain.negative if len(stain.negative) else (None if unstained is None else _linear(unstained, used))
    if dark is None:
        return []
    above = np.median(stain.positive, axis=0) - np.median(dark, axis=0)
    spread = _NORMAL * _mad(dark[:, own])
    if above[own] > _SPREADS * spread:
        return []
    what = f"its events in {stain.channel} exceed the background by {above[own]:.3g}, which spreads by {spread:.3g}"
    brightest = used[int(np.argmax(above))]
    fix = "record a brighter control, or leave the channel out"
    if brightest != stain.channel and above.max() > 0:
        fix = f"it is brightest in {brightest}: was it given to the wrong channel?"
    return [Problem("compensation.dim", what, sample=stain.name, fix=fix)]
