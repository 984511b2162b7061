"""Place the gates of a template where the data say: at valleys, quantiles, around clouds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import anndata
import numpy as np
import pandas as pd
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks
from scipy.stats import chi2
from sklearn.covariance import MinCovDet
from sklearn.mixture import GaussianMixture

from cellprec import keys
from cellprec.cytometry.panel import find_channels, near_misses, sample_names
from cellprec.cytometry.scales.transform import estimate_transform, inverse_transform, transform
from cellprec.cytometry.threshold import find_threshold
from cellprec.errors import Problem, StudyError
from cellprec.io.template import read_template
from cellprec.notes import add_note, get_notes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData
    from numpy.typing import NDArray

    from cellprec.io.template import GateRule

_ARROW: Final = " > "
# fewer events say nothing about the shape of a density
_FEW: Final = 100
_BINS: Final = 256
_CLOUDS: Final = 6
_DRAWN: Final = 20_000


class _Placed(NamedTuple):
    inside: NDArray[np.bool_]
    how: str


class _CannotTellError(Exception):
    """The data do not say where this gate is."""


def gate(adata: AnnData, *, rules: Sequence[GateRule] | str | Path, seed: int = 0) -> None:
    """Place the gates of a template on one sample and say of every event in which it lies.

    adata: events × channels, compensated; a transformed object is gated on its own scale, a linear one on the scale
    that ``estimate_transform`` gives it, and left linear. Only events with ``obs["keep"]`` take part.
    rules: a template, read by ``cellprec.io.read_template`` or to be read from this path.

    Writes obsm["gates"] (events × gates, bool) and uns["gates"] with ``name``, ``path``, ``parent``, ``count`` and
    ``how``: the limits that were found, in linear units. A gate that the data do not place (no valley, fewer than 100
    events in its parent) is left out with all gates below it, and a note says which and why.

    Raises StudyError that names every channel which is not there.

    Sources: the minimum of a density, Malek et al. 2015 (flowDensity, doi:10.1093/bioinformatics/btu677); ellipses
    around robust clouds, Lo et al. 2008 (doi:10.1002/cyto.a.20531), here a Gaussian mixture whose cloud is fitted
    again by minimum covariance determinant (Rousseeuw and Van Driessen 1999).

    >>> from cellprec.io.template import GateRule
    >>> values = np.random.default_rng(0).normal([10.0] * 500 + [500.0] * 500, 8).astype("float32")
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> adata = anndata.AnnData(values[:, None], var=var)
    >>> gate(adata, rules=[GateRule(name="T cells", channels="CD3", method="valley")])
    >>> adata.uns["gates"]["count"].tolist()
    [500]
    """
    if isinstance(rules, str | Path):
        rules = read_template(rules)
    names = _channels(adata, rules)
    scaled = _scaled(adata)
    keep = adata.obs[keys.KEEP].to_numpy(bool) if keys.KEEP in adata.obs else np.ones(adata.n_obs, bool)
    sample = sample_names(adata)[0]
    placed: dict[str, _Placed] = {}
    paths: dict[str, str] = {}
    for rule in rules:
        if rule.parent and rule.parent not in placed:
            add_note(adata, "gates.cannot_tell", f"{rule.name}: its parent {rule.parent} has no place", sample=sample)
            continue
        inside = placed[rule.parent].inside if rule.parent else keep
        try:
            placed[rule.name] = _place(scaled, rule, [names[name] for name in rule.channels], inside, seed=seed)
        except _CannotTellError as reason:
            add_note(adata, "gates.cannot_tell", f"{rule.name}: {reason}; it was not placed", sample=sample)
            continue
        paths[rule.name] = _ARROW.join([paths[rule.parent], rule.name] if rule.parent else [rule.name])
    kept = [rule for rule in rules if rule.name in placed]
    inside = [placed[rule.name].inside for rule in kept]
    adata.obsm[keys.GATES] = np.column_stack(inside) if inside else np.zeros((adata.n_obs, 0), bool)
    adata.uns[keys.GATES] = {
        "name": np.array([rule.name for rule in kept], dtype=str),
        "path": np.array([paths[rule.name] for rule in kept], dtype=str),
        "parent": np.array([paths.get(rule.parent, "") for rule in kept], dtype=str),
        "count": np.array([int(events.sum()) for events in inside], dtype=np.int64),
        "how": np.array([placed[rule.name].how for rule in kept], dtype=str),
    }


def _channels(adata: AnnData, rules: Sequence[GateRule]) -> dict[str, str]:
    wanted = list(dict.fromkeys(name for rule in rules for name in rule.channels))
    found = find_channels(adata, names=wanted)
    problems = []
    for name in wanted:
        if name not in found:
            near = near_misses(adata, name=name)
            fix = f"Did you mean {' or '.join(near)}?" if near else "Use the names of $PnN or $PnS."
            what = f"the gating template needs {name!r}, which is no single channel or marker"
            problems.append(Problem("template.channel", what, sample=sample_names(adata)[0], fix=fix))
    if problems:
        raise StudyError(problems, what="the gating template does not fit the panel")
    return found


def _scaled(adata: AnnData) -> AnnData:
    """Return the events on a scale on which populations are hills: their own, or one made for the purpose."""
    if keys.TRANSFORM in adata.var:
        return adata
    linear = np.asarray(adata.layers.get(keys.COMPENSATED, adata.X))
    obs = adata.obs[[name for name in (keys.SAMPLE_ID, keys.KEEP) if name in adata.obs]]
    own = anndata.AnnData(linear, obs=obs, var=adata.var.copy())
    transform(own, parameters=estimate_transform(own))
    for note in get_notes(own):
        add_note(adata, note.code, note.text, count=note.count, sample=note.sample)
    return own


def _place(scaled: AnnData, rule: GateRule, names: list[str], parent: NDArray[np.bool_], *, seed: int) -> _Placed:
    values = np.asarray(scaled[:, names].X, dtype=np.float64)
    usable = parent & np.isfinite(values).all(axis=1)
    if rule.method != "fixed" and usable.sum() < _FEW:
        raise _CannotTellError(f"its parent holds {int(usable.sum())} events, fewer than {_FEW}")
    if rule.method == "ellipse":
        near = None if rule.near is None else [_onto(scaled, n, v) for n, v in zip(names, rule.near, strict=True)]
        return _ellipse(values, usable, rule, near=near, seed=seed)
    inside, told = usable.copy(), []
    for column, (name, side) in enumerate(zip(names, rule.sides, strict=True)):
        limit = _limit(scaled, rule, name, column, values[:, column], usable)
        inside &= values[:, column] >= limit if side == "above" else values[:, column] < limit
        told.append(f"{name} {'≥' if side == 'above' else '<'} {_linear(scaled, name, limit):.4g}")
    return _Placed(inside, f"{' and '.join(told)} ({rule.method})")


def _limit(
    scaled: AnnData, rule: GateRule, name: str, column: int, values: NDArray[np.float64], usable: NDArray[np.bool_]
) -> float:
    # that a method has its number was judged when the template was read
    if rule.value is not None:
        return _onto(scaled, name, rule.value[column])
    if rule.quantile is not None:
        return float(np.quantile(values[usable], rule.quantile))
    if rule.method == "valley":
        found = find_threshold(scaled, channel=name, weights=np.ones(len(values)), rows=usable)
        if found.how != "valley":
            raise _CannotTellError(f"the density of {name} has no clear valley")
        return found.value
    between = None if rule.between is None else [_onto(scaled, name, value) for value in rule.between]
    return _lowest(values[usable], between=between, name=name)


def _lowest(values: NDArray[np.float64], *, between: list[float] | None, name: str) -> float:
    """Return where the density is lowest between two values, or between its two highest hills."""
    low, high = np.quantile(values, [0.001, 0.999])
    if not high > low:
        raise _CannotTellError(f"{name} is constant")
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    # Silverman's rule for the width of the kernel, at least one bin
    spread = min(values.std(), float(np.subtract(*np.quantile(values, [0.75, 0.25]))) / 1.349) or values.std()
    width = 0.9 * spread * len(values) ** -0.2 / (edges[1] - edges[0])
    density = gaussian_filter1d(counts.astype(np.float64), max(width, 1.0), mode="constant")
    middle = (edges[:-1] + edges[1:]) / 2
    if between is None:
        hills, tall = find_peaks(np.r_[0, density, 0], height=0)
        if len(hills) < 2:
            raise _CannotTellError(f"the density of {name} has one hill only")
        first, last = sorted((hills - 1)[np.argsort(tall["peak_heights"])[-2:]])
        window = np.arange(first, last + 1)
    else:
        window = np.flatnonzero((middle >= between[0]) & (middle <= between[1]))
        if not len(window):
            raise _CannotTellError(f"no event of {name} lies between the two values")
    lowest = density[window].min()
    # a flat floor has many lowest places: its middle is farthest from either hill
    return float(np.median(middle[window][density[window] <= lowest * (1 + 1e-9)]))


def _ellipse(
    values: NDArray[np.float64], usable: NDArray[np.bool_], rule: GateRule, *, near: list[float] | None, seed: int
) -> _Placed:
    rows = np.flatnonzero(usable)
    rng = np.random.default_rng(seed)
    drawn = values[rows if len(rows) <= _DRAWN else rng.choice(rows, _DRAWN, replace=False)]
    center, spread = np.median(drawn, axis=0), drawn.std(axis=0)
    if not (spread > 0).all():
        raise _CannotTellError(f"{rule.channels[int(np.argmin(spread))]} is constant")
    drawn = (drawn - center) / spread
    most = min(_CLOUDS, len(drawn) // _FEW)
    fits = [GaussianMixture(k, n_init=2, random_state=seed, reg_covar=1e-4).fit(drawn) for k in range(1, most + 1)]
    best = min(fits, key=lambda fit: fit.bic(drawn))
    if near is None:
        chosen = int(np.argmax(best.weights_))
    else:
        chosen = int(best.predict((np.array(near)[None, :] - center) / spread)[0])
    cloud = drawn[best.predict(drawn) == chosen]
    if len(cloud) < _FEW:
        raise _CannotTellError(f"the cloud holds {len(cloud)} events, fewer than {_FEW}")
    # what other clouds lend to the edges of this one must not widen it
    fitted = MinCovDet(random_state=seed).fit(cloud)
    inside = usable.copy()
    inside[rows] = fitted.mahalanobis((values[rows] - center) / spread) <= chi2.ppf(rule.share, df=2)
    return _Placed(inside, f"{rule.share:.0%} of a cloud on {' × '.join(rule.channels)} ({rule.method})")


def _onto(scaled: AnnData, name: str, value: float) -> float:
    """Bring one linear value onto the scale of a channel."""
    one = _single(scaled, name, value)
    if keys.TRANSFORM in one.var:
        parameters = pd.DataFrame(
            {
                column.removeprefix(f"{keys.TRANSFORM}_"): one.var[column]
                for column in one.var
                if column.startswith(keys.TRANSFORM)
            }
        )
        del one.var[keys.TRANSFORM]
        transform(one, parameters=parameters)
    return float(np.asarray(one.X)[0, 0])


def _linear(scaled: AnnData, name: str, value: float) -> float:
    one = _single(scaled, name, value)
    return float(inverse_transform(one)[0, 0]) if keys.TRANSFORM in one.var else value


def _single(scaled: AnnData, name: str, value: float) -> AnnData:
    return anndata.AnnData(np.array([[value]], np.float32), var=scaled.var.loc[[name]].copy())
