"""Take the spillover of each dye out of the other detectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.panel import find_channels, near_misses, sample_names
from cellprec.errors import InputError, UsageError
from cellprec.io.fcs.linear import require_linear
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray

# beyond this the errors of a 32-bit measurement show up in the third digit of the result
_WORST_CONDITION: Final = 1e4
# a block and its product stay in the cache of one core
_ROWS: Final = 4096
# DataFrame.attrs of a matrix: what was assumed when it was read or estimated
_NOTES: Final = "notes"


def compensate(adata: AnnData, *, spillover: pd.DataFrame | None = None, mass: bool = False) -> None:
    """Subtract from each detector the light that belongs to the dyes of the others.

    ``X`` (events × channels, linear) is kept in ``layers["raw"]``; ``layers["compensated"]`` and ``X`` then hold
    events @ inverse(S) on the channels of the spillover matrix S (rows: dyes, columns: detectors) and the raw
    values elsewhere. Without a matrix (mass cytometry, or a file that has none) nothing changes and, for
    fluorescence, a note says so. Calling it again starts from ``layers["raw"]``. ``X`` itself becomes the raw layer
    where it is float32, without a copy; the new ``X`` is an array of its own, since much of scanpy writes into ``X``.

    spillover: used instead of ``varp["spillover"]``; its rows and columns are channel or marker names, in fractions
    or in percent (a diagonal of 100); ``attrs["notes"]``, as ``read_compensation`` and ``estimate_spillover`` leave
    them, become notes. mass: take the inverse for mass channels too, whose counts it makes negative.

    Raises InputError for unknown names, for a matrix that cannot be inverted, that couples scatter or time, or, unless
    meant, mass channels, or of which most coefficients are above 1; UsageError after ``normalize_beads``, or for
    what is no DataFrame; nothing is changed then.
    Source: Bagwell and Adams 1993, Ann N Y Acad Sci 677:167.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"channel": ["B-A", "Y-A"], "kind": "fluorescence"}, index=["CD3", "CD4"])
    >>> adata = anndata.AnnData(np.array([[100, 20], [0, 50]], dtype="float32"), var=var)
    >>> compensate(adata, spillover=pd.DataFrame([[1, 0.2], [0, 1]], index=["CD3", "Y-A"], columns=["CD3", "Y-A"]))
    >>> (adata.X.round(3) + 0).tolist()
    [[100.0, 0.0], [0.0, 50.0]]
    """
    require_linear(adata, where=_where(adata))
    if keys.BEAD_FACTOR in adata.obs:
        what = "the events are normalized by beads already, and compensation starts from their raw values"
        raise UsageError(what, where=_where(adata), fix="call compensate before normalize_beads")
    matrix = _from_frame(adata, spillover) if spillover is not None else _from_file(adata)
    used = np.zeros(0, dtype=np.intp)
    inverse: NDArray[Any] = np.zeros((0, 0))
    if matrix is not None:
        used = _involved(matrix)
    if matrix is not None and len(used):
        _judge(adata, matrix=matrix, used=used, mass=mass)
        inverse = np.linalg.inv(matrix[np.ix_(used, used)])
    raw = np.asarray(adata.layers.get(keys.RAW, adata.X), dtype=np.float32)
    compensated, shown = _unspill(raw, used=used, inverse=inverse)
    adata.layers[keys.RAW] = raw
    adata.layers[keys.COMPENSATED] = compensated
    adata.X = shown


def _unspill(
    raw: NDArray[np.float32], *, used: NDArray[np.intp], inverse: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return raw with the used columns times the inverse, twice, block by block: the product is in 64 bits."""
    layers = np.empty(raw.shape, dtype=np.float32), np.empty(raw.shape, dtype=np.float32)
    neighbors = len(used) > 0 and used[-1] - used[0] + 1 == len(used)
    columns: slice | NDArray[np.intp] = slice(int(used[0]), int(used[-1]) + 1) if neighbors else used
    for start in range(0, len(raw), _ROWS):
        rows = slice(start, start + _ROWS)
        block = np.array(raw[rows])
        if len(used):
            block[:, columns] = block[:, columns].astype(np.float64) @ inverse
        for layer in layers:
            layer[rows] = block
    return layers


def _from_file(adata: AnnData) -> NDArray[np.float64] | None:
    kinds = adata.var[keys.KIND].astype(str) if keys.KIND in adata.var else pd.Series(dtype=str)
    if keys.SPILLOVER not in adata.varp:
        if kinds.eq("fluorescence").any():
            _note(adata, "events.no_spillover", "no spillover matrix in the file: fluorescence was not compensated")
        return None
    held = adata.varp[keys.SPILLOVER]
    matrix = np.asarray(held.toarray() if hasattr(held, "toarray") else held, dtype=np.float64)
    if np.isnan(np.diag(matrix)).any():
        # a row of the matrix is only missing where the channel does not take part
        absent = np.isnan(np.diag(matrix))
        matrix = matrix.copy()
        matrix[absent], matrix[:, absent] = 0.0, 0.0
    if not len(_involved(matrix)):
        _note(
            adata,
            "events.identity_spillover",
            "the spillover matrix in the file takes nothing out: the events are as compensated as they came",
        )
        return None
    return matrix


def _from_frame(adata: AnnData, frame: pd.DataFrame) -> NDArray[np.float64]:
    if not isinstance(frame, pd.DataFrame):
        fix = "Read a file with cellprec.io.read_compensation; name the rows and columns of an array after channels."
        raise UsageError(f"the spillover matrix is a {type(frame).__name__}, not a DataFrame", fix=fix)
    rows = [str(name).split(" :: ")[0].strip() for name in frame.index]
    columns = [str(name).split(" :: ")[0].strip() for name in frame.columns]
    found = find_channels(adata, names=dict.fromkeys(rows + columns))
    for name in rows + columns:
        if name not in found:
            near = near_misses(adata, name=name)
            raise InputError(
                f"the spillover matrix names {name!r}, which is no single channel or marker of the file",
                where=_where(adata),
                why="spillover can only be taken out of channels that were measured",
                fix=f"did you mean {' or '.join(near)}?" if near else "use the names of $PnN or $PnS",
            )
    dyes, detectors = [found[name] for name in rows], [found[name] for name in columns]
    if len(set(dyes)) < len(dyes) or len(set(detectors)) < len(detectors) or set(dyes) != set(detectors):
        raise InputError(
            "the rows and the columns of the spillover matrix are not the same channels, each once",
            where=_where(adata),
            fix="give a square matrix with one row and one column per channel",
        )
    try:
        values = frame.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("the spillover matrix holds something that is not a number", where=_where(adata)) from error
    if np.allclose(values[np.arange(len(dyes)), [detectors.index(dye) for dye in dyes]], 100):
        values = values / 100
        _note(adata, "events.spillover_percent", "the spillover matrix was in percent and was divided by 100")
    _judge_size(adata, values)
    if (values[np.arange(len(dyes)), [detectors.index(dye) for dye in dyes]] <= 0).any():
        raise InputError(
            "the diagonal of the spillover matrix is not above zero",
            where=_where(adata),
            why="every dye is seen by its own detector",
            fix="give fractions with a diagonal of 1, or percentages with one of 100",
        )
    for text in frame.attrs.get(_NOTES, ()):
        _note(adata, "events.spillover_source", str(text))
    matrix = np.eye(adata.n_vars)
    matrix[np.ix_(adata.var_names.get_indexer(dyes), adata.var_names.get_indexer(detectors))] = values
    if not len(_involved(matrix)):
        _note(adata, "events.identity_spillover", "the spillover matrix takes nothing out: the events are as they came")
    return matrix


def _judge_size(adata: AnnData, values: NDArray[np.float64]) -> None:
    """Refuse percentages beside a diagonal of ones: they would take a hundred times too much."""
    spilled = np.abs(values[(values != 0) & (values != 1)])
    large = int((spilled > 1).sum())
    if 2 * large > len(spilled):
        raise InputError(
            f"{large} of {len(spilled)} coefficients of the spillover matrix are above 1",
            where=_where(adata),
            why="a dye would be brighter in the detectors of others than in its own",
            fix="give fractions; in percent, the diagonal is 100",
        )
    if large:
        text = f"{large} of {len(spilled)} coefficients of the spillover matrix are above 1: check that they are meant"
        _note(adata, "events.spillover_large", text)


def _involved(matrix: NDArray[np.float64]) -> NDArray[np.intp]:
    diagonal = np.diag(matrix)
    apart = matrix - np.diag(diagonal)
    takes_part = (apart != 0).any(axis=0) | (apart != 0).any(axis=1) | ~np.isin(diagonal, (0.0, 1.0))
    return np.flatnonzero(takes_part)


def _judge(adata: AnnData, *, matrix: NDArray[np.float64], used: NDArray[np.intp], mass: bool) -> None:
    square = matrix[np.ix_(used, used)]
    names = adata.var_names[used]
    if not np.isfinite(square).all():
        raise InputError("the spillover matrix holds missing or infinite values", where=_where(adata))
    if keys.KIND in adata.var:
        kinds = adata.var[keys.KIND].astype(str).to_numpy()[used]
        if np.isin(kinds, ("scatter", "time")).any():
            name = names[np.isin(kinds, ("scatter", "time"))][0]
            raise InputError(
                f"the spillover matrix couples {name}, which is no fluorescence channel",
                where=_where(adata),
                fix="take scatter and time out of the matrix",
            )
        if "mass" in kinds and not mass:
            raise InputError(
                f"the spillover matrix couples {names[kinds == 'mass'][0]}, which is a mass channel",
                where=_where(adata),
                why="counts have no negative values, which the inverse of a matrix makes of them",
                fix="use compensate_mass, which keeps them at zero or above; or say mass=True if this is meant",
            )
    condition = np.linalg.cond(square)
    if not condition < _WORST_CONDITION:
        length = np.maximum(np.linalg.norm(square, axis=1), 1e-12)
        alike = square @ square.T / np.outer(length, length) - 2 * np.eye(len(square))
        one, other = np.unravel_index(int(np.argmax(alike)), alike.shape)
        raise InputError(
            f"the spillover matrix cannot be inverted safely (condition number {condition:.3g})",
            where=_where(adata),
            why=f"the spectra of {names[one]} and {names[other]} can hardly be told apart",
            fix="check the matrix for two equal rows, a zero on the diagonal, or percentages mixed with fractions",
        )


def _where(adata: AnnData) -> str:
    names = [name for name in sample_names(adata) if name]
    return f"sample {names[0]}" if len(names) == 1 else ""


def _note(adata: AnnData, code: str, text: str) -> None:
    names = sample_names(adata)
    add_note(adata, code, text, sample=names[0] if len(names) == 1 else "")
