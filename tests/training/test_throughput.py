"""What a GPU can do at most."""

import pytest

from eve_core.training.throughput import known_peak


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40S", None),
    ],
)
def test_a_gpu_is_known_by_its_whole_name(name, peak):
    assert known_peak(name) == peak
