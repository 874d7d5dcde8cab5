"""Devices: which are there, and whether a product of matrices on each is right."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from sipit.installation.checks import Check, broken, degraded, ok, told
from sipit.memory import GIB

_SIZE = 256
_RIGHT = 1e-2  # relative; float32 gives 1e-6, factors rounded to tf32 1e-3
_DRIVER = Path("/proc/driver/nvidia/version")


def present_devices() -> list[str]:
    """The names of the devices that torch says are there, the CPU first."""
    names = ["cpu"]
    if torch.accelerator.is_available():
        kind = str(torch.accelerator.current_accelerator())
        names += [f"{kind}:{number}" for number in range(torch.accelerator.device_count())]
    return names


def examine_device(name: str) -> dict[str, Any]:
    """An entry of a record's `devices`: what it is, and how far a product on it is off (relative), or why.

    `memory_gib` is that of a device with memory of its own.
    """
    found: dict[str, Any] = {"device": name, "usable": False, "error": None, "reason": None, "memory_gib": None}
    try:
        found["error"] = error = _error_of_product(name)
        found["usable"] = error <= _RIGHT  # false for NaN
        kind = torch.get_device_module(name)
        if hasattr(kind, "get_device_name"):
            found["description"] = kind.get_device_name(name)
        if hasattr(kind, "mem_get_info"):
            found["memory_gib"] = round(kind.mem_get_info(name)[1] / GIB, 1)
    except Exception as error:  # noqa: BLE001 - a driver may raise anything
        found["reason"] = told(error)
    return found


def check_devices(devices: list[dict[str, Any]]) -> Iterator[Check]:
    """One line for each device, and one about a driver that this torch cannot use."""
    for device in devices:
        name = device["device"]
        about = ", ".join(str(part) for part in (device.get("description"), device["memory_gib"]) if part)
        if device["usable"]:
            yield ok(name, f"{about}{': ' if about else ''}a product of matrices is right to {device['error']:.0e}")
            continue
        why = device["reason"] or f"a product of matrices is off by {device['error']:.1e}"
        yield broken(name, f"{about}{': ' if about else ''}{why}", "use another --device, and see to its driver")
    if len(devices) == 1 and _DRIVER.exists():
        built = torch.version.cuda or "none"
        yield degraded(
            "cuda",
            f"there is an NVIDIA driver, but torch {torch.__version__} (built for CUDA {built}) finds no device",
            "install the build of torch for this driver, see https://pytorch.org/get-started/locally",
        )


def _error_of_product(name: str) -> float:
    """The relative distance between a product on the device and the same in float64."""
    generator = torch.Generator().manual_seed(0)
    left, right = torch.randn(2, _SIZE, _SIZE, generator=generator)
    exact = left.double() @ right.double()
    found = (left.to(name) @ right.to(name)).to("cpu", torch.float64)
    return float((found - exact).norm() / exact.norm())
