"""How fast a machine can multiply matrices, which is what training is held against."""

import re
import time

import torch

_PEAKS = {
    "H200 NVL": 835e12,
    "H200": 989e12,
    "H100 NVL": 835e12,
    "H100 PCIe": 756e12,
    "H100": 989e12,
    "A100": 312e12,
    "L4": 121e12,
}
"""Floating-point operations a second in bfloat16 without sparsity, by words of the device's name, from
the vendor's data sheets."""
_SIDES = {"cpu": 1024, "cuda": 8192}
_ATTEMPTS = 5


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """The most floating-point operations a second that `device` does, from its data sheet, or measured without one."""
    if device.type == "cuda" and dtype == torch.bfloat16:
        known = known_peak(torch.cuda.get_device_name(device))
        if known is not None:
            return known
    return _measured_peak(device, dtype)


def known_peak(name: str) -> float | None:
    """The same of a device by its name, in bfloat16; None when its data sheet is not known here."""
    words = {*re.split(r"[\s-]+", name)}
    return next((peak for model, peak in _PEAKS.items() if {*model.split()} <= words), None)


def _measured_peak(device: torch.device, dtype: torch.dtype) -> float:
    """The best of a few products of square matrices."""
    side = _SIDES[device.type]
    left = torch.ones(side, side, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(_ATTEMPTS):
        start = time.perf_counter()
        product = left @ left
        float(product[0, 0])  # waits for it
        best = min(best, time.perf_counter() - start)
    return 2 * side**3 / best
