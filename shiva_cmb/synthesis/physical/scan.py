"""One simulated scan, from a head map to an image with its truth."""

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from shiva_cmb.imaging import Volume
from shiva_cmb.synthesis.head_map import REGION_NAMES, HeadMap
from shiva_cmb.synthesis.physical.frame import Frame, place_head
from shiva_cmb.synthesis.physical.haemorrhages import Haemorrhage
from shiva_cmb.synthesis.physical.sampling import along_axes
from shiva_cmb.synthesis.physical.scanner import draw_scanner
from shiva_cmb.synthesis.physical.settings import PhysicalSettings, draw_protocol
from shiva_cmb.synthesis.physical.signal import NativeVoxels, native_voxels
from shiva_cmb.synthesis.physical.simulation import draw_contents, fine_signal, with_bleeds
from shiva_cmb.synthesis.physical.tissue import draw_tissue
from shiva_cmb.synthesis.scan import GeneratedScan, TrueBleed, place_name
from shiva_cmb.synthesis.visible import BleedFacts, visible_mask


def make_scan(
    rng: np.random.Generator, head_map: HeadMap, settings: PhysicalSettings | None = None
) -> GeneratedScan:
    """Simulate one scan; equal generators give equal scans.

    Args:
        rng: everything random comes from here.
        head_map: whose head.
        settings: what is random, and how much.
    """
    with threadpool_limits(1, "blas"):  # its threads wait for each other: ten times the work
        return _make_scan(rng, head_map, settings or PhysicalSettings())


def _make_scan(rng: np.random.Generator, head_map: HeadMap, settings: PhysicalSettings) -> GeneratedScan:
    protocol = draw_protocol(rng, settings)
    frame = place_head(rng, head_map, settings)
    tissue = draw_tissue(rng, protocol)
    contents = draw_contents(rng, frame, settings)
    bleeds = contents.bleeds
    fine = fine_signal(rng, frame, tissue, protocol, contents)
    voxels = native_voxels(rng, frame, protocol)
    scanner = draw_scanner(rng, protocol, voxels.grid.shape)
    without = fine.averaged(voxels, tuple(slice(0, n) for n in voxels.grid.shape))  # type: ignore[arg-type]
    measured = scanner.measure(with_bleeds(fine, without, bleeds, frame, voxels, protocol))
    clean = scanner.image(measured)
    before = scanner.image(scanner.measure(without)) if bleeds else clean
    regions = _regions(frame, voxels)
    # of the magnitude: the phase mask has no part in how strong the signal is
    white = float(np.median(np.abs(measured)[np.isin(regions, (1, 2))]))
    sigma = white / protocol.snr
    noisy = scanner.image(measured + scanner.noise(rng, measured.shape, sigma))
    centres = [bleed.centre_mm for bleed in bleeds]
    label, facts = visible_mask(clean, before, voxels.grid, sigma, centres, [b.extent_mm for b in bleeds])
    top = float(np.percentile(noisy[regions > 0], 99))
    stored = np.clip(noisy * (rng.uniform(300, 2500) / top), 0, 32000).round().astype(np.int16)
    turn = _storage_order(rng)
    affine = voxels.grid.affine
    return GeneratedScan(
        head=head_map.name,
        image=_turned(stored, affine, turn),
        label=_turned(label, affine, turn),
        brain=_turned((regions > 0).astype(np.uint8), affine, turn),
        regions=_turned(regions, affine, turn),
        bleeds=tuple(_truth(n, frame, *pair) for n, pair in enumerate(zip(bleeds, facts, strict=True), 1)),
        mimics=(*contents.tubes, *contents.calcium),
        facts={
            "sequence": protocol.kind,
            "field_t": protocol.field_t,
            "te_ms": protocol.te_ms,
            "slice_mm": round(protocol.slice_mm, 2),
            "random_contrast": "no",
        },
    )


def _truth(number: int, frame: Frame, bleed: Haemorrhage, facts: BleedFacts) -> TrueBleed:
    """What is known of one bleed and what is seen of it. Two lumps are one bleed: they are one dot."""
    region, side = place_name(frame.head.regions, frame.head.grid, bleed.centre_mm)
    x, y, z = (float(value) for value in bleed.centre_mm)
    return TrueBleed(
        bleed=number,
        x_mm=x,
        y_mm=y,
        z_mm=z,
        diameter_mm=facts.diameter_mm,
        core_diameter_mm=bleed.core_diameter_mm,
        volume_mm3=facts.volume_mm3,
        region=region,
        side=side,
        contrast=facts.contrast,
        cnr=facts.cnr,
        visible=facts.visible,
    )


def _regions(frame: Frame, voxels: NativeVoxels) -> NDArray[np.uint8]:
    """For each native voxel the region that fills most of it."""
    whole = frame.head.regions
    best = along_axes((whole == 0).astype(np.float32), *voxels.from_coarse)
    result = np.zeros(voxels.grid.shape, np.uint8)
    for value in REGION_NAMES:
        share = along_axes((whole == value).astype(np.float32), *voxels.from_coarse)
        # the brain's parts are compared with each other only where most is brain
        result[share > best] = value
        np.maximum(best, share, out=best)
    brain = along_axes((whole > 0).astype(np.float32), *voxels.from_coarse) > 0.5
    result[~brain] = 0
    result[brain & (result == 0)] = 7
    return result


def _storage_order(rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Order and direction of the array's axes as scanners store them."""
    orders = ((0, 1, 2), (1, 0, 2), (0, 2, 1), (2, 0, 1))
    order = orders[int(rng.choice(4, p=[0.8, 0.1, 0.05, 0.05]))]
    return order, tuple(bool(f) for f in rng.random(3) < (0.6, 0.6, 0.2))


def _turned(
    data: NDArray[np.generic],
    affine: NDArray[np.float64],
    turn: tuple[tuple[int, ...], tuple[bool, ...]],
) -> Volume:
    order, flips = turn
    moved = affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            data = np.flip(data, axis)
            moved[:3, 3] += moved[:3, axis] * (data.shape[axis] - 1)
            moved[:3, axis] *= -1
    moved[:3, :3] = moved[:3, list(order)]
    return Volume(np.ascontiguousarray(data.transpose(order)), moved)
