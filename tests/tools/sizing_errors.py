#!/usr/bin/env python3
"""Print how far the plan is from what engines really took, in measured cases.

    PYTHONPATH=collections python -m tests.tools.sizing_errors [FILES…] [--engine llama.cpp|ik_llama.cpp|vLLM]
        [--part PART] [--bad] [--summary]

Files are of the form that ``sizing_cases.py`` describes; without one, all fixtures.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.tools import sizing_llama, sizing_vllm
from tests.tools.sizing_cases import VLLM, Case, read_cases
from tests.tools.sizing_figures import Figure


def figures_of(case: Case) -> Iterator[Figure]:
    """Yield every part of a case that can be compared."""
    if case.engine == VLLM:
        yield from sizing_vllm.figures(case)
    else:
        yield from sizing_llama.figures(case)


def all_figures(cases: Iterable[Case]) -> list[Figure]:
    """Return the figures of all cases."""
    return [figure for case in cases for figure in figures_of(case)]


def line(figure: Figure) -> str:
    """Return one figure as a line of the table."""
    case = figure.case
    mark = " " if figure.in_target else ("e" if figure.exception else "!")
    return (
        f"{mark} {case.id:6} {case.engine[:9]:9} {case.era:10} {str(case.facts.get('model', ''))[:34]:34} "
        f"{figure.part:15} {figure.device:6} {figure.predicted:12.2f} {figure.measured:12.2f} "
        f"{figure.difference:+11.2f} {figure.percent:+8.2f} %"
    )


def summary(figures: Sequence[Figure]) -> Iterator[str]:
    """Yield a line for each engine, era and part: median, 95th percentile, worst, sign, share in target."""
    groups: dict[tuple[str, str, str], list[Figure]] = defaultdict(list)
    for figure in figures:
        if not figure.exception:
            groups[figure.case.engine, figure.case.era, figure.part].append(figure)
            groups[figure.case.engine, "all", figure.part].append(figure)
    yield (
        f"{'engine':12} {'era':10} {'part':15} {'n':>4} {'median %':>9} {'p95 |%|':>8} {'worst %':>9} {'worst case':10}"
        f" {'under':>5} {'over':>5} {'in target':>9}"
    )
    for (engine, era, part), group in sorted(groups.items()):
        percents = sorted(figure.percent for figure in group)
        sizes = sorted(abs(percent) for percent in percents)
        worst = max(group, key=lambda figure: abs(figure.percent))
        met = sum(figure.in_target for figure in group)
        yield (
            f"{engine:12} {era:10} {part:15} {len(group):4} {statistics.median(percents):+9.2f} "
            f"{sizes[min(len(sizes) - 1, int(0.95 * len(sizes)))]:8.2f} {worst.percent:+9.2f} {worst.case.id:10}"
            f" {sum(figure.difference < -0.01 for figure in group):5} "
            f"{sum(figure.difference > 0.01 for figure in group):5} {100 * met / len(group):8.1f} %"
        )


def main(arguments: Sequence[str]) -> int:
    """Print the table and return 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--engine")
    parser.add_argument("--part")
    parser.add_argument("--bad", action="store_true", help="only what misses its target")
    parser.add_argument("--summary", action="store_true", help="no line for each figure")
    chosen = parser.parse_args(arguments)
    cases = [case for case in read_cases(chosen.files) if chosen.engine in (None, case.engine)]
    figures = [figure for figure in all_figures(cases) if chosen.part in (None, figure.part)]
    if not chosen.summary:
        for figure in figures:
            if not (chosen.bad and (figure.in_target or figure.exception)):
                print(line(figure))
    print(f"{len(cases)} cases, {len(figures)} figures")
    for text in summary(figures):
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
