"""Bring every channel to a scale on which cells form round clouds: logicle, biexponential, arcsinh or linear."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.panel import sample_names
from cellprec.cytometry.scales.cofactor import estimate_cofactor
from cellprec.cytometry.scales.logicle import biexponential_scale, logicle_scale
from cellprec.errors import InputError, UsageError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Callable

    from anndata import AnnData
    from numpy.typing import NDArray

Method = Literal["logicle", "biexponential", "arcsinh"]
PARAMETERS: Final = ("t", "m", "w", "a", "cofactor")
_DECADES: Final = 4.5
_DECADES_MIN: Final = 2.0
_WIDEST: Final = 2.0
# FlowJo's width basis ends at -1000
_WIDEST_BASIS: Final = 1.5
_USUAL_WIDTH: Final = 0.5
_MASS_COFACTOR: Final = 5.0
_USUAL_COFACTOR: Final = 150.0
# arcsinh(x / 5) of the largest count a mass cytometer gives is below 15; logicle and log10 stay below that too
_TRANSFORMED_MAX: Final = 15.0
_FEW: Final = 50
_WILD: Final = 10.0
_DEEP: Final = 10.0
_SAMPLES_TO_COMPARE: Final = 3
_BLOCK: Final = 1 << 14


def estimate_transform(adata: AnnData, *, method: Method | None = None, cofactor: float | None = None) -> pd.DataFrame:
    """Choose the scale of each channel from all events of the study, so that samples stay comparable.

    Returns one row per channel: ``transform`` (logicle, biexponential, arcsinh, linear, none) and its parameters
    ``t``, ``m``, ``w``, ``a`` (logicle: top of scale, decades, width of the linear zone in decades, extra negative
    decades; biexponential: FlowJo's maximum, positive decades, width basis, extra negative decades), ``t`` (linear:
    the value that becomes 1) or ``cofactor`` (arcsinh). Reads ``layers["compensated"]`` (``X`` where there is none),
    kept events only; a subsample of every sample will do where the study is too large to be held at once.

    Fluorescence is logicle with t from ``var["range"]`` and w = (m - log10(t / -r)) / 2. r is the 5th percentile of
    the negative values of a sample, and of the samples that have enough of them the median: one badly compensated
    sample does not widen the scale of all, and gets a note. Mass is arcsinh(x / 5); scatter and time are divided by
    their range.

    method: the scale of fluorescence. ``biexponential`` takes its width basis, -10^(2 w), from the same w;
    ``arcsinh`` takes for each channel the cofactor at which its populations spread alike (150, with a note, where
    that cannot be told). cofactor: a fixed one, which makes fluorescence and mass arcsinh(x / cofactor). Data that
    come transformed are left alone, with a note. UsageError for a cofactor that is not above 0 or that comes with
    another method; InputError where only some samples are transformed.
    Source: Parks, Roederer and Moore 2006, Cytometry A 69A:541; Moore and Parks 2012, Cytometry A 81A:273;
    Azad, Rajwa and Pothen 2016, BMC Bioinformatics 17:291.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["scatter", "mass"], "range": [1000.0, 500.0]}, index=["FSC-A", "CD3"])
    >>> adata = anndata.AnnData(np.array([[500, 0], [100, 400]], dtype="float32"), var=var)
    >>> estimate_transform(adata)[["transform", "t", "cofactor"]].values.tolist()
    [['linear', 1000.0, nan], ['arcsinh', nan, 5.0]]
    """
    _check_choice(method, cofactor=cofactor)
    linear = _linear(adata)
    kept = adata.obs[keys.KEEP].to_numpy(dtype=bool) if keys.KEEP in adata.obs else np.ones(adata.n_obs, dtype=bool)
    kinds = adata.var[keys.KIND].astype(str).tolist()
    done = _already_transformed(adata, linear=linear, kept=kept)
    scaled = {"fluorescence", "mass"} - (set(kinds) if done else set())
    samples = _samples(adata, kept=kept)
    rows = []
    for i, kind in enumerate(kinds):
        row: dict[str, Any] = {"transform": "none", **dict.fromkeys(PARAMETERS, np.nan)}
        if kind in ("scatter", "time"):
            row |= {"transform": "linear", "t": _top(adata, i, values=linear[kept, i])}
        elif kind in scaled and cofactor is not None:
            row |= {"transform": "arcsinh", "cofactor": float(cofactor)}
        elif kind in scaled and kind == "mass":
            row |= {"transform": "arcsinh", "cofactor": _MASS_COFACTOR}
        elif kind in scaled:
            row |= _fluorescence(adata, i, values=linear[kept, i], samples=samples, method=method or "logicle")
        rows.append(row)
    return pd.DataFrame(rows, index=adata.var_names, columns=["transform", *PARAMETERS])


def transform(adata: AnnData, *, parameters: pd.DataFrame) -> None:
    """Put every channel on the scale chosen by ``estimate_transform``.

    Writes ``X`` (float32) from ``layers["compensated"]``, and the columns ``transform``, ``transform_t``,
    ``transform_m``, ``transform_w``, ``transform_a`` and ``transform_cofactor`` of ``var``. On the logicle and the
    biexponential scale 1 is the top. Raises InputError where a channel has no parameters, UsageError where ``X`` is
    transformed already and no linear layer is left to start from.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> adata = anndata.AnnData(np.array([[0], [100]], dtype="float32"), var=var)
    >>> transform(adata, parameters=estimate_transform(adata))
    >>> adata.X.round(2).tolist()
    [[0.0], [3.69...]]
    """
    missing = [name for name in adata.var_names if name not in parameters.index]
    if missing:
        raise InputError(
            f"no transform is known for {', '.join(missing[:5])}",
            why="its values would stay on another scale than in the other samples",
            fix="estimate the transform over all samples together",
        )
    linear = _linear(adata)
    rows = parameters.loc[list(adata.var_names)]
    adata.X = _apply(linear, rows=rows, inverse=False)
    adata.var[keys.TRANSFORM] = pd.Categorical(rows["transform"].astype(str))
    for name in PARAMETERS:
        adata.var[f"{keys.TRANSFORM}_{name}"] = rows[name].to_numpy(dtype=np.float64)


def inverse_transform(adata: AnnData) -> NDArray[np.float32]:
    """Return the values of ``X`` on the linear scale of the instrument, events × channels.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"kind": ["mass"]}, index=["CD3"])
    >>> adata = anndata.AnnData(np.array([[0], [100]], dtype="float32"), var=var)
    >>> transform(adata, parameters=estimate_transform(adata))
    >>> inverse_transform(adata).round(3).tolist()
    [[0.0], [100.0]]
    """
    if keys.TRANSFORM not in adata.var:
        raise UsageError("the object is not transformed", fix="call transform first")
    rows = pd.DataFrame(
        {
            "transform": adata.var[keys.TRANSFORM].astype(str),
            **{name: adata.var[f"{keys.TRANSFORM}_{name}"] for name in PARAMETERS},
        }
    )
    return _apply(np.asarray(adata.X), rows=rows, inverse=True)


def _check_choice(method: Method | None, *, cofactor: float | None) -> None:
    if method not in (None, *get_args(Method)):
        raise UsageError(f"there is no scale named {method}", fix="logicle, biexponential or arcsinh")
    if cofactor is None:
        return
    if not (np.isfinite(cofactor) and cofactor > 0):
        raise UsageError(
            f"the cofactor must be above 0, not {cofactor}", fix="5 is usual for mass, 150 for fluorescence"
        )
    if method not in (None, "arcsinh"):
        raise UsageError(f"a {method} scale has no cofactor", fix="leave one of the two out")


def _fluorescence(
    adata: AnnData, i: int, *, values: NDArray[Any], samples: NDArray[np.intp], method: Method
) -> dict[str, Any]:
    top = _top(adata, i, values=values)
    if method == "arcsinh":
        return {"transform": "arcsinh", "cofactor": _cofactor(adata, i, values=values, samples=samples, top=top)}
    # FlowJo's 4.41854 decades for 18 bits are one less than the instrument has
    m = _DECADES if method == "logicle" else max(float(np.log10(top)) - 1, _DECADES_MIN)
    width = _width(adata, i, values=values, samples=samples, top=top, m=m)
    if method == "logicle":
        return {"transform": "logicle", "t": top, "m": m, "w": min(width, _WIDEST), "a": 0.0}
    basis = -(10 ** (2 * min(width, _WIDEST_BASIS)))
    return {"transform": "biexponential", "t": top, "m": m, "w": basis, "a": 0.0}


def _cofactor(adata: AnnData, i: int, *, values: NDArray[Any], samples: NDArray[np.intp], top: float) -> float:
    found = estimate_cofactor(_by_sample(values, samples), t=top)
    if np.isfinite(found):
        return found
    add_note(
        adata,
        "events.cofactor_unknown",
        f"the cofactor of {adata.var_names[i]} cannot be told from its populations: "
        f"the usual {_USUAL_COFACTOR:g} was taken",
    )
    return _USUAL_COFACTOR


def _by_sample(values: NDArray[Any], samples: NDArray[np.intp]) -> list[NDArray[Any]]:
    return np.split(values[np.argsort(samples, kind="stable")], np.cumsum(np.bincount(samples))[:-1])


def _samples(adata: AnnData, *, kept: NDArray[np.bool_]) -> NDArray[np.intp]:
    if keys.SAMPLE_ID not in adata.obs:
        return np.zeros(int(kept.sum()), dtype=np.intp)
    names = {name: i for i, name in enumerate(sample_names(adata))}
    of = adata.obs[keys.SAMPLE_ID].astype("category").cat
    order = np.array([names[str(name)] for name in of.categories] + [0], dtype=np.intp)
    found: NDArray[np.intp] = order[of.codes.to_numpy()][kept]
    return found


def _linear(adata: AnnData) -> NDArray[np.float32]:
    if keys.COMPENSATED in adata.layers:
        return np.asarray(adata.layers[keys.COMPENSATED])
    if keys.TRANSFORM in adata.var:
        raise UsageError("the events are transformed already", fix="keep layers['compensated'] to transform them again")
    return np.asarray(adata.X)


def _apply(values: NDArray[Any], *, rows: pd.DataFrame, inverse: bool) -> NDArray[np.float32]:
    out = np.empty(values.shape, dtype=np.float32)
    into = [_runner(str(name), row, inverse=inverse) for name, row in rows.iterrows()]
    # a few thousand events at a time: events lie row by row, and a whole column would be read across all memory
    for start in range(0, len(values), _BLOCK):
        block = slice(start, start + _BLOCK)
        for i, run in enumerate(into):
            run(values[block, i], out[block, i])
    return out


def _runner(name: str, row: pd.Series, *, inverse: bool) -> Callable[[NDArray[Any], NDArray[np.float32]], Any]:
    kind = row["transform"]
    curve = {name: float(row[name]) for name in ("t", "m", "w", "a")}
    match kind:
        case "logicle" | "biexponential":
            scale = logicle_scale(**curve) if kind == "logicle" else biexponential_scale(**curve)
            return lambda x, out: scale.to_linear(x, out=out) if inverse else scale.to_scale(x, out=out)
        case "arcsinh":
            by = float(row["cofactor"])
            if inverse:
                return lambda x, out: np.multiply(np.sinh(x.astype(np.float64)), by, out=out, casting="same_kind")
            return lambda x, out: np.arcsinh(x.astype(np.float64) / by, out=out, casting="same_kind")
        case "linear":
            by = float(row["t"])
            scaled = np.multiply if inverse else np.divide
            return lambda x, out: scaled(x.astype(np.float64), by, out=out, casting="same_kind")
        case "none":
            return lambda x, out: np.copyto(out, x, casting="same_kind")
    raise InputError(f"{name} has an unknown transform: {kind}", fix=f"{', '.join(get_args(Method))}, linear or none")


def _top(adata: AnnData, i: int, *, values: NDArray[Any]) -> float:
    declared = float(adata.var[keys.RANGE].iloc[i]) if keys.RANGE in adata.var else np.nan
    finite = values[np.isfinite(values)]
    highest = float(np.quantile(finite, 0.999)) if len(finite) else 0.0
    if np.isfinite(declared) and declared > 0 and highest <= declared * 1.01:
        return declared
    # a value far beyond all others is a fault of the file, and would press all cells into the foot of the scale
    within = finite[finite <= _WILD * highest] if highest > 0 else finite
    top = max(float(within.max()) if len(within) else 0.0, 1.0)
    if np.isfinite(declared):
        add_note(
            adata,
            "events.range_exceeded",
            f"{adata.var_names[i]} goes beyond its declared range {declared:g}: its scale ends at {top:g}",
        )
    return top


def _width(adata: AnnData, i: int, *, values: NDArray[Any], samples: NDArray[np.intp], top: float, m: float) -> float:
    """Return the decades of the linear zone after Parks et al., from the typical sample."""
    below = np.isfinite(values) & (values < 0)
    n_below = int(below.sum())
    if n_below < max(_FEW, 0.001 * len(values)):
        return _USUAL_WIDTH
    negative, owner = values[below].astype(np.float64), samples[below]
    parts = _by_sample(negative, owner)
    enough = np.maximum(_FEW, 0.001 * np.bincount(samples))
    depths = {k: abs(float(np.quantile(part, 0.05))) for k, part in enumerate(parts) if len(part) >= enough[k]}
    # samples of a few events each are judged together
    depth = float(np.median(list(depths.values()))) if depths else abs(float(np.quantile(negative, 0.05)))
    if len(depths) >= _SAMPLES_TO_COMPARE:
        names = sample_names(adata)
        for k, own in depths.items():
            if own > _DEEP * depth:
                add_note(
                    adata,
                    "events.deep_negatives",
                    f"{adata.var_names[i]} reaches {own / depth:.0f} times as far below zero as in the other samples: "
                    "check its compensation",
                    sample=names[k],
                )
    width = max(0.0, (m - float(np.log10(top / max(depth, 1e-12)))) / 2)
    if width > _WIDEST:
        add_note(
            adata,
            "events.wide_negatives",
            f"{adata.var_names[i]} has strongly negative values: check its compensation",
        )
    return width


def _already_transformed(adata: AnnData, *, linear: NDArray[np.float32], kept: NDArray[np.bool_]) -> bool:
    measured = adata.var[keys.KIND].astype(str).isin(["fluorescence", "mass"]).to_numpy()
    if not measured.any():
        return False
    verdicts: dict[str, bool] = {}
    samples = adata.obs[keys.SAMPLE_ID].astype(str).to_numpy() if keys.SAMPLE_ID in adata.obs else None
    for name in sample_names(adata):
        rows = kept if samples is None else kept & (samples == name)
        if rows.sum() >= _FEW:
            values = linear[np.ix_(rows, measured)]
            small = bool(np.nanmax(values) < _TRANSFORMED_MAX)
            verdicts[name] = small and bool((values != np.round(values)).any())
    if not any(verdicts.values()):
        return False
    if not all(verdicts.values()):
        raise InputError(
            "some samples are transformed already and others are not",
            where=f"transformed: {', '.join(name for name, yes in verdicts.items() if yes)}",
            why="their values cannot be compared",
            fix="export all samples on the linear scale",
        )
    add_note(
        adata,
        "events.already_transformed",
        f"no marker goes beyond {_TRANSFORMED_MAX:g}: the files hold transformed values, which were left as they are",
    )
    return True
