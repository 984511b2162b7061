"""Where a sample belongs: its patient, its timepoint, its batch, as the sheet says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import pandas as pd

from cellprec import keys
from cellprec.errors import InputError, JoinError

if TYPE_CHECKING:
    from collections.abc import Iterable

_COLUMNS = [keys.SAMPLE_ID, keys.MODALITY, keys.PATIENT_ID, keys.TIMEPOINT, keys.BATCH, "path"]
_CELLS = ("cytometry", "rna", "table")


@dataclass(frozen=True)
class Places:
    """The sheet, one row per sample, every column a stripped string."""

    rows: pd.DataFrame

    @classmethod
    def read(cls, sheet: pd.DataFrame) -> Places:
        """Read the sheet; raise InputError where it lacks ``sample_id`` or ``modality``.

        >>> Places.read(pd.DataFrame({"sample_id": ["s"], "modality": ["rna"], "patient_id": ["P1 "]})).patients
        ['P1']
        """
        rows = sheet if keys.SAMPLE_ID in sheet else sheet.reset_index()
        for column in (keys.SAMPLE_ID, keys.MODALITY):
            if column not in rows:
                raise InputError(f"the sheet has no column {column}", where="samples.csv", fix=f"add {column}")
        rows = rows.reindex(columns=_COLUMNS).fillna("").astype(str).apply(lambda column: column.str.strip())
        return cls(rows)

    @property
    def patients(self) -> list[str]:
        """Every patient a sample names, in the order of the sheet."""
        named = self.rows.loc[self.rows[keys.PATIENT_ID] != "", keys.PATIENT_ID]
        return list(dict.fromkeys(named))

    def of(self, modality: str) -> pd.DataFrame:
        """Return the samples of one modality by sample_id; ``clones`` takes every kind that counts clones."""
        kind = self.rows[keys.MODALITY]
        chosen = self.rows[~kind.isin(_CELLS) if modality == "clones" else kind == modality]
        return chosen.drop_duplicates(keys.SAMPLE_ID).set_index(keys.SAMPLE_ID)

    def find(self, sample_ids: Iterable[str], *, modality: str) -> pd.DataFrame:
        """Return the rows of these samples; raise JoinError where the sheet knows none of them."""
        asked = list(dict.fromkeys(sample_ids))
        known = self.of(modality)
        found = known.loc[[sample for sample in asked if sample in known.index]]
        if asked and found.empty:
            raise JoinError(
                f"no {modality} sample of the data is in the sheet",
                where=f"data: {', '.join(asked[:3])}; samples.csv: {', '.join(known.index[:3]) or 'none'}",
                fix="use the same sample_id in the sheet and in the data",
            )
        return found

    def stem(self, sample_id: str) -> str:
        """Return the name of a table's file without its ending, or its sample_id where no path is given."""
        row = self.of("table")
        path = str(row.at[sample_id, "path"]) if sample_id in row.index else ""
        return PurePath(path).name.split(".")[0] or sample_id

    def batches(self, patients: list[str]) -> pd.DataFrame:
        """Return the batch of each patient per ``modality@timepoint``, "" where there is none."""
        rows = self.rows[self.rows[keys.BATCH].ne("") & self.rows[keys.PATIENT_ID].isin(patients)].copy()
        if rows.empty:
            return pd.DataFrame(index=pd.Index(patients))
        modality = rows[keys.MODALITY].where(rows[keys.MODALITY].isin(_CELLS), "clones")
        rows["column"] = (modality + "@" + rows[keys.TIMEPOINT]).str.replace("/", "|")
        joined = rows.groupby([keys.PATIENT_ID, "column"])[keys.BATCH].agg(_joined)
        return joined.unstack("column").reindex(patients).fillna("")

    def batch(self, patients: list[str]) -> pd.Series:
        """Return one batch per patient: that of its samples, joined by + where they differ."""
        rows = self.rows[self.rows[keys.BATCH].ne("") & self.rows[keys.PATIENT_ID].isin(patients)]
        return rows.groupby(keys.PATIENT_ID)[keys.BATCH].agg(_joined)


def _joined(batches: pd.Series) -> str:
    return "+".join(sorted(set(batches)))
