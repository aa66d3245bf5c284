"""Figures, and the table and the JSON that they are written as."""

from __future__ import annotations

import json
import math
import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured thing.

    Attributes:
        what: for people.
        value: in ``unit``.
        unit: ``ms``, ``MiB``, ``characters``, ``1/s``, ``times`` or ``calls``.
        target: the most that ``value`` may be (with ``at_least``: the least); None where none was set.
        floor: what the bare minimum costs, measured in the same run, in the same unit.
        floor_is: what that minimum is.
        at_least: whether the target is a lower bound.
        note: how it was measured, where that is not plain.
    """

    what: str
    value: float
    unit: str
    target: float | None = None
    floor: float | None = None
    floor_is: str = ""
    at_least: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times its floor it is."""
        return self.value / self.floor if self.floor else None

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None where there is none."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target


def percentile(values: Sequence[float], share: float) -> float:
    """Return the nearest-rank percentile, ``share`` in (0, 1]."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def median(values: Sequence[float]) -> float:
    """Return the nearest-rank median."""
    return percentile(values, 0.5)


def machine() -> str:
    """Return one line on what it was measured on."""
    return (
        f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    )


def as_table(groups: Iterable[tuple[str, Sequence[Figure]]]) -> str:
    """Return the figures as Markdown tables, one a group."""
    lines: list[str] = []
    for title, figures in groups:
        lines += ["", f"## {title}", ""]
        lines += [
            "| what | figure | target | floor in the same run | ratio | met |",
            "|---|---:|---:|---:|---:|---|",
        ]
        lines += [_row(figure) for figure in figures]
        notes = list(dict.fromkeys(f"{f.what}: {f.note}" for f in figures if f.note))
        if notes:
            lines += ["", *(f"- {note}" for note in notes)]
    return "\n".join(lines)


def _row(figure: Figure) -> str:
    sign = "≥" if figure.at_least else "≤"
    target = "" if figure.target is None else f"{sign} {_number(figure.target)} {figure.unit}"
    floor = "" if figure.floor is None else f"{_number(figure.floor)} {figure.unit} ({figure.floor_is})"
    ratio = "" if figure.ratio is None else f"{figure.ratio:.1f}"
    met = {None: "", True: "yes", False: "**no**"}[figure.met]
    return f"| {figure.what} | {_number(figure.value)} {figure.unit} | {target} | {floor} | {ratio} | {met} |"


def _number(value: float) -> str:
    if value == int(value) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def write_json(path: Path, groups: Iterable[tuple[str, Sequence[Figure]]], header: dict[str, object]) -> None:
    """Write the figures for programs: ``{…header, "figures": [{"group", …, "ratio", "met"}]}``."""
    rows = [
        {"group": title, **asdict(f), "ratio": f.ratio, "met": f.met}
        for title, figures in groups
        for f in figures
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({**header, "figures": rows}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
