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
from cellprec.notes import Note, add_note

MODALITY = "table"

_MISSING = {"", "na", "n/a", "nan", "null", "none", "missing", "unknown", "-", ".", "#n/a", "n.a."}
_DECIMAL_COMMA = re.compile(r"^[+-]?\d+,\d+$")
# 1 234,5: any blank between groups of three, as French, German and Swiss spreadsheets write it
_GROUPED = re.compile(r"^[+-]?\d{1,3}(?:[ \u00a0\u2009\u202f]\d{3})+(?:[.,]\d+)?$")
# 1,250 in a workbook may be a thousand or a little more than one
_UNCLEAR = re.compile(r"^[+-]?[1-9]\d{0,2},\d{3}$")
# a number in a spelling that is not read, or beyond a limit: no word to be coded as 0 or 1
_AMOUNT_LIKE = re.compile(r"^[<>≤≥=~+-]*\s*\d[\d.,\s]*$")
_BLANK = re.compile(r"[ \u00a0\u2009\u202f]")
# fewer numbers than this among the cells that say something, and the column is no column of numbers
_MOSTLY = 2 / 3
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
        CSV, TSV (gzipped or not) or Excel; byte order marks are understood, and, between semicolons and in Excel,
        numbers as text such as ``4,7`` and ``1 234,5``. One row per patient; a column ``patient_id``, or else the
        first column, names the patient.
    sample_id
        Name of the table in the study.
    timepoint
        When the values were measured, written to every feature.

    Returns
    -------
    AnnData
        Patients × features, float32, missing values NaN. ``layers["missing"]`` is 1 where a value is missing.
        ``obs["patient_id"]``; ``var["modality"]``, ``var["timepoint"]``, ``var["unit"]`` (what the header ends in:
        ``ferritin_ug_per_l`` gives ``ug_per_l``, empty if nothing known). Columns of two words are coded 0 and 1. In
        a column of numbers (two thirds of the cells that are not empty) other cells, such as ``<0.5``, are missing;
        other text columns are dropped. All of this is noted.

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
    frame, manner = _cells(path)
    patient = next((name for name in frame.columns if plain_name(name) == "patientid"), frame.columns[0])
    patients = frame.pop(patient)
    _judge_patients(patients, path)
    values, notes = _numbers(frame, manner=manner)
    if values.empty:
        raise InputError(
            "the table has no numeric feature",
            where=path,
            why="; ".join(note.text for note in notes if note.code == "table.dropped")
            or "It has no column beside the patients.",
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
    for note in notes:
        add_note(adata, note.code, note.text, count=note.count, sample=sample_id)
    return adata


def _cells(path: Path) -> tuple[pd.DataFrame, str]:
    """The table as text, and in which manner its numbers may be written: ``;``, ``excel`` or plain."""
    if path.suffix.lower() in {".xlsx", ".xlsm"}:
        return _excel(path), "excel"
    table = open_delimited(path)
    frame = table.frame(table.header)
    blank = [name for name in table.header if name.startswith("unnamed_") and not frame[name].any()]
    return frame.drop(columns=blank), ";" if table.separator == ";" else "plain"


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


def _numbers(frame: pd.DataFrame, *, manner: str) -> tuple[pd.DataFrame, list[Note]]:
    columns: dict[str, pd.Series] = {}
    notes: list[Note] = []
    respelled = 0
    for name in frame.columns:
        texts = frame[name]
        present = ~texts.str.lower().isin(_MISSING)
        plain = _plain(texts, manner=manner)
        numbers = pd.to_numeric(plain.where(present, ""), errors="coerce")
        numbers = numbers.where(np.isfinite(numbers.to_numpy(dtype=float)))
        wrong = (present & numbers.isna()).to_numpy()
        words = sorted(texts[present].str.lower().unique())
        two = len(words) == 2 and not any(_AMOUNT_LIKE.match(word) for word in words)
        if two and wrong.any() and wrong.sum() == present.sum():
            zero, one = next((pair for pair in _ORDERED if set(pair) == set(words)), tuple(words))
            columns[name] = texts.str.lower().map({zero: 0.0, one: 1.0})
            notes.append(Note("table.coded", f"column {name} was coded {zero} = 0, {one} = 1"))
            continue
        if wrong.any():
            place = int(np.argmax(wrong))
            example = f"{texts.iloc[place]!r} in row {texts.index[place]}"
            count = int(wrong.sum())
            if numbers.notna().sum() < _MOSTLY * present.sum():
                more = f" ({count} such cells)" if count > 1 else ""
                notes.append(Note("table.dropped", f"column {name} was dropped: {example} is not a number{more}"))
                continue
            told = f"{count} cells that are no number" if count > 1 else "1 cell that is no number"
            first = f"the first is {example}" if count > 1 else f"it is {example}"
            limit = "; values beyond a limit are lost so" if texts[wrong].str.match(r"[<>≤≥]").any() else ""
            text = f"column {name} has {told}, taken as missing: {first}{limit}"
            notes.append(Note("table.cells", text, count))
        columns[name] = numbers
        respelled += int((plain != texts)[numbers.notna()].sum())
    if respelled:
        text = "numbers with a decimal comma or blanks between thousands were read as such"
        notes.insert(0, Note("table.decimal_comma", text, respelled))
    return pd.DataFrame(columns, index=frame.index), notes


def _plain(texts: pd.Series, *, manner: str) -> pd.Series:
    commas = texts[texts.str.match(_DECIMAL_COMMA)]
    unclear = manner == "excel" and len(commas) > 0 and bool(commas.str.match(_UNCLEAR).all())
    if manner == "plain" or unclear:
        return texts
    return texts.map(_plain_number)


def _plain_number(text: str) -> str:
    """Write a number without blanks and with a decimal point; any other text comes back as it is."""
    if _GROUPED.match(text):
        text = _BLANK.sub("", text)
        return text.replace(",", ".")
    return text.replace(",", ".") if _DECIMAL_COMMA.match(text) else text


def _unit(name: str) -> str:
    found = _UNIT.search(name.lower())
    return found[1] if found else ""
