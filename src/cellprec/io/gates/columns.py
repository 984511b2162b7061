"""The values that the gates of a FlowJo workspace were drawn on: channels as stored, or compensated by its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cellprec import keys
from cellprec.errors import InputError
from cellprec.io.gates.flowkit import DATA_TYPE, TRANSFORMS, all_gates, missing_channels

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from anndata import AnnData
    from numpy.typing import NDArray

PREFIX = "Comp-"
_ROWS = 100_000


@dataclass(frozen=True, eq=False)
class Compensation:
    """A spillover (or spectral) matrix: rows are the dyes, named after their main detector; columns the detectors."""

    name: str
    source: str
    rows: tuple[str, ...]
    detectors: tuple[str, ...]
    matrix: NDArray[np.float64]
    prefix: str = PREFIX
    suffix: str = ""

    def row_of(self, dimension: str) -> int | None:
        """Return the dye that a gate means, if it is one of this matrix."""
        if not dimension.startswith(self.prefix) or not dimension.endswith(self.suffix):
            return None
        bare = dimension[len(self.prefix) : len(dimension) - len(self.suffix)]
        return self.rows.index(bare) if bare in self.rows else None


def read_matrices(parent: Any, *, gates: Path) -> list[Compensation]:
    """Read the matrices of a sample (or of the whole workspace), as FlowJo writes them."""
    found = []
    for node in parent.findall(f"{TRANSFORMS}spilloverMatrix"):
        name = node.get("name", "")
        algorithm = node.get("weightOptAlgorithmType", "OLS")
        if node.get("spectral") == "1" and algorithm != "OLS":
            what = f"the spectral matrix {name!r} was unmixed by {algorithm}"
            fix = "Unmix by ordinary least squares, or export the unmixed events from FlowJo."
            raise InputError(what, where=gates, why="only ordinary least squares is documented", fix=fix)
        rows, columns, values = [], [], []
        for spill in node.findall(f"{TRANSFORMS}spillover"):
            cells = spill.findall(f"{TRANSFORMS}coefficient")
            rows.append(spill.get(f"{DATA_TYPE}parameter", ""))
            columns.append([cell.get(f"{DATA_TYPE}parameter", "") for cell in cells])
            values.append([float(cell.get(f"{TRANSFORMS}value", "nan")) for cell in cells])
        if not rows:
            continue
        if any(named != columns[0] for named in columns) or not np.isfinite(np.array(values)).all():
            what = f"the compensation matrix {name!r} is not whole"
            raise InputError(what, where=gates, why="rows name other detectors, or a coefficient is no number")
        prefix, suffix = node.get("prefix", PREFIX), node.get("suffix", "")
        matrix = np.array(values, dtype=np.float64)
        if np.linalg.matrix_rank(matrix) < len(rows):
            raise InputError(
                f"the compensation matrix {name!r} has no inverse", where=gates, why="two dyes are the same"
            )
        found.append(Compensation(name, "workspace", tuple(rows), tuple(columns[0]), matrix, prefix, suffix))
    return found


def file_matrix(adata: AnnData, labels: Sequence[str]) -> Compensation | None:
    """Return the matrix of the FCS file itself; none where it has none or the identity."""
    if keys.SPILLOVER not in adata.varp:
        return None
    whole = np.asarray(adata.varp[keys.SPILLOVER], dtype=np.float64)
    off = whole - np.diag(np.diag(whole))
    used = np.flatnonzero(off.any(axis=0) | off.any(axis=1))
    if not len(used):
        return None
    names = tuple(labels[int(i)] for i in used)
    return Compensation("of the FCS file", "file", names, names, whole[np.ix_(used, used)])


def gating_ml_matrices(adata: AnnData, strategy: Any, labels: Sequence[str]) -> list[Compensation]:
    """Return the matrices that the gates of a Gating-ML document use; "FCS" there means that of the file."""
    used = {d.compensation_ref for gate in all_gates(strategy) for d in gate.dimensions or ()}
    made = []
    for reference in sorted(used - {None, "uncompensated"}):
        if reference == "FCS":
            stored = file_matrix(adata, labels)
            made += [stored] if stored is not None else []
            continue
        held = strategy.comp_matrices[reference]
        detectors = tuple(held.detectors)
        matrix = np.asarray(held.matrix, dtype=np.float64)
        made.append(Compensation(reference, "gating-ml", detectors, detectors, matrix))
    return made


@dataclass(frozen=True)
class Found:
    """Where the values of one dimension are: a channel, or a row of a matrix."""

    channel: int = -1
    matrix: Compensation | None = None
    row: int = -1


def find_dimensions(
    dimensions: Iterable[str],
    *,
    labels: Sequence[str],
    matrices: Sequence[Compensation],
    derived: Sequence[str],
    gates: Path,
    unmixed_from: Sequence[str] | None = None,
) -> dict[str, Found]:
    """Tell for every dimension of the gates which channel or which compensated dye it is.

    The name of a channel as it stands means that channel as stored; the prefix and suffix of a matrix mean the
    compensated dye. labels: the channels of the file ("/" is "_" in FlowJo). derived: parameters that FlowJo computed.
    unmixed_from: of unmixed events the detectors they had; without a matrix the prefix then means the dye itself.

    Raises InputError where a dimension is neither, is a derived parameter, or where a matrix is missing or doubled.
    """
    place = {label.replace("/", "_"): i for i, label in enumerate(labels)} | {n: i for i, n in enumerate(labels)}
    found: dict[str, Found] = {}
    lacking: list[str] = []
    for name in dimensions:
        rows = [(matrix, row) for matrix in matrices if (row := matrix.row_of(name)) is not None]
        if name in place:
            found[name] = Found(place[name])
        elif name in derived:
            what = f"a gate is drawn on {name!r}, a parameter that FlowJo derived from others"
            fix = "Export the events with the derived parameter from FlowJo, and give that file."
            raise InputError(what, where=gates, why="its formula cannot be evaluated here", fix=fix)
        elif len(rows) == 1:
            matrix, row = rows[0]
            lacking += [d for d in matrix.detectors if d.replace("/", "_") not in place and d not in place]
            found[name] = Found(matrix=matrix, row=row)
        elif rows:
            what = f"several compensation matrices of the workspace make {name!r}: {', '.join(m.name for m, _ in rows)}"
            raise InputError(what, where=gates, fix="Leave one matrix on the sample and save the workspace again.")
        elif name.startswith(PREFIX) and name[len(PREFIX) :] in place and unmixed_from is not None and not matrices:
            found[name] = Found(place[name[len(PREFIX) :]])
        elif name.startswith(PREFIX) and name[len(PREFIX) :] in place:
            raise InputError(
                f"a gate is drawn on compensated values ({name}), and no compensation matrix makes them",
                where=gates,
                why="the workspace stores none for this sample, and the FCS file has none for this channel",
                fix="Save the workspace with its compensation, or export the events with the Comp- channels.",
            )
        else:
            lacking.append(name)
    detectors = [name for name in dict.fromkeys(lacking) if name.removeprefix(PREFIX) in (unmixed_from or ())]
    if detectors:
        raise InputError(
            f"the gates need detectors that were unmixed: {', '.join(detectors[:5])}",
            where=gates,
            why=f"the events hold the amounts of the dyes: {', '.join(labels)}",
            fix="Apply the gates to the events as read, before unmixing, or draw them on unmixed events.",
        )
    if lacking:
        raise missing_channels(lacking, gates=gates, channels=labels)
    return found


def columns_of(
    values: Any, found: Mapping[str, Found], *, labels: Sequence[str], scale: Mapping[str, float]
) -> dict[str, NDArray[np.float64]]:
    """Return the values of each dimension, in 64 bits; scale: what a channel is multiplied by (the clock)."""
    place = {label.replace("/", "_"): i for i, label in enumerate(labels)} | {n: i for i, n in enumerate(labels)}
    n_events = values.shape[0]
    made = {name: np.empty(n_events) for name in found}
    dyes: dict[int, list[str]] = {}
    for name, where in found.items():
        if where.matrix is not None:
            dyes.setdefault(id(where.matrix), []).append(name)
    plans = []
    for names in dyes.values():
        matrix = found[names[0]].matrix
        if matrix is not None:
            weights = np.linalg.pinv(matrix.matrix)[:, [found[name].row for name in names]]
            plans.append((names, [place[d] for d in matrix.detectors], weights))
    for start in range(0, n_events, _ROWS):
        rows = slice(start, start + _ROWS)
        block = np.asarray(values[rows])
        for names, detectors, weights in plans:
            for name, column in zip(names, (block[:, detectors].astype(np.float64) @ weights).T, strict=True):
                made[name][rows] = column
        for name, where in found.items():
            if where.matrix is None:
                made[name][rows] = block[:, where.channel] * np.float64(scale.get(name, 1.0))
    return made
