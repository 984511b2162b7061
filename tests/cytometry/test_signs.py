from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cellprec.cytometry.signs import default_signs, read_signs
from cellprec.errors import FileFormatError


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    "text",
    [
        ",CD3,CD19\nT,+,-\nB,-,+\nother,,\n",
        "population;CD3;CD19\nT;1;-1\nB;-1;1\nother;0;\n",
        "\ufeffpopulation\tCD3\tCD19\r\nT\tpos\tneg\r\n\r\nB\t neg \t+\r\nother\t\t0\r\n",
    ],
)
def test_many_ways_to_write_one_table(tmp_path: Path, text: str) -> None:
    signs = read_signs(write(tmp_path / "signs.csv", text))
    assert signs.index.tolist() == ["T", "B", "other"]
    np.testing.assert_array_equal(signs.to_numpy(), [[1, -1], [-1, 1], [np.nan, np.nan]])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (",CD3\nT,maybe\n", "row 2, column CD3"),
        (",CD3\nT,+\nT,-\n", "row 2"),
        ("T\n", "signs.csv"),
        ("", "signs.csv"),
        (b"\xff\xfe\x00", "signs.csv"),
    ],
)
def test_what_is_no_sign_table_is_refused_with_its_place(tmp_path: Path, text: str | bytes, where: str) -> None:
    with pytest.raises(FileFormatError) as caught:
        read_signs(write(tmp_path / "signs.csv", text))
    assert where in caught.value.where


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="cannot be read"):
        read_signs(tmp_path / "none.csv")


def test_the_default_tells_every_population_from_every_other_but_its_parents() -> None:
    signs = default_signs().fillna(0)
    for one in signs.index:
        for other in signs.index.drop(one):
            opposite = (signs.loc[one] * signs.loc[other] < 0).any()
            nested = ((signs.loc[one] == 0) | (signs.loc[one] == signs.loc[other])).all()
            nested |= ((signs.loc[other] == 0) | (signs.loc[one] == signs.loc[other])).all()
            gamma_delta = "Gamma-delta T cells" in (one, other)
            assert opposite or nested or gamma_delta, (one, other)
