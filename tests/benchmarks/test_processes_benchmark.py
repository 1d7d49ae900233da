"""Processes against threads: the benchmark runs, and compares like with like."""

import json

import pytest

from benchmarks.processes import main


@pytest.mark.slow
def test_it_compares_processes_with_threads(tmp_path):
    main(["--quick", "--rounds", "1", "--out", str(tmp_path), "--batch", "8"])
    result = json.loads((tmp_path / "processes-cpu.json").read_text())
    one, several = result["rows"]
    assert one["processes"] == 1
    assert several["threads"] >= 1
    assert result["ratio"] == pytest.approx(several["pairs_per_second"] / one["pairs_per_second"])
    assert (tmp_path / "processes-cpu.png").stat().st_size > 1000
