"""Tables of patients × features: plasma proteins, clinical laboratory, methylation, radiomics."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
from anndata import AnnData

from cellprec import keys
from cellprec.errors import FileFormatError, InputError
from cellprec.io.delimited import open_delimited, plain_name
from cellprec.notes import add_note

MODALITY = "table"

_MISSING = {"", "na", "n/a", "nan", "null", "none", "missing", "unknown", "-", ".", "#n/a", "n.a."}
_DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+$")
# The second word of a pair is the 1; pairs without such an order are coded alphabetically.
_ORDERED = [
    ("no", "yes"), ("n", "y"), ("false", "true"), ("negative", "positive"), ("neg", "pos"), ("low", "high"),
    ("absent", "present"), ("normal", "abnormal"), ("wildtype", "mutated"), ("wt", "mut"),
]  # fmt: skip
_AMOUNT = "(?:fg|pg|ng|ug|mg|g|kg|fmol|pmol|nmol|umol|mmol|mol|miu|iu|mu|u|ukat|copies|cells|10e3|10e6|10e9|10e12)"
_UNIT = re.compile(
    rf"_((?:{_AMOUNT}_)?per_(?:fl|ul|ml|dl|l|mm3|cm3|kg|g|mg|ug|cell|min|h|day|m2)"
    r"|percent|pct|years|months|weeks|days|hours|kg|cm|mm|mm3|cm3|ml|fl|pg|celsius|mmhg|npx|npq|log2|zscore|suv)$"
)


def read_table(path: str | Path, *, sample_id: str, timepoint: str = "") -> AnnData:
    r"""Read a table of patients × features, such as plasma proteins or laboratory values.

    Parameters
    ----------
    path
        CSV, TSV (gzipped or not) or Excel; semicolons with decimal commas and byte order marks are understood. One
        row per patient; a column ``patient_id``, or else the first column, names the patient.
    sample_id
        Name of the table in the study.
    timepoint
        When the values were measured, written to every feature.

    Returns
    -------
    AnnData
        Patients × features, float32, missing values NaN. ``layers["missing"]`` is 1 where a value is missing.
        ``obs["patient_id"]``; ``var["modality"]``, ``var["timepoint"]``, ``var["unit"]`` (what the header ends in:
        ``ferritin_ug_per_l`` gives ``ug_per_l``, empty if nothing known). Columns of two words are coded 0 and 1;
        other text columns are dropped. Both are noted.

    Raises
    ------
    InputError
        A patient has no name or several rows, or there is no numeric column.
    FileFormatError
        The file is damaged, empty or of another kind.

    Examples
    --------
    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "lab.csv"
    >>> _ = path.write_text("patient_id;ferritin_ug_per_l;bulky\nP1;350,5;yes\nP2;;no\n")
    >>> lab = read_table(path, sample_id="lab", timepoint="d0")
    >>> lab.to_df()
        ferritin_ug_per_l  bulky
    P1              350.5    1.0
    P2                NaN    0.0
    >>> lab.var["unit"].tolist()
    ['ug_per_l', '']
    """
    path = Path(path)
    frame, decimal_comma = _cells(path)
    patient = next((name for name in frame.columns if plain_name(name) == "patientid"), frame.columns[0])
    patients = frame.pop(patient)
    _judge_patients(patients, path)
    converted = int(frame.map(lambda cell: bool(_DECIMAL_COMMA.match(cell))).sum().sum()) if decimal_comma else 0
    values, coded, dropped = _numbers(frame, decimal_comma=decimal_comma)
    if values.empty:
        raise InputError(
            "the table has no numeric feature",
            where=path,
            why="; ".join(dropped.values()) or "It has no column beside the patients.",
            fix="Give one row per patient and one numeric column per feature.",
        )
    obs = pd.DataFrame({keys.PATIENT_ID: pd.Categorical(patients)}, index=pd.Index(patients, name=keys.PATIENT_ID))
    obs.index.name = None
    var = pd.DataFrame(index=pd.Index(values.columns, dtype=str))
    var[keys.MODALITY] = pd.Categorical([MODALITY] * len(var))
    var[keys.TIMEPOINT] = pd.Categorical([timepoint] * len(var))
    var[keys.FEATURE_UNIT] = pd.Categorical([_unit(name) for name in var.index])
    numbers = values.to_numpy(dtype=np.float32)
    adata = AnnData(numbers, obs=obs, var=var, layers={keys.MISSING: np.isnan(numbers).astype(np.float32)})
    if converted:
        text = "numbers with a decimal comma were read as such"
        add_note(adata, "table.decimal_comma", text, count=converted, sample=sample_id)
    for name, coding in coded.items():
        add_note(adata, "table.coded", f"column {name} was coded {coding}", sample=sample_id)
    for name, reason in dropped.items():
        add_note(adata, "table.dropped", f"column {name} was dropped: {reason}", sample=sample_id)
    return adata


def _cells(path: Path) -> tuple[pd.DataFrame, bool]:
    if path.suffix.lower() in {".xlsx", ".xlsm"}:
        return _excel(path), False
    table = open_delimited(path)
    frame = table.frame(table.header)
    blank = [name for name in table.header if name.startswith("unnamed_") and not frame[name].any()]
    return frame.drop(columns=blank), table.separator == ";"


def _excel(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise InputError("there is no such file", where=path, fix="Check the path in the sheet.")
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        rows = [[_text(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
        book.close()
    except Exception as error:  # openpyxl raises whatever the zip or XML reader raised
        raise FileFormatError(
            f"the workbook cannot be read ({error})",
            where=path,
            why="It is damaged, protected by a password, or no .xlsx.",
            fix="Open it, save it as CSV (UTF-8), and give that file.",
        ) from error
    numbered = [(number, row) for number, row in enumerate(rows, start=1) if any(row)]
    if not numbered:
        raise FileFormatError("the first worksheet is empty", where=path, fix="Move the table to the first worksheet.")
    header = numbered[0][1]
    used = [place for place, name in enumerate(header) if name or any(row[place] for _, row in numbered[1:])]
    names = [header[place] or f"unnamed_{place + 1}" for place in used]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise FileFormatError(
            f"two columns are named {min(twice)!r}", where=f"{path}, row 1", fix="Rename or remove one of them."
        )
    body = [[row[place] for place in used] for _, row in numbered[1:]]
    return pd.DataFrame(body, columns=names, index=[number for number, _ in numbered[1:]], dtype=str)


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return " ".join(str(value).split())


def _judge_patients(patients: pd.Series, path: Path) -> None:
    unnamed = patients.index[patients == ""].tolist()
    if unnamed:
        raise InputError(
            "a row has values but no patient",
            where=f"{path}, row {unnamed[0]}, column {patients.name}",
            fix="Write the patient_id, or remove the row.",
        )
    twice = patients[patients.duplicated(keep=False)]
    if len(twice):
        name = twice.iloc[0]
        rows = ", ".join(str(row) for row in twice.index[twice == name])
        others = twice.nunique() - 1
        raise InputError(
            f"patient {name!r} has several rows" + (f", and so have {others} others" if others else ""),
            where=f"{path}, rows {rows}",
            why="The patient is the unit of every test; two rows would count twice.",
            fix="Keep one row per patient; give each timepoint as a table of its own.",
        )


def _numbers(frame: pd.DataFrame, *, decimal_comma: bool) -> tuple[pd.DataFrame, dict[str, str], dict[str, str]]:
    columns: dict[str, pd.Series] = {}
    coded: dict[str, str] = {}
    dropped: dict[str, str] = {}
    for name in frame.columns:
        texts = frame[name]
        present = ~texts.str.lower().isin(_MISSING)
        plain = texts.str.replace(",", ".", regex=False) if decimal_comma else texts
        plain = plain.where(texts.str.match(_DECIMAL_COMMA), texts) if decimal_comma else texts
        numbers = pd.to_numeric(plain.where(present, ""), errors="coerce")
        wrong = present & ~np.isfinite(numbers.to_numpy(dtype=float))
        words = sorted(texts[present].str.lower().unique())
        if not wrong.any():
            columns[name] = numbers
        elif len(words) == 2 and wrong.sum() == present.sum():
            zero, one = next((pair for pair in _ORDERED if set(pair) == set(words)), tuple(words))
            columns[name] = texts.str.lower().map({zero: 0.0, one: 1.0})
            coded[name] = f"{zero} = 0, {one} = 1"
        else:
            place = int(np.argmax(wrong))
            example = f"{texts.iloc[place]!r} in row {texts.index[place]} is not a number"
            dropped[name] = example + (f" ({int(wrong.sum())} such cells)" if wrong.sum() > 1 else "")
    return pd.DataFrame(columns, index=frame.index), coded, dropped


def _unit(name: str) -> str:
    found = _UNIT.search(name.lower())
    return found[1] if found else ""
