"""How simulated studies reach the disk: whole folders that appear at once, and the formats of the instruments."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from isal import igzip

from cellprec.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd

Floats = npt.NDArray[np.float64]


@contextmanager
def new_folder(folder: Path | str) -> Iterator[Path]:
    """Give a folder to fill that gets its real name only when all is written, so that no half study is ever found.

    Raises
    ------
    UsageError
        If the folder is there already and holds something: nothing of the user's is written over.
    """
    target = Path(folder).expanduser().absolute()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(
            f"{target.name} is already there",
            where=target,
            why="a simulated study is only written to a new or empty folder, so that nothing is overwritten",
            fix="Name another folder, or remove this one.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    holder = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        draft = holder / "study"
        draft.mkdir()
        yield draft
        draft.replace(target)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a sheet as a biologist's program would read it: commas, no index, missing cells empty."""
    table.to_csv(path, index=False, lineterminator="\n", float_format="%.6g")


def write_10x(path: Path, counts: sp.csr_matrix, *, barcodes: Sequence[str], genes: Sequence[str]) -> None:
    """Write cells × genes as a Cell Ranger 3 ``.h5`` (features × barcodes, compressed by column).

    The gene identifiers are the symbols: a simulated reference has no Ensembl release.
    """
    matrix = sp.csr_matrix(counts)
    matrix.sort_indices()
    with h5py.File(path, "w") as file:
        file.attrs["filetype"] = "matrix"
        file.attrs["version"] = 2
        file.attrs["software_version"] = "simulated"
        group = file.create_group("matrix")

        def put(name: str, values: object) -> None:
            group.create_dataset(name, data=values, compression="gzip", compression_opts=4)

        put("barcodes", np.array(barcodes, "S"))
        put("data", matrix.data.astype(np.int32))
        put("indices", matrix.indices.astype(np.int64))
        put("indptr", matrix.indptr.astype(np.int64))
        put("shape", np.array(matrix.shape[::-1], np.int32))
        put("features/id", np.array(genes, "S"))
        put("features/name", np.array(genes, "S"))
        put("features/feature_type", np.full(len(genes), b"Gene Expression"))
        put("features/genome", np.full(len(genes), b"simulated"))
        put("features/_all_tag_keys", np.array([b"genome"]))


def write_fastq(path: Path, *, name: str, bases: npt.NDArray[np.uint8], qualities: npt.NDArray[np.uint8]) -> None:
    """Write reads of one length as ``.fastq.gz``: reads × positions of ASCII bases and of Phred+33 qualities."""
    n, width = bases.shape
    head = np.frombuffer(f"@{name}:0000000\n".encode(), np.uint8)
    record = np.empty((n, head.size + 2 * width + 4), np.uint8)
    record[:, : head.size] = head
    number = np.arange(n)
    for digit in range(7):
        record[:, head.size - 2 - digit] = ord("0") + number // 10**digit % 10
    record[:, head.size : head.size + width] = bases
    record[:, head.size + width : head.size + width + 3] = np.frombuffer(b"\n+\n", np.uint8)
    record[:, head.size + width + 3 : -1] = qualities
    record[:, -1] = ord("\n")
    path.write_bytes(igzip.compress(record.tobytes(), compresslevel=2, mtime=0))
