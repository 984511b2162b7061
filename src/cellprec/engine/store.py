"""The run folder: artifacts written atomically, receipts that say what made them, and their reading."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cellprec.notes import Note, get_notes
from cellprec.steps.contract import Artifacts

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

_PARTIAL = ".partial-"


@dataclass(frozen=True)
class Receipt:
    """What came of one task: its key (inputs, settings, version), its state, its outputs with their digests.

    ``failed`` is the user's input; ``crashed`` is a bug of ours, with the traceback kept for the log.
    """

    step: str
    sample: str
    key: str
    status: Literal["done", "failed", "crashed"]
    seconds: float = 0.0
    device: str = "cpu"
    outputs: dict[str, str] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    traceback: str = ""
    notes: list[dict[str, Any]] = field(default_factory=list)
    packages: dict[str, str] = field(default_factory=dict)


class RunFolder:
    """A folder of results: where everything is, how it is written, how it is read back."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)

    def receipt_path(self, step: str, sample: str = "") -> Path:
        """Where the receipt of a task is; Snakemake waits for this file."""
        return self.path / "receipts" / step / f"{sample}.json" if sample else self.path / "receipts" / f"{step}.json"

    def artifact_path(self, step: str, sample: str = "") -> Path:
        """Where the AnnData of a task is: ``work/`` for one sample, ``data/`` for the study."""
        return self.path / "work" / step / f"{sample}.h5ad" if sample else self.path / "data" / f"{step}.h5ad"

    def table_path(self, step: str, thing: str) -> Path:
        """Where a table of a step is."""
        return self.path / "tables" / f"{step}.{thing}.csv"

    def receipt(self, step: str, sample: str = "") -> Receipt | None:
        """The receipt of a task, if it ever ended."""
        path = self.receipt_path(step, sample)
        return Receipt(**json.loads(path.read_text())) if path.is_file() else None

    def receipts(self) -> list[Receipt]:
        """All receipts, in the order of their names."""
        return [Receipt(**json.loads(path.read_text())) for path in sorted((self.path / "receipts").rglob("*.json"))]

    def is_current(self, receipt: Receipt | None, key: str) -> bool:
        """Whether a receipt stands for this key and everything it promises is there."""
        if receipt is None or receipt.status != "done" or receipt.key != key:
            return False
        return all((self.path / name).is_file() for name in receipt.outputs)

    def write_receipt(self, receipt: Receipt) -> None:
        """Write a receipt; always last, so that what has one is whole."""
        with self.writing(self.receipt_path(receipt.step, receipt.sample)) as path:
            path.write_text(json.dumps(asdict(receipt), indent=1, default=str))

    def write_data(self, adata: AnnData, step: str, sample: str = "") -> Path:
        """Write the AnnData of a task."""
        target = self.artifact_path(step, sample)
        with self.writing(target) as path:
            adata.write_h5ad(path)
        return target

    def write_table(self, table: pd.DataFrame, step: str, thing: str) -> Path:
        """Write a table as CSV; cells that a spreadsheet would run as a formula are defused."""
        target = self.table_path(step, thing)
        with self.writing(target) as path:
            defused(table).to_csv(path, index=False, lineterminator="\n")
        return target

    @contextmanager
    def writing(self, target: Path) -> Iterator[Path]:
        """Give a temporary path beside the target, and move it there only if the block ends well."""
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f"{_PARTIAL}{_host()}-{os.getpid()}-"
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=target.suffix, dir=target.parent)
        os.close(handle)
        path = Path(name)
        try:
            yield path
            path.chmod(0o644)
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what a killed process of this machine left half-written; those at work are left alone."""
        for path in self.path.rglob(f"{_PARTIAL}{_host()}-*"):
            pid = path.name.removeprefix(f"{_PARTIAL}{_host()}-").partition("-")[0]
            if not _is_alive(pid):
                path.unlink(missing_ok=True)

    def forget(self, tasks: Iterable[tuple[str, str]]) -> None:
        """Remove the receipts of tasks whose outputs no longer hold, so that no reader takes them for current."""
        for step, sample in tasks:
            self.receipt_path(step, sample).unlink(missing_ok=True)

    def data(self, step: str, sample: str = "") -> AnnData | None:
        """The AnnData of a step that ended well, else ``None``."""
        receipt = self.receipt(step, sample)
        path = self.artifact_path(step, sample)
        return read_data(path) if receipt and receipt.status == "done" and path.is_file() else None

    def artifacts(self, step: str, samples: list[str]) -> Artifacts:
        """The per-sample AnnData of a step, those that ended well."""
        receipts = {sample: self.receipt(step, sample) for sample in samples}
        done = [sample for sample, receipt in receipts.items() if receipt and receipt.status == "done"]
        return Artifacts({sample: self.artifact_path(step, sample) for sample in done}, read_data)

    def table(self, name: str) -> pd.DataFrame | None:
        """A table by its name, ``cytometry.samples``."""
        import pandas as pd  # noqa: PLC0415 - `cellprec doctor` and Snakemake's planning need no tables

        step, _, thing = name.partition(".")
        path = self.table_path(step, thing)
        receipt = self.receipt(step)
        if not path.is_file() or receipt is None or receipt.status != "done":
            return None
        return pd.read_csv(path, dtype={"sample_id": str, "patient_id": str, "cluster": str, "clone": str})

    def manifest(self) -> dict[str, Any]:
        """What ran on what: the content of ``manifest.json``."""
        path = self.path / "manifest.json"
        return json.loads(path.read_text()) if path.is_file() else {}

    def notes(self) -> list[Note]:
        """All notes of all tasks, each once."""
        return list(dict.fromkeys(Note(**item) for receipt in self.receipts() for item in receipt.notes))


def _host() -> str:
    return platform.node().replace("-", "_")


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except (PermissionError, ValueError):
        return True
    return True


def read_data(path: Path) -> AnnData:
    """Read an artifact."""
    import anndata  # noqa: PLC0415 - see above

    return anndata.read_h5ad(path)


def defused(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with words that start like a formula quoted (OWASP, CSV injection); numbers are left alone."""
    table = table.copy()
    for column in table.select_dtypes(exclude=["number", "bool"]):
        text = table[column].astype(object)
        risky = text.map(lambda v: isinstance(v, str) and v[:1] in "=+@-\t\r" and not _is_number(v) and len(v) > 1)
        if risky.any():
            table[column] = text.where(~risky, "'" + text.astype(str))
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def notes_of(adata: AnnData) -> list[dict[str, Any]]:
    """The notes of an AnnData as plain dictionaries, for its receipt."""
    return [asdict(note) for note in get_notes(adata)]


def digest(path: Path) -> str:
    """SHA-256 of a file, or of all files in a folder with their names (an mtx folder)."""
    if path.is_dir():
        inner = hashlib.sha256()
        for part in sorted(p for p in path.rglob("*") if p.is_file()):
            inner.update(f"{part.relative_to(path)}\0{digest(part)}\n".encode())
        return inner.hexdigest()
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_of(parts: Any, encode: Callable[[Any], str] = str) -> str:
    """SHA-256 of anything JSON can say; the rest is encoded as text."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=encode).encode()).hexdigest()
