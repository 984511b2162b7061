"""The key of a barcoding scheme: which sample carries which metals."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from cellprec import keys
from cellprec.cytometry.mass.masses import channel_masses
from cellprec.cytometry.panel import find_channels, near_misses
from cellprec.errors import InputError, Problem, StudyError
from cellprec.notes import add_note

if TYPE_CHECKING:
    from anndata import AnnData
    from numpy.typing import NDArray


class BarcodeKey(NamedTuple):
    """Samples, their codes as numbers (bit c: channel c), the channels; k ones in every code, 0 where that differs."""

    samples: tuple[str, ...]
    codes: tuple[int, ...]
    channels: tuple[int, ...]
    names: tuple[str, ...]
    k: int

    def sample_of(self, code: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the number of the sample of each code, -1 where the key does not have it."""
        order = np.argsort(self.codes)
        known = np.array(self.codes)[order]
        place = np.minimum(np.searchsorted(known, code), len(known) - 1)
        return np.where(known[place] == code, order[place], -1).astype(np.intp)

    def bits(self, code: int) -> NDArray[np.intp]:
        """Return the channels that a code has."""
        return np.array([c for c in range(len(self.channels)) if int(code) >> c & 1], dtype=np.intp)

    def spelled(self, i: int) -> str:
        """Return the channels of a sample's code in words."""
        return self.say(self.codes[i])

    def say(self, code: int) -> str:
        """Return the channels of any code in words."""
        return " ".join(self.names[c] for c in self.bits(code))


def read_key(adata: AnnData, *, key: pd.DataFrame) -> BarcodeKey:
    """Find the channels of a key among those measured, and refuse what could not be read unambiguously.

    Raises StudyError with everything that is wrong at once.

    >>> import anndata
    >>> adata = anndata.AnnData(shape=(0, 3), var=pd.DataFrame(index=["Pd102Di", "Pd104Di", "Pd105Di"]))
    >>> read_key(adata, key=pd.DataFrame([[1, 0, 1], [0, 1, 1]], index=["A", "B"], columns=["102", "104", "105"]))[:2]
    (('A', 'B'), (5, 6))
    """
    if key.empty:
        raise InputError(
            "the barcode key is empty", fix="one row per sample, one column of 0 and 1 per barcode channel"
        )
    channels, problems = _find(adata, key=key)
    values = key.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    samples = [str(name).strip() for name in key.index]
    for row, column in np.argwhere(~np.isin(values, (0.0, 1.0))):
        what = f"{key.iat[int(row), int(column)]!r} is neither 0 nor 1"
        problems.append(_problem("value", what, sample=samples[row], column=str(key.columns[column])))
    problems += [
        _problem("sample", "this sample stands in the key twice", sample=name)
        for name in dict.fromkeys(samples)
        if samples.count(name) > 1
    ]
    if keys.UNASSIGNED in samples:
        problems.append(_problem("sample", f"a sample cannot be called {keys.UNASSIGNED}", sample=keys.UNASSIGNED))
    bits = np.nan_to_num(values).astype(int)
    problems += _problems_of_codes(bits, samples=samples)
    if problems:
        raise StudyError(problems, what="the barcode key cannot be used")
    codes = [int((row << np.arange(len(row))).sum()) for row in bits]
    lengths = sorted(set(bits.sum(axis=1).tolist()))
    names = tuple(str(column) for column in key.columns)
    read = BarcodeKey(tuple(samples), tuple(codes), tuple(channels), names, lengths[0] if len(lengths) == 1 else 0)
    if not read.k:
        _warn(adata, read, lengths=lengths)
    return read


def _find(adata: AnnData, *, key: pd.DataFrame) -> tuple[list[int], list[Problem]]:
    masses = channel_masses(adata).to_numpy()
    channels, problems = [], []
    for column in key.columns:
        name = str(column).strip().removesuffix(".0")
        hits = np.flatnonzero(masses == float(name)) if name.isdigit() else np.array([], dtype=int)
        found = find_channels(adata, names=[name])
        if len(hits) == 1:
            channels.append(int(hits[0]))
        elif name in found:
            channels.append(int(adata.var_names.get_loc(found[name])))
        else:
            near = near_misses(adata, name=name)
            fix = f"did you mean {' or '.join(near)}?" if near else "use channel names, marker names or masses"
            problems.append(_problem("channel", "no channel, or more than one, is meant by it", column=name, fix=fix))
    if len(set(channels)) < len(channels):
        problems.append(_problem("channel", "two columns of the key mean the same channel"))
    return channels, problems


def _problems_of_codes(bits: NDArray[np.int_], *, samples: list[str]) -> list[Problem]:
    problems = []
    seen: dict[tuple[int, ...], str] = {}
    for name, row in zip(samples, bits, strict=True):
        other = seen.setdefault(tuple(row.tolist()), name)
        if other != name:
            problems.append(_problem("code", f"{other} has the same code", sample=name))
        if row.all() or not row.any():
            what = f"its code has {'all' if row.all() else 'none'} of the metals"
            fix = "no separation can be measured in such a code: gate this sample by hand, or leave it out of the key"
            problems.append(_problem("code", what, sample=name, fix=fix))
    return problems


def _problem(what_of: str, what: str, *, sample: str = "", column: str = "", fix: str = "") -> Problem:
    return Problem(f"barcode_key.{what_of}", what, file="the barcode key", column=column, sample=sample, fix=fix)


def _warn(adata: AnnData, key: BarcodeKey, *, lengths: list[int]) -> None:
    held = set(key.codes)
    pairs = {(a | b) for a in held for b in held if (a | b) not in (a, b) and (a | b) in held}
    text = (
        f"the codes of the key have {' or '.join(map(str, lengths))} metals: a doublet of two samples can look like a "
        f"third, which a scheme of one length would show ({len(pairs)} codes are the sum of two others)"
    )
    add_note(adata, "events.barcodes_of_lengths", text, count=len(pairs))
