"""Spillover matrices in XML: FlowJo workspaces and matrices, Gating-ML 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

import numpy as np
from lxml import etree  # type: ignore[import-untyped]

from cellprec.errors import FileFormatError, InputError


@dataclass(frozen=True, eq=False)
class _Matrix:
    name: str
    samples: tuple[str, ...]
    channels: tuple[str, ...]
    values: np.ndarray

    def same(self, other: _Matrix) -> bool:
        return self.channels == other.channels and np.array_equal(self.values, other.values)


def matrix_from_xml(
    path: Path, data: bytes, *, sample: str | None, name: str | None
) -> tuple[list[str], np.ndarray, list[str]]:
    """Return channels, values and notes of the one matrix that is meant; refuse where none or several could be."""
    try:
        root = etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True))
    except etree.XMLSyntaxError as error:
        raise FileFormatError("the file is not whole XML", where=path, why=str(error)) from error
    found = _matrices(root, path)
    chosen = found
    if name is not None:
        chosen = [matrix for matrix in found if matrix.name == name]
    if sample is not None and any(matrix.samples for matrix in found):
        chosen = [m for m in chosen if any(_folded(sample) == _folded(other) for other in m.samples)]
    elif name is None and any(matrix.samples for matrix in found):
        # matrices that lie in the workspace unused concern no sample
        chosen = [matrix for matrix in found if matrix.samples]
    if not chosen or any(not matrix.same(chosen[0]) for matrix in chosen[1:]):
        _refuse(path, found, chosen, sample=sample, name=name)
    notes = []
    if sample is None and len(found) > 1:
        notes.append(f"all matrices in use in {path.name} are the same: {chosen[0].name or 'unnamed'} was taken")
    return list(chosen[0].channels), chosen[0].values, notes


def _refuse(
    path: Path, found: list[_Matrix], chosen: list[_Matrix], *, sample: str | None, name: str | None
) -> NoReturn:
    listed = [f"{m.name or 'unnamed'} (samples: {', '.join(m.samples) or 'none'})" for m in found]
    why = f"it holds {'; '.join(listed[:20])}" if listed else ""
    if not found:
        what = "no spillover matrix is in the file"
        raise InputError(what, where=path, fix="Give a workspace whose samples are compensated, or the matrix itself.")
    if chosen:
        what = "the file holds several spillover matrices, and it is not said which is meant"
        raise InputError(what, where=path, why=why, fix="Name the sample (sample=) or the matrix (name=).")
    wanted = " and ".join(
        text for text in (f"sample {sample!r}" * bool(sample), f"matrix {name!r}" * bool(name)) if text
    )
    raise InputError(f"the file holds no spillover matrix for {wanted}", where=path, why=why)


def _matrices(root: Any, path: Path) -> list[_Matrix]:
    found: list[_Matrix] = []
    for node in root.iter("{*}spilloverMatrix"):
        rows = {
            _attribute(row, "parameter"): {
                _attribute(c, "parameter"): _value(c, path) for c in row.iter("{*}coefficient")
            }
            for row in node.iter("{*}spillover")
        }
        channels = tuple(rows)
        if any(set(row) != set(channels) for row in rows.values()) or not channels:
            raise FileFormatError("a spillover matrix in the file is not square", where=path)
        values = np.array([[rows[dye][detector] for detector in channels] for dye in channels])
        name = _attribute(node, "name") or _attribute(node, "id")
        _add(found, _Matrix(name, _sample_names(node), channels, values))
    for node in root.iter("{*}spectrumMatrix"):
        _add(found, _from_spectrum(node, path))
    return found


def _add(found: list[_Matrix], matrix: _Matrix) -> None:
    for place, other in enumerate(found):
        if other.name == matrix.name and other.same(matrix):
            samples = tuple(dict.fromkeys((*other.samples, *matrix.samples)))
            found[place] = _Matrix(other.name, samples, other.channels, other.values)
            return
    found.append(matrix)


def _from_spectrum(node: Any, path: Path) -> _Matrix:
    dyes, detectors = (
        [_attribute(child, "name") for child in node.findall(f"{{*}}{part}/{{*}}fcs-dimension")]
        for part in ("fluorochromes", "detectors")
    )
    name = _attribute(node, "id")
    rows = [[_value(c, path) for c in row.iter("{*}coefficient")] for row in node.iter("{*}spectrum")]
    if any(len(row) != len(detectors) for row in rows) or len(rows) != len(dyes):
        raise FileFormatError(f"the spectrum matrix {name} lacks coefficients", where=path)
    if _attribute(node, "matrix-inverted-already") in ("true", "1"):
        raise InputError(
            f"the spectrum matrix {name} is inverted already", where=path, fix="Export the spillover matrix itself."
        )
    if len(dyes) != len(detectors):
        raise InputError(
            f"the matrix {name} has {len(dyes)} dyes in {len(detectors)} detectors",
            where=path,
            why="more detectors than dyes are unmixed, not compensated",
            fix="Unmix the events from single-stained controls.",
        )
    # rows are named by the detector of the dye, which Gating-ML lists in the same order
    return _Matrix(name, (), tuple(detectors), np.array(rows))


def _sample_names(node: Any) -> tuple[str, ...]:
    """Return what the sample around a matrix is called: its name in the workspace and its file."""
    above = next(iter(node.iterancestors("{*}Sample")), None)
    if above is None:
        return ()
    names = [_attribute(child, "name") for child in above.findall("{*}SampleNode")]
    files = [unquote(_attribute(child, "uri")).replace("\\", "/") for child in above.findall("{*}DataSet")]
    names += [file.rsplit("/", maxsplit=1)[-1] for file in files]
    return tuple(dict.fromkeys(name for name in names if name))


def _attribute(node: Any, name: str) -> str:
    return next((str(value) for key, value in node.attrib.items() if etree.QName(key).localname == name), "")


def _value(node: Any, path: Path) -> float:
    text = _attribute(node, "value")
    try:
        value = float(text)
    except ValueError as error:
        raise FileFormatError(f"{text!r} in a spillover matrix is no number", where=path) from error
    if not np.isfinite(value):
        raise FileFormatError(f"{text!r} in a spillover matrix is no number", where=path)
    return value


def _folded(name: str) -> str:
    name = name.strip().casefold()
    return name.removesuffix(".gz").removesuffix(".fcs")
