"""Scans made to order from head label maps, with a known truth.

Example:
    >>> import numpy as np
    >>> from shiva_cmb.synthesis import bundled_head, make_scan
    >>> scan = make_scan(np.random.default_rng(0), bundled_head())
    >>> [(bleed.x_mm, bleed.y_mm, bleed.z_mm) for bleed in scan.bleeds if bleed.visible]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shiva_cmb.synthesis.bleeds.draw import BleedSettings
    from shiva_cmb.synthesis.head_map import HeadMap, bundled_head, read_head_map, read_head_maps
    from shiva_cmb.synthesis.quick.generate import SynthesisSettings, make_scan
    from shiva_cmb.synthesis.quick.mimics import MimicSettings
    from shiva_cmb.synthesis.quick.protocol import ProtocolSettings
    from shiva_cmb.synthesis.quick.vessels import VesselSettings
    from shiva_cmb.synthesis.scan import GeneratedScan, TrueBleed, write_scan, write_scans

_HOMES = {
    "BleedSettings": "bleeds.draw",
    "GeneratedScan": "scan",
    "HeadMap": "head_map",
    "MimicSettings": "quick.mimics",
    "ProtocolSettings": "quick.protocol",
    "SynthesisSettings": "quick.generate",
    "TrueBleed": "scan",
    "VesselSettings": "quick.vessels",
    "bundled_head": "head_map",
    "make_scan": "quick.generate",
    "read_head_map": "head_map",
    "read_head_maps": "head_map",
    "write_scan": "scan",
    "write_scans": "scan",
}

__all__ = [
    "BleedSettings",
    "GeneratedScan",
    "HeadMap",
    "MimicSettings",
    "ProtocolSettings",
    "SynthesisSettings",
    "TrueBleed",
    "VesselSettings",
    "bundled_head",
    "make_scan",
    "read_head_map",
    "read_head_maps",
    "write_scan",
    "write_scans",
]


def __getattr__(name: str) -> Any:
    """Import public names when they are first used: they bring scipy, and each needs few of these files."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
