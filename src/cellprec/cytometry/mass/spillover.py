"""Take the signal of each metal out of the mass channels it spills into."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.compensation.nnls import nonnegative_least_squares
from cellprec.cytometry.panel import sample_names
from cellprec.errors import InputError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anndata import AnnData
    from numpy.typing import NDArray

# mass numbers of the natural isotopes of the metals in use (NIST, Atomic Weights and Isotopic Compositions)
_ISOTOPES: Final = {
    "Y": (89,),
    "Rh": (103,),
    "Pd": (102, 104, 105, 106, 108, 110),
    "Ag": (107, 109),
    "Cd": (106, 108, 110, 111, 112, 113, 114, 116),
    "In": (113, 115),
    "Sn": (112, 114, 115, 116, 117, 118, 119, 120, 122, 124),
    "Te": (120, 122, 123, 124, 125, 126, 128, 130),
    "I": (127,),
    "Xe": (124, 126, 128, 129, 130, 131, 132, 134, 136),
    "Cs": (133,),
    "Ba": (130, 132, 134, 135, 136, 137, 138),
    "La": (138, 139),
    "Ce": (136, 138, 140, 142),
    "Pr": (141,),
    "Nd": (142, 143, 144, 145, 146, 148, 150),
    "Sm": (144, 147, 148, 149, 150, 152, 154),
    "Eu": (151, 153),
    "Gd": (152, 154, 155, 156, 157, 158, 160),
    "Tb": (159,),
    "Dy": (156, 158, 160, 161, 162, 163, 164),
    "Ho": (165,),
    "Er": (162, 164, 166, 167, 168, 170),
    "Tm": (169,),
    "Yb": (168, 170, 171, 172, 173, 174, 176),
    "Lu": (175, 176),
    "Hf": (174, 176, 177, 178, 179, 180),
    "Ta": (180, 181),
    "Os": (184, 186, 187, 188, 189, 190, 192),
    "Ir": (191, 193),
    "Pt": (190, 192, 194, 195, 196, 198),
    "Au": (197,),
    "Hg": (196, 198, 199, 200, 201, 202, 204),
    "Pb": (204, 206, 207, 208),
    "Bi": (209,),
}
_METALS: Final = "|".join(sorted(_ISOTOPES, key=len, reverse=True))
_LABEL: Final = re.compile(
    rf"(?<![A-Za-z0-9])(?:({_METALS})(\d{{2,3}})|(\d{{2,3}})({_METALS}))(?:D[id])?(?![A-Za-z0-9])"
)
_OXIDE: Final = 16
_COFACTOR: Final = 5.0
# a bead belongs to its brightest channel where the next is this much dimmer (arcsinh: a factor of e) and it is bright
_SEPARATION: Final = 1.0
_LOWEST: Final = 2.0
_FEW: Final = 30
# part of the beads that a channel must be the brightest of to count as stained, where the user does not say
_SHARE: Final = 0.002
_OUTLYING: Final = 4.0
_ROUNDS: Final = 10
_SURE: Final = 2.0
_NORMAL: Final = 1.4826
# least expected count, so that the noise of empty channels is not nothing
_HALF: Final = 0.5
_WORST_CONDITION: Final = 1e4
_ROWS: Final = 100_000


class Isotope(NamedTuple):
    """A metal and its mass number; as text ``Nd143``."""

    metal: str
    mass: int

    def __str__(self) -> str:
        return f"{self.metal}{self.mass}"


def estimate_mass_spillover(
    beads: AnnData | Mapping[str, AnnData], *, stained: Iterable[str] | None = None
) -> pd.DataFrame:
    """Measure how much of each metal shows up in other mass channels, from single-stained beads.

    beads: beads × channels, counts as read, all beads pooled (each is given to the metal it shines brightest in), or
    one AnnData per metal by its channel. stained: the channels of the metals that were used, those that are the
    brightest of some beads by default.

    Returns emitting × receiving isotopes (``Nd143``; every mass channel), diagonal 1: the slope of the receiving
    channel on the emitting one, background taken off, beads that fit no line (two beads at once) left out, weighted as
    counting noise asks for; 0 where it is no more than 2 standard errors. Only what physics allows is estimated: mass
    +1 and -1 (abundance sensitivity), +16 (oxide) and the isotopes of the same metal (impurity). ``attrs["beads"]``:
    beads used per isotope; ``attrs["notes"]``: what could not be estimated.

    Raises InputError without mass channels, without beads, or for channels that are not there.
    Source: Chevrier et al. 2018, Cell Systems 6:612; isotopes: NIST.

    >>> import anndata, numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> amount = rng.gamma(9, 50, (600, 1)) * np.repeat(np.eye(3), 200, axis=0)
    >>> counts = rng.poisson(amount @ [[1, 0.02, 0], [0, 1, 0.05], [0, 0.01, 1]]).astype("float32")
    >>> var = pd.DataFrame({"channel": ["Pr141Di", "Nd142Di", "Nd143Di"], "kind": "mass"}, index=["CD3", "CD4", "CD8"])
    >>> estimate_mass_spillover(anndata.AnnData(counts, var=var)).round(2).values.tolist()
    [[1.0, 0.02, 0.0], [0.0, 1.0, 0.05], [0.0, 0.01, 1.0]]
    """
    values, isotopes, emitter = _pool(beads)
    names = [str(isotope) for isotope in isotopes]
    group = _assign(
        values, candidates=_columns(stained, isotopes=isotopes), known=emitter, all_asked=stained is not None
    )
    if not (group >= 0).any():
        raise InputError(
            "no group of beads is brightest in one channel alone",
            why="each bead must carry one metal only",
            fix="give single-stained beads, as counts and not transformed",
        )
    matrix = np.eye(len(isotopes))
    spills = np.array([[may_spill(one, into=other) for other in isotopes] for one in isotopes])
    counted = np.bincount(group[group >= 0], minlength=len(names))
    for i in np.flatnonzero(counted >= _FEW):
        for j in np.flatnonzero(spills[i]):
            blank = (group >= 0) & (group != j) & ~spills[group, j]
            matrix[i, j] = _spill(values[group == i, i], values[group == i, j], blank=values[blank, j])
    frame = pd.DataFrame(matrix, index=names, columns=names)
    unknown = [name for name, n in zip(names, counted, strict=True) if n < _FEW]
    text = f"cannot tell what {', '.join(unknown)} spill: fewer than {_FEW} beads carry them alone"
    frame.attrs = {
        "beads": {name: int(n) for name, n in zip(names, counted, strict=True)},
        "notes": [text] if unknown else [],
    }
    return frame


def compensate_mass(adata: AnnData, *, spillover: pd.DataFrame) -> None:
    """Give the signal of each mass channel back to the metal it came from; no value falls below zero.

    ``X`` (events × channels, counts) is kept in ``layers["raw"]``; ``layers["compensated"]`` and ``X`` then hold the
    non-negative amounts whose spilled signal comes nearest to the measured one on the mass channels that the matrix
    names, and the raw values elsewhere. Calling it again starts from ``layers["raw"]``.

    spillover: emitting × receiving channels, as ``estimate_mass_spillover`` gives it or with channel names such as
    ``Nd143Di``; matched by isotope, so that it may come from another panel. Channels that only one of the two has are a
    note. Raises InputError where no isotope is shared, or the matrix is not square, finite, or has a diagonal other
    than 1.
    Source: Chevrier et al. 2018, Cell Systems 6:612.

    >>> import anndata, numpy as np, pandas as pd
    >>> var = pd.DataFrame({"channel": ["Nd142Di", "Nd143Di"], "kind": "mass"}, index=["CD4", "CD8"])
    >>> adata = anndata.AnnData(np.array([[100, 5], [100, 0]], dtype="float32"), var=var)
    >>> compensate_mass(adata, spillover=pd.DataFrame([[1, 0.05], [0, 1]], ["Nd142", "Nd143"], ["Nd142", "Nd143"]))
    >>> (adata.X.astype(float).round(1) + 0).tolist()
    [[100.0, 0.0], [99.8, 0.0]]
    """
    held = _isotopes(adata)
    matrix, shared = _match(adata, spillover=spillover, held=held)
    places = [held[isotope] for isotope in shared]
    raw = np.array(adata.layers.get(keys.RAW, adata.X), dtype=np.float32)
    compensated = raw.copy()
    for start in range(0, len(raw), _ROWS):
        rows = slice(start, start + _ROWS)
        compensated[rows, places] = nonnegative_least_squares(raw[rows, places], spectra=matrix)
    adata.layers[keys.RAW] = raw
    adata.layers[keys.COMPENSATED] = compensated
    adata.X = compensated.copy()
    for text in spillover.attrs.get("notes", []):
        _note(adata, "mass.cannot_tell", text)


def may_spill(one: Isotope, *, into: Isotope) -> bool:
    """Tell whether physics lets one isotope show up at the mass of another.

    >>> [may_spill(Isotope("La", 139), into=Isotope(*other)) for other in (("Ce", 140), ("Gd", 155), ("Nd", 145))]
    [True, True, False]
    """
    step = into.mass - one.mass
    return step in (-1, 1, _OXIDE) or (step != 0 and into.mass in _ISOTOPES[one.metal])


def _isotopes(adata: AnnData) -> dict[Isotope, int]:
    """Which column measures which isotope; one that stands twice is left out."""
    kinds = adata.var[keys.KIND].astype(str).tolist() if keys.KIND in adata.var else ["mass"] * adata.n_vars
    columns = [adata.var[keys.CHANNEL].astype(str).tolist()] if keys.CHANNEL in adata.var else []
    columns.append(adata.var_names.astype(str).tolist())
    found: dict[Isotope, list[int]] = {}
    for i, kind in enumerate(kinds):
        isotope = next(filter(None, (_isotope(column[i]) for column in columns)), None)
        if kind == "mass" and isotope is not None:
            found.setdefault(isotope, []).append(i)
    return {isotope: places[0] for isotope, places in found.items() if len(places) == 1}


def _isotope(name: str) -> Isotope | None:
    found = _LABEL.search(name)
    return None if found is None else Isotope(found[1] or found[4], int(found[2] or found[3]))


def _pool(
    beads: AnnData | Mapping[str, AnnData],
) -> tuple[NDArray[np.float64], list[Isotope], NDArray[np.int64] | None]:
    """The beads on one table, the isotopes of its columns, and the column of each bead's metal where it is known."""
    tubes = dict(beads) if isinstance(beads, Mapping) else {"": beads}
    held = [_isotopes(adata) for adata in tubes.values()]
    isotopes = [isotope for isotope in (held[0] if held else {}) if all(isotope in other for other in held)]
    if not isotopes:
        raise InputError(
            "no channel is named after an isotope",
            why="which metals can spill into each other follows from their masses",
            fix="give channels such as Nd143Di, of kind mass",
        )
    blocks, emitters = [], []
    for (name, adata), places in zip(tubes.items(), held, strict=True):
        block = np.asarray(adata.layers.get(keys.RAW, adata.X))[:, [places[isotope] for isotope in isotopes]]
        keep = np.isfinite(block).all(axis=1)
        if keys.KEEP in adata.obs:
            keep &= adata.obs[keys.KEEP].to_numpy(dtype=bool)
        blocks.append(block[keep].astype(np.float64))
        if name:
            emitters.append(np.full(int(keep.sum()), int(np.flatnonzero(_columns([name], isotopes=isotopes))[0])))
    return np.vstack(blocks), isotopes, np.concatenate(emitters) if emitters else None


def _columns(stained: Iterable[str] | None, *, isotopes: list[Isotope]) -> NDArray[np.bool_]:
    if stained is None:
        return np.ones(len(isotopes), dtype=bool)
    chosen = np.zeros(len(isotopes), dtype=bool)
    for name in stained:
        isotope = _isotope(str(name))
        hits = [i for i, one in enumerate(isotopes) if one == isotope or str(one.mass) == str(name)]
        if len(hits) != 1:
            fix = f"name one of {', '.join(str(one) for one in isotopes)}"
            raise InputError(f"{name} is no single mass channel of the beads", fix=fix)
        chosen[hits[0]] = True
    return chosen


def _assign(
    values: NDArray[np.float64], *, candidates: NDArray[np.bool_], known: NDArray[np.int64] | None, all_asked: bool
) -> NDArray[np.int64]:
    """The column of the metal of each bead, -1 where two are alike or none is bright."""
    scaled = np.arcsinh(values / _COFACTOR)
    group = np.full(len(values), -1, dtype=np.int64)
    for _ in range(2):
        among = np.where(candidates, scaled, -np.inf)
        top = np.argmax(among, axis=1)
        ordered = np.sort(among, axis=1)
        second = ordered[:, -2] if candidates.sum() > 1 else np.zeros(len(values))
        sure = (ordered[:, -1] - second >= _SEPARATION) & (ordered[:, -1] >= _LOWEST)
        if known is not None:
            sure &= top == known
        group = np.where(sure, top, -1)
        if all_asked:
            break
        # channels without antibody are the brightest of stray beads only: asked again without them
        counted = np.bincount(group[group >= 0], minlength=values.shape[1])
        candidates = counted >= max(_FEW, _SHARE * len(values))
        group = np.where(candidates[group], group, -1)
    return group


def _spill(emitting: NDArray[np.float64], receiving: NDArray[np.float64], *, blank: NDArray[np.float64]) -> float:
    """Slope of the receiving on the emitting channel; 0 where it is not sure to be above.

    Counts vary as they are large, so the best weighted slope is a ratio of sums; beads off the line are left out.
    """
    zero = np.zeros(len(blank))
    background, _ = _slope_and_error(zero + 1, blank, offset=zero) if len(blank) >= _FEW else (0.0, 0.0)
    slope, error = _slope_and_error(emitting, receiving, offset=np.full(len(emitting), max(background, 0.0)))
    return slope if slope > _SURE * error else 0.0


def _slope_and_error(
    x: NDArray[np.float64], y: NDArray[np.float64], *, offset: NDArray[np.float64]
) -> tuple[float, float]:
    start = float(np.median((y - offset) / np.maximum(x, 1e-9)))
    kept = np.ones(len(x), dtype=bool)
    slope, noise = max(start, 0.0), 1.0
    for _ in range(_ROUNDS):
        expected = np.maximum(slope * x + offset, _HALF)
        scaled = (y - slope * x - offset) / np.sqrt(expected)
        # never less than counting noise
        noise = max(1.0, _NORMAL * float(np.median(np.abs(scaled))))
        now = np.abs(scaled) <= _OUTLYING * noise
        slope = float((y[now] - offset[now]).sum() / x[now].sum())
        if (now == kept).all():
            break
        kept = now
    expected = np.maximum(slope * x + offset, _HALF)[kept]
    return slope, noise * float(np.sqrt(expected.sum()) / x[kept].sum())


def _match(
    adata: AnnData, *, spillover: pd.DataFrame, held: dict[Isotope, int]
) -> tuple[NDArray[np.float64], list[Isotope]]:
    """The matrix over the isotopes that both the file and the spillover have."""
    where = _where(adata)
    rows, columns = ([_isotope(str(name)) for name in index] for index in (spillover.index, spillover.columns))
    unread = [str(n) for n, one in zip([*spillover.index, *spillover.columns], rows + columns, strict=True) if not one]
    if unread:
        fix = "give the rows and columns names such as Nd143 or Nd143Di"
        raise InputError(f"the spillover matrix names {unread[0]!r}, which is no isotope", where=where, fix=fix)
    if len(set(rows)) < len(rows) or len(set(columns)) < len(columns) or not set(rows) <= set(columns):
        fix = "give each emitting isotope a row, and a column of the same name"
        raise InputError("the rows of the spillover matrix are not among its columns, each once", where=where, fix=fix)
    values = spillover.to_numpy(dtype=np.float64)
    diagonal = values[np.arange(len(rows)), [columns.index(one) for one in rows]]
    if not np.isfinite(values).all() or (values < 0).any() or not np.allclose(diagonal, 1):
        fix = "give fractions of the emitting channel, with a diagonal of 1"
        raise InputError(
            "the spillover matrix holds missing or negative values, or no diagonal of 1", where=where, fix=fix
        )
    named = [one for one in columns if one is not None]
    shared = [one for one in held if one in named]
    if not shared:
        why = f"the matrix is about {', '.join(map(str, named[:5]))}"
        raise InputError("no mass channel of the file is in the spillover matrix", where=where, why=why)
    for code, absent, text in (
        (
            "mass.no_spillover",
            [one for one in held if one not in named],
            "are not in the spillover matrix: left as read",
        ),
        ("mass.not_measured", [one for one in named if one not in held], "of the spillover matrix were not measured"),
    ):
        if absent:
            _note(adata, code, f"{', '.join(map(str, absent))} {text}", count=len(absent))
    matrix = np.eye(len(shared))
    for i, one in enumerate(shared):
        if one in rows:
            matrix[i] = values[rows.index(one), [columns.index(other) for other in shared]]
    if not np.linalg.cond(matrix) < _WORST_CONDITION:
        raise InputError("the spillover matrix cannot be inverted safely", where=where, fix="look for two equal rows")
    return matrix, shared


def _sample(adata: AnnData) -> str:
    names = sample_names(adata)
    return names[0] if len(names) == 1 else ""


def _where(adata: AnnData) -> str:
    return f"sample {_sample(adata)}" if _sample(adata) else ""


def _note(adata: AnnData, code: str, text: str, *, count: int | None = None) -> None:
    add_note(adata, code, text, count=count, sample=_sample(adata))
