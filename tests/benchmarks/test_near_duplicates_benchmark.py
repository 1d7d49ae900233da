"""The benchmark of the search for near-duplicates runs and leaves what it promises."""

import json

import numpy as np
import pytest

from benchmarks.near_duplicates import KINDS, draw, main, scan, search


@pytest.mark.slow
def test_near_duplicates(tmp_path):
    main(["--quick", "--rounds", "1", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "near_duplicates-cpu.json").read_text())
    assert (tmp_path / "near_duplicates-cpu.png").stat().st_size > 1000
    assert [(row["hashes"], row["queries"]) for row in result["rows"]] == [
        (kind, size) for kind in KINDS for size in (1000, 2000, 4000)
    ]
    largest = [row for row in result["rows"] if row["queries"] == 4000]
    assert all(row["recall"] == 1 and row["pairs"] >= 30 and row["peak_memory_gb"] > 0 for row in largest)
    assert [line["met"] for line in result["lines"][:4]] == [True, True, True, None]


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_finds_what_the_search_finds(kind):
    asked, known = draw(kind, 500, 200)
    pairs = search(asked, known)
    assert scan(asked, known) == {(query, reference) for query, reference in pairs[:, :2].tolist()}
    assert np.isin(np.arange(0, 500, 100), pairs[:, 0]).mean() > 0.5
