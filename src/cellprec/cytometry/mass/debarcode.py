"""Which sample each event of a pooled mass cytometry run belongs to, by its metal barcode."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.signal import find_peaks

from cellprec import keys
from cellprec.cytometry.mass.barcode_key import BarcodeKey, read_key
from cellprec.errors import InputError, UsageError
from cellprec.notes import Note, add_note, get_notes, set_notes

if TYPE_CHECKING:
    from anndata import AnnData

# obs: the sample by barcode, or unassigned (categorical); why not (categorical); the two measures of trust (float32)
# uns: what debarcode_table returns
# obs of what split_debarcoded returns: the pooled run

REASONS: Final = ("", "bead", "not finite", "code not in key", "separation", "distance")
CUTOFFS: Final = tuple(round(0.1 * i, 1) for i in range(1, 10))

_TOP: Final = 0.95
_ROUNDS: Final = 10
# channels whose positives differ by less than this on the arcsinh scale (two-fold) are compared as they are
_ALIKE: Final = float(np.log(2))
_CLEAR: Final = 0.3
_LEAST_SHARE: Final = 0.3
_BINS: Final = 100
_SMOOTH: Final = 0.03
_FEW: Final = 50
_LOWEST_CUTOFF: Final = 0.1
_USUAL_CUTOFF: Final = 0.3
# a valley higher than this share of the hill does not part doublets from cells
_SHALLOW: Final = 0.25
_NOT_CLEAR: Final = "shallow valley"
_IMPURE: Final = 0.02
_UNLISTED: Final = 0.1

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


class _Codes(NamedTuple):
    """The code of each event as a number, and how far its lowest positive lies above its highest negative."""

    code: Ints
    separation: Floats


def debarcode(
    adata: AnnData,
    *,
    key: pd.DataFrame,
    cutoff: float | Mapping[str, float] | Literal["estimated"] | None = "estimated",
    max_distance: float | None = 30.0,
    cofactor: float = 10.0,
) -> None:
    """Say for each event of a pooled run which sample it came from, and leave doublets and doubtful events unassigned.

    The barcode channels, arcsinh(x / cofactor), are sorted within each event. Where all codes of the key have the same
    number k of ones, the k highest are positive; else those above the largest gap are. Separation is the distance
    between the lowest positive and the highest negative, after the intensities of each code's events were divided by
    the 95th percentile of their positives (Zunder et al. 2015, Nat Protoc 10:316). Channels whose positives differ
    more than two-fold are first brought to the same background and brightness, over and again until no code changes.
    An event is assigned if its code is in the key, its separation reaches the cutoff of its sample and its squared
    Mahalanobis distance from the assigned events of that sample does not exceed ``max_distance``.

    Parameters
    ----------
    adata
        Events × channels, linear. Events with ``obs["bead"]`` are left out, those without ``obs["keep"]`` do not
        weigh in any estimate.
    key
        Samples × barcode channels, 1 where the sample carries the metal and 0 where not. The columns are channel names,
        marker names or mass numbers.
    cutoff
        Separation required: one for all, one for each sample, or estimated per sample from its yield curve (where the
        curve is flattest below its fall: the valley in the density of separations). None accepts every separation.
    max_distance
        None accepts every distance.
    cofactor
        Counts at which arcsinh turns from linear to logarithmic.

    Adds ``obs["debarcoded_sample"]`` (categorical, ``unassigned``), ``obs["bc_reason"]`` (why not), ``obs`` columns
    ``bc_separation`` and ``bc_distance`` (float32, nan where it cannot be had), and the table that
    ``debarcode_table`` returns.

    Raises
    ------
    InputError
        The key names channels that were not measured, has equal codes, or something else than 0 and 1.
    UsageError
        The events are transformed already; a cutoff is not one.

    Examples
    --------
    >>> import anndata
    >>> rng = np.random.default_rng(0)
    >>> key = pd.DataFrame([[1, 1, 0], [1, 0, 1], [0, 1, 1]], index=["A", "B", "C"], columns=[102, 104, 105])
    >>> values = rng.poisson(np.repeat(key.to_numpy(), 200, axis=0) * 500 + 3).astype("float32")
    >>> var = pd.DataFrame({"channel": ["Pd102Di", "Pd104Di", "Pd105Di"], "kind": "mass"}, index=["a", "b", "c"])
    >>> adata = anndata.AnnData(values, var=var)
    >>> debarcode(adata, key=key)
    >>> adata.obs["debarcoded_sample"].value_counts().to_dict()
    {'A': 200, 'B': 200, 'C': 200, 'unassigned': 0}
    """
    _judge_call(adata, cutoff=cutoff, max_distance=max_distance, cofactor=cofactor)
    read = read_key(adata, key=key)
    beads = _flag(adata, keys.BEAD, default=False)
    linear = np.asarray(adata.X)[:, read.channels].astype(np.float64)
    bad = ~np.isfinite(linear).all(axis=1)
    judged = _flag(adata, keys.KEEP, default=True) & ~beads & ~bad
    values = np.arcsinh(np.where(np.isfinite(linear), linear, 0.0) / cofactor)
    if not judged.any():
        raise InputError("no event is left to debarcode", why="all are beads, or were dropped when cleaning")
    codes, values = _read_codes(adata, values, key=read, judged=judged)
    sample = read.sample_of(codes.code)
    cutoffs, how = _cutoffs(sample, codes.separation, key=read, cutoff=cutoff, judged=judged)
    reason = np.zeros(adata.n_obs, dtype=np.int8)
    reason[codes.separation < np.append(cutoffs, 0.0)[sample]] = REASONS.index("separation")
    reason[sample < 0] = REASONS.index("code not in key")
    reason[bad] = REASONS.index("not finite")
    reason[beads] = REASONS.index("bead")
    distance = _distances(values, sample=sample, used=(reason == 0) & judged, key=read)
    if max_distance is not None:
        reason[(reason == 0) & (distance > max_distance)] = REASONS.index("distance")
    separation, distance = (np.where(bad, np.nan, one) for one in (codes.separation, distance))
    _write(adata, key=read, sample=sample, reason=reason, separation=separation, distance=distance)
    unlisted = _unlisted(codes, key=read, judged=judged, cutoffs=cutoffs)
    table = _table(codes, reason=reason, judged=judged, key=read, unlisted=unlisted, cutoffs=cutoffs)
    table.insert(5, "cutoff", cutoffs)
    table.insert(6, "cutoff_from", how)
    adata.uns[keys.DEBARCODE] = table
    _say(adata, table=table, reason=reason)
    _say_unlisted(adata, unlisted=unlisted, key=read)


def debarcode_table(adata: AnnData) -> pd.DataFrame:
    """Return how debarcoding went, one row per sample of the key.

    ``code``; ``events`` with this code; ``assigned`` after both filters; ``yield`` (assigned / events); ``cutoff`` and
    ``cutoff_from``; ``separation_median``; ``expected_misassigned``, the events at this cutoff that an average code
    which no sample has received (nan where all codes are taken, or where the key has codes of several lengths; doublets
    in which one cell outshines the other come on top);
    ``yield_at_0.1`` to ``yield_at_0.9``, the share of the events that a separation cutoff would keep; ``says``.

    Raises UsageError where ``debarcode`` was not called.
    """
    if keys.DEBARCODE not in adata.uns:
        raise UsageError("the events are not debarcoded", fix="call debarcode first")
    return pd.DataFrame(adata.uns[keys.DEBARCODE]).copy()


def split_debarcoded(adata: AnnData) -> dict[str, AnnData]:
    """Return the events of each sample of a pooled run as an object of its own; samples without events are left out.

    ``obs["sample_id"]`` becomes the sample, ``obs["pool"]`` the pooled run, and the names of the events
    ``sample:name``. Notes of the run travel with every sample. Raises UsageError where ``debarcode`` was not called.
    """
    if keys.DEBARCODED_SAMPLE not in adata.obs:
        raise UsageError("the events are not debarcoded", fix="call debarcode first")
    sample = adata.obs[keys.DEBARCODED_SAMPLE].astype(str).to_numpy()
    parts = {}
    for name in adata.obs[keys.DEBARCODED_SAMPLE].cat.categories:
        if name == keys.UNASSIGNED or not (sample == name).any():
            continue
        part = adata[sample == name].copy()
        if keys.SAMPLE_ID in part.obs:
            part.obs[keys.POOL] = pd.Categorical(part.obs[keys.SAMPLE_ID].astype(str))
        part.obs[keys.SAMPLE_ID] = pd.Categorical([name] * part.n_obs)
        part.obs = part.obs.drop(columns=[keys.DEBARCODED_SAMPLE, keys.BC_REASON])
        part.obs_names = [keys.cell_name(name, str(old)) for old in part.obs_names]
        set_notes(part, [Note(n.code, n.text, n.count, n.sample) for n in get_notes(adata)])
        parts[str(name)] = part
    return parts


def _judge_call(
    adata: AnnData, *, cutoff: float | Mapping[str, float] | str | None, max_distance: float | None, cofactor: float
) -> None:
    if keys.TRANSFORM in adata.var:
        what = "the events are transformed already: barcodes are read on the linear scale"
        raise UsageError(what, fix="debarcode before the transform")
    if isinstance(cutoff, str) and cutoff != "estimated":
        raise UsageError(f"cutoff is {cutoff!r}", fix="a number, one number per sample, 'estimated' or None")
    given = cutoff.values() if isinstance(cutoff, Mapping) else [cutoff] if isinstance(cutoff, (int, float)) else []
    if any(not 0 <= float(value) <= 1 for value in given):
        raise UsageError("a separation cutoff lies between 0 and 1", fix="0.3 is usual")
    if cofactor <= 0 or (max_distance is not None and max_distance <= 0):
        raise UsageError("cofactor and max_distance are above 0")


def _flag(adata: AnnData, name: str, *, default: bool) -> NDArray[np.bool_]:
    return adata.obs[name].to_numpy(dtype=bool) if name in adata.obs else np.full(adata.n_obs, default)


def _read_codes(adata: AnnData, values: Floats, *, key: BarcodeKey, judged: NDArray[np.bool_]) -> tuple[_Codes, Floats]:
    """Return the codes, and the intensities they were read from (each code's positives end at 1)."""
    codes = _decode(values, key=key)
    bottom, top = _levels(values, key=key, rows=judged, codes=codes)
    if np.ptp(top) > _ALIKE or bottom.max() > top.min() - 2 * _ALIKE:
        values, codes = _even_out(values, key=key, judged=judged)
        text = "the barcode channels differ in brightness: each was brought to the same background and positives first"
        add_note(adata, "events.barcodes_uneven", text)
    scaled = values.copy()
    for code in np.unique(codes.code):
        rows = codes.code == code
        positives = values[rows & judged][:, key.bits(code)]
        if positives.size:
            scaled[rows] /= max(float(np.quantile(positives, _TOP)), 1e-6)
    again = _decode(scaled, key=key)
    return _Codes(codes.code, np.maximum(again.separation, 0.0)), scaled


def _decode(values: Floats, *, key: BarcodeKey) -> _Codes:
    order = np.argsort(-values, axis=1, kind="stable")
    sorted_values = np.take_along_axis(values, order, axis=1)
    gaps = sorted_values[:, :-1] - sorted_values[:, 1:]
    ones = np.full(len(values), key.k) if key.k else np.argmax(gaps, axis=1) + 1
    weights = 1 << order
    code = np.where(np.arange(values.shape[1]) < ones[:, None], weights, 0).sum(axis=1)
    return _Codes(code, gaps[np.arange(len(values)), ones - 1])


def _levels(
    values: Floats, *, key: BarcodeKey, rows: NDArray[np.bool_], codes: _Codes | None = None
) -> tuple[Floats, Floats]:
    """Return for each channel the median where it is negative and the 95th percentile where it is positive."""
    bottom, top = np.quantile(values[rows], (0.01, 0.99), axis=0)
    if codes is not None:
        listed = rows & (key.sample_of(codes.code) >= 0)
        for c in range(values.shape[1]):
            on = (codes.code >> c & 1).astype(bool)
            negatives, positives = values[listed & ~on, c], values[listed & on, c]
            bottom[c] = np.median(negatives) if len(negatives) >= _FEW else bottom[c]
            top[c] = np.quantile(positives, _TOP) if len(positives) >= _FEW else top[c]
    # a channel that every sample has shows no background, one that none has no positives: those of the others stand in
    on = np.array([[code >> c & 1 for c in range(values.shape[1])] for code in key.codes], dtype=bool)
    bottom[on.all(axis=0)] = np.median(bottom[~on.all(axis=0)])
    top[~on.any(axis=0)] = np.median(top[on.any(axis=0)])
    return bottom, np.maximum(top, bottom + _LEAST_SHARE * np.median(top - bottom) + 1e-6)


def _even_out(values: Floats, *, key: BarcodeKey, judged: NDArray[np.bool_]) -> tuple[Floats, _Codes]:
    bottom, top = _levels(values, key=key, rows=judged)
    codes = _decode((values - bottom) / (top - bottom), key=key)
    for _ in range(_ROUNDS):
        clear = judged & (codes.separation >= _CLEAR)
        bottom, top = _levels(values, key=key, rows=clear if clear.sum() >= _FEW else judged, codes=codes)
        again = _decode((values - bottom) / (top - bottom), key=key)
        same = bool((again.code == codes.code).all())
        codes = again
        if same:
            break
    return (values - bottom) / (top - bottom), codes


def _cutoffs(
    sample: Ints,
    separation: Floats,
    *,
    key: BarcodeKey,
    cutoff: float | Mapping[str, float] | str | None,
    judged: NDArray[np.bool_],
) -> tuple[Floats, list[str]]:
    cutoffs, how = np.zeros(len(key.samples)), ["none"] * len(key.samples)
    if isinstance(cutoff, Mapping):
        lacking = [name for name in key.samples if name not in cutoff]
        if lacking:
            raise UsageError(f"no cutoff is given for {', '.join(lacking)}", fix="give one for each sample of the key")
    for i, name in enumerate(key.samples):
        if cutoff == "estimated":
            cutoffs[i], how[i] = _valley(separation[judged & (sample == i)])
        elif cutoff is not None:
            cutoffs[i] = float(cutoff[name] if isinstance(cutoff, Mapping) else cutoff)
            how[i] = "given"
    shallow = [i for i, h in enumerate(how) if h == _NOT_CLEAR]
    if len(shallow) > 1:
        # one sample alone says too little where doublets reach into the hill
        cutoffs[shallow] = _valley(separation[judged & np.isin(sample, shallow)])[0]
    found = cutoffs[[h in ("estimated", _NOT_CLEAR) for h in how]]
    for i, h in enumerate(how):
        if h in ("few events", "no hill"):
            cutoffs[i] = float(np.median(found)) if len(found) else _USUAL_CUTOFF
    return cutoffs, how


def _valley(separation: Floats) -> tuple[float, str]:
    """Return where the yield curve is flattest before it falls: the least density below the main hill.

    Where that valley is shallow, doublets reach into the hill: the cutoff is then the lowest at which no more than 2 %
    of the events kept exceed the mirror image of the upper half of the hill.
    """
    if len(separation) < _FEW:
        return _USUAL_CUTOFF, "few events"
    counts, edges = np.histogram(np.clip(separation, 0, 1.5), bins=_BINS, range=(0, 1.5))
    # mirrored at 0, where doublets pile up and a plain kernel would lose half of them
    smooth = gaussian_filter1d(counts.astype(float), _SMOOTH / (edges[1] - edges[0]), mode="reflect")
    middle = (edges[:-1] + edges[1:]) / 2
    # the hill that stands out most is that of single cells: doublets fall from 0 on
    peaks, shape = find_peaks(np.append(smooth, 0.0), prominence=0.0)
    high = middle[np.minimum(peaks, _BINS - 1)] > _LOWEST_CUTOFF
    if not high.any():
        return _USUAL_CUTOFF, "no hill"
    hill = int(peaks[high][np.argmax(shape["prominences"][high])])
    below = np.flatnonzero((middle >= _LOWEST_CUTOFF) & (np.arange(_BINS) < hill))
    lowest = smooth[below].min() if len(below) else 0.0
    if lowest <= _SHALLOW * smooth[hill]:
        # an empty stretch between doublets and singlets: its middle
        flat = below[smooth[below] <= lowest + 1e-3 * smooth[hill]]
        return (float(np.median(middle[flat])) if len(flat) else _LOWEST_CUTOFF), "estimated"
    excess = np.array([max(smooth[i] - smooth[min(2 * hill - i, _BINS - 1)], 0.0) for i in below])
    impure = np.array([excess[i:].sum() / smooth[below[i] :].sum() for i in range(len(below))])
    enough = np.flatnonzero(impure <= _IMPURE)
    return float(middle[below[enough[0]]] if len(enough) else middle[hill]), _NOT_CLEAR


def _distances(values: Floats, *, sample: Ints, used: NDArray[np.bool_], key: BarcodeKey) -> Floats:
    """Return the squared Mahalanobis distance of each event from the assigned events of its sample."""
    distance = np.full(len(values), np.nan)
    for i in range(len(key.samples)):
        mine, members = sample == i, used & (sample == i)
        if members.sum() < max(_FEW, 5 * values.shape[1]):
            continue
        center = values[members].mean(axis=0)
        spread = np.cov(values[members], rowvar=False)
        # a channel that is constant must not make the matrix singular
        spread += np.eye(len(spread)) * max(1e-6 * float(np.trace(spread)) / len(spread), 1e-12)
        apart = values[mine] - center
        distance[mine] = (apart * np.linalg.solve(spread, apart.T).T).sum(axis=1)
    return distance


def _write(
    adata: AnnData,
    *,
    key: BarcodeKey,
    sample: Ints,
    reason: NDArray[np.int8],
    separation: Floats,
    distance: Floats,
) -> None:
    names = [*key.samples, keys.UNASSIGNED]
    assigned = np.where(reason == 0, sample, len(key.samples))
    adata.obs[keys.DEBARCODED_SAMPLE] = pd.Categorical.from_codes(assigned.tolist(), categories=pd.Index(names))
    adata.obs[keys.BC_REASON] = pd.Categorical.from_codes(reason.tolist(), categories=pd.Index(REASONS))
    adata.obs[keys.BC_SEPARATION] = separation.astype(np.float32)
    adata.obs[keys.BC_DISTANCE] = distance.astype(np.float32)


def _table(
    codes: _Codes,
    *,
    reason: NDArray[np.int8],
    judged: NDArray[np.bool_],
    key: BarcodeKey,
    unlisted: Mapping[int, int],
    cutoffs: Floats,
) -> pd.DataFrame:
    sample = key.sample_of(codes.code)
    unused = [code for code in _unused(key) if code not in unlisted]
    stray = codes.separation[judged & np.isin(codes.code, unused)]
    rows = []
    for i, name in enumerate(key.samples):
        mine = judged & (sample == i)
        separation = codes.separation[mine]
        events, assigned = int(mine.sum()), int((mine & (reason == 0)).sum())
        expected = float((stray >= cutoffs[i]).sum() / len(unused)) if unused else np.nan
        row = {
            "sample": name,
            "code": key.spelled(i),
            "events": events,
            "assigned": assigned,
            "yield": assigned / events if events else np.nan,
            "separation_median": float(np.median(separation)) if events else np.nan,
            "expected_misassigned": expected,
        }
        row |= {f"yield_at_{c}": float((separation >= c).mean()) if events else np.nan for c in CUTOFFS}
        rows.append(row | {"says": _verdict(assigned, expected=expected)})
    return pd.DataFrame(rows)


def _verdict(assigned: int, *, expected: float) -> str:
    if not assigned:
        return "no event carries this barcode"
    if np.isfinite(expected) and assigned <= 3 * expected:
        return f"cannot tell: a code that no sample has received {expected:.0f} events"
    if not np.isfinite(expected):
        return "cannot tell the misassignment: no comparable code is unused"
    return ""


def _unused(key: BarcodeKey) -> list[int]:
    """The codes of the same length that no sample of the key has."""
    if not key.k:
        return []
    taken = set(key.codes)
    every = (sum(1 << c for c in ones) for ones in itertools.combinations(range(len(key.channels)), key.k))
    return [code for code in every if code not in taken]


def _say(adata: AnnData, *, table: pd.DataFrame, reason: NDArray[np.int8]) -> None:
    beads = int((reason == REASONS.index("bead")).sum())
    others = len(reason) - beads
    assigned = int((reason == 0).sum())
    text = (
        f"{assigned / max(others, 1):.1%} of the events were assigned to one of {len(table)} samples by their barcode"
    )
    add_note(adata, "events.debarcoded", text, count=assigned)
    says = {
        "not finite": "have a barcode channel that holds no number",
        "code not in key": "have a barcode that no sample has",
        "separation": "have positives and negatives too close to tell a doublet from a cell",
        "distance": "lie too far from the other events of their sample",
    }
    for name, what in says.items():
        count = int((reason == REASONS.index(name)).sum())
        if count:
            text = f"{count / max(others, 1):.1%} of the events {what} and stay unassigned"
            add_note(adata, f"events.barcode_{name.split()[0]}", text, count=count)
    unclear = table.loc[table["cutoff_from"] == _NOT_CLEAR, "sample"].astype(str).tolist()
    if unclear:
        text = (
            f"in {', '.join(unclear)} doublets and cells are hard to tell apart by their separation: the cutoff is a "
            "compromise, some doublets stay and some cells are lost"
        )
        add_note(adata, "events.barcode_unclear", text, count=len(unclear))
    for row in table.to_dict("records"):
        if not row["assigned"] or row["says"].startswith("cannot tell: "):
            text = f"{row['sample']} ({row['code']}) has {row['assigned']} events: {row['says']}"
            add_note(adata, "events.barcode_empty", text, count=int(row["assigned"]), sample=str(row["sample"]))


def _unlisted(codes: _Codes, *, key: BarcodeKey, judged: NDArray[np.bool_], cutoffs: Floats) -> dict[int, int]:
    """Return the codes that the key lacks but that hold as many well separated events as a sample would."""
    clear = judged & (codes.separation >= max(float(np.median(cutoffs)), _CLEAR))
    sample = key.sample_of(codes.code)
    usual = float(np.median(np.bincount(sample[clear & (sample >= 0)], minlength=len(key.samples))))
    found, counts = np.unique(codes.code[clear & (sample < 0)], return_counts=True)
    # with codes of several lengths a doublet is as well separated as a cell
    sums = [] if key.k else [a | b for a in key.codes for b in key.codes]
    enough = (counts >= max(_FEW, _UNLISTED * usual)) & ~np.isin(found, sums)
    return {int(code): int(count) for code, count in zip(found[enough], counts[enough], strict=True)}


def _say_unlisted(adata: AnnData, *, unlisted: Mapping[int, int], key: BarcodeKey) -> None:
    for code, count in unlisted.items():
        text = f"{count:,} clear events carry {key.say(code)}, which the key does not have: is a sample missing?"
        add_note(adata, "events.barcode_unlisted", text, count=count)
