"""The first generator: from a real head's labels to a scan that could be one, with a known truth."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Grid, Volume
from shiva_cmb.synthesis.bleeds.blooming import attenuation
from shiva_cmb.synthesis.bleeds.draw import Bleed, BleedSettings, draw_bleeds, true_bleed
from shiva_cmb.synthesis.head_map import ARTERY, CSF, VEIN, HeadMap, deform
from shiva_cmb.synthesis.quick.acquisition import (
    Complex,
    Receiver,
    add_vessels,
    average_slices,
    draw_noise,
    draw_sensitivity,
    scan_grid,
    slice_grid,
    tissue_signal,
)
from shiva_cmb.synthesis.quick.mimics import CALCIFICATION, MimicSettings, draw_mimics
from shiva_cmb.synthesis.quick.protocol import Protocol, ProtocolSettings, draw_protocol
from shiva_cmb.synthesis.quick.scene import Scene, make_scene, sample
from shiva_cmb.synthesis.quick.splatting import fill_tubes
from shiva_cmb.synthesis.quick.tissues import TissueTables, draw_tissues
from shiva_cmb.synthesis.quick.vessels import FLOW_VOID, PERIVASCULAR_SPACE, VesselSettings, draw_vessels
from shiva_cmb.synthesis.scan import GeneratedScan
from shiva_cmb.synthesis.shapes import Ball, Tube
from shiva_cmb.synthesis.visible import visible_mask

CALCIUM_PPM = (-3.0, -0.8)
"""Susceptibility of calcifications against brain, after Schweser 2010 and Straub 2017."""
IRON_PPM = (0.4, 2.0)
"""Of cavernomas and old haemorrhagic infarcts."""
BRIGHTEST = 3000
"""Grey value of the brain's brightest voxels in the files."""


@dataclass(frozen=True)
class SynthesisSettings:
    """What kind of scans are made; every scan differs within these bounds."""

    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)
    """Scanners and sequences."""
    bleeds: BleedSettings = field(default_factory=BleedSettings)
    """What is looked for."""
    vessels: VesselSettings = field(default_factory=VesselSettings)
    """What is mistaken for it: veins, arteries, perivascular spaces."""
    mimics: MimicSettings = field(default_factory=MimicSettings)
    """What is mistaken for it: calcifications and others."""
    deformation: float = 1.0
    """How much heads are deformed: 0 not at all, 1 about 5 % in size and 3 mm in place."""

    def __post_init__(self) -> None:
        if not 0 <= self.deformation <= 3:
            raise UsageError(f"deformation: expected 0 to 3, got {self.deformation}")


def make_scan(
    rng: np.random.Generator, head_map: HeadMap, settings: SynthesisSettings | None = None
) -> GeneratedScan:
    """Make one scan: deform the head, fill it, scan it.

    Args:
        rng: everything random comes from here.
        head_map: whose head.
        settings: what kind of scan.
    """
    settings = settings or SynthesisSettings()
    protocol = draw_protocol(rng, settings.protocol)
    head = deform(rng, head_map, strength=settings.deformation)
    tables = draw_tissues(rng, protocol.field_t)
    scene = make_scene(rng, head, tables, protocol)
    margins = (*rng.uniform(-2, 15, 2), rng.uniform(2, 12))
    grid = scan_grid(scene, protocol, margins)
    while np.prod(grid.shape) > settings.protocol.largest_voxels:
        x, y, z = protocol.spacing_mm
        protocol = replace(protocol, spacing_mm=(x * 1.08, y * 1.08, z))
        grid = scan_grid(scene, protocol, margins)

    tubes = draw_vessels(rng, head, settings.vessels)
    balls = draw_mimics(rng, head, settings.mimics)
    bleeds = draw_bleeds(rng, head, settings.bleeds, protocol.te_s, protocol.field_t)
    without = _signal_with_mimics(rng, scene, grid, protocol, tables, tubes, balls)
    with_bleeds = without.copy() if bleeds else without
    for bleed in bleeds:
        _insert(with_bleeds, grid, protocol, bleed.ball, bleed.chi_ppm, bleed.r2s_core)
    return _scan(rng, scene, protocol, grid, (without, with_bleeds), bleeds, (*tubes, *balls))


def _signal_with_mimics(
    rng: np.random.Generator,
    scene: Scene,
    grid: Grid,
    protocol: Protocol,
    tables: TissueTables,
    tubes: tuple[Tube, ...],
    balls: tuple[Ball, ...],
) -> Complex:
    """Complex signal of everything but bleeds on the grid of the sub-slices."""
    signal = tissue_signal(scene, grid, protocol)
    level = tables.steady_state(protocol.tr_ms, protocol.flip_degrees)
    level = level * np.exp(-protocol.te_s * tables.r2s)
    groups = {FLOW_VOID: ARTERY, PERIVASCULAR_SPACE: CSF}
    for kind, tissue in ((None, VEIN), *groups.items()):
        some = [tube for tube in tubes if (tube.kind not in groups if kind is None else tube.kind == kind)]
        if not some:
            continue
        filled, oriented = fill_tubes(some, grid, protocol.b0_direction)
        brightness = float(level[tissue])
        if kind == FLOW_VOID:  # flow is bright where fresh blood comes in, dark where it is turbulent
            brightness = scene.white * (rng.uniform(0.0, 0.5) if rng.random() < 0.6 else rng.uniform(1, 2))
        chi = float(tables.chi_ppm[tissue]) if kind is None else 0.0
        add_vessels(signal, filled, oriented, brightness, chi, protocol)
    for ball in balls:
        calcium = ball.kind == CALCIFICATION
        chi = rng.uniform(*(CALCIUM_PPM if calcium else IRON_PPM))
        _insert(signal, grid, protocol, ball, chi, rng.uniform(80, 400) if calcium else rng.uniform(40, 150))
    return signal


def _insert(
    signal: Complex, grid: Grid, protocol: Protocol, ball: Ball, chi_ppm: float, r2s_core: float
) -> None:
    """Put a small magnetic thing into the signal, in place."""
    box, factor = attenuation(
        ball, chi_ppm, r2s_core, grid, protocol.te_s, protocol.field_t, protocol.b0_direction
    )
    signal[box] *= factor


def _scan(
    rng: np.random.Generator,
    scene: Scene,
    protocol: Protocol,
    grid: Grid,
    signals: tuple[Complex, Complex],
    bleeds: tuple[Bleed, ...],
    mimics: tuple[Ball | Tube, ...],
) -> GeneratedScan:
    """Acquire the image, and tell from it and its counterpart without bleeds what can be seen of them."""
    native = slice_grid(grid, protocol.sub_slices)
    receiver = Receiver(protocol, draw_sensitivity(rng, native, protocol.bias))
    clean = [average_slices(signal, protocol.sub_slices) * receiver.sensitivity for signal in signals]
    without, with_bleeds = (receiver.sampled(signal) for signal in clean)
    spread = protocol.noise * scene.white
    noisy = with_bleeds + receiver.sampled(draw_noise(rng, native.shape, spread))
    slow = receiver.slow_phase(noisy) if protocol.sequence == "swi" else None
    image = receiver.magnitude(noisy, slow)

    brain = sample(scene.head.brain.astype(np.uint8), scene.head.grid, native, order=0).astype(bool)
    regions = np.asarray(sample(scene.head.regions, scene.head.grid, native, order=0), np.uint8)
    left = _stripping_mask(rng, brain) if protocol.stripped else np.ones(native.shape, bool)
    image = image * left
    label, facts = visible_mask(
        receiver.magnitude(with_bleeds, slow) * left,  # what was stripped off shows no bleed
        receiver.magnitude(without, slow) * left,
        native,
        spread * float(np.sqrt(protocol.kept_fraction)),
        [bleed.ball.centre_mm for bleed in bleeds],
        [bleed.core_diameter_mm / 2 for bleed in bleeds],
    )
    top = np.percentile(image[brain], 99.5) if brain.any() else image.max()
    values = np.rint(image * (rng.uniform(0.3, 1.0) * BRIGHTEST / max(float(top), 1e-9)))
    volumes = [Volume(a, native.affine) for a in (values.clip(0, 32767).astype(np.int16), label)]
    volumes += [Volume(a.astype(np.uint8), native.affine) for a in (brain, regions)]
    axes = [int(a) for a in rng.permutation(3)] if rng.random() < 0.3 else [0, 1, 2]
    flips = rng.random(3) < 0.5
    image_volume, label_volume, brain_volume, region_volume = (stored(v, axes, flips) for v in volumes)
    return GeneratedScan(
        head=scene.head.name,
        image=image_volume,
        label=label_volume,
        brain=brain_volume,
        regions=region_volume,
        bleeds=tuple(true_bleed(n, *pair) for n, pair in enumerate(zip(bleeds, facts, strict=True), start=1)),
        mimics=mimics,
        facts={
            "sequence": protocol.sequence,
            "field_t": protocol.field_t,
            "te_ms": round(protocol.te_s * 1000, 1),
            "slice_mm": round(protocol.spacing_mm[2], 2),
            "random_contrast": "yes" if protocol.random_contrast else "no",
        },
    )


def _stripping_mask(rng: np.random.Generator, brain: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The brain as a skull stripper might have left it: a voxel more or less, rough."""
    blurred = ndimage.uniform_filter(brain.astype(np.float32), 5)
    rough = ndimage.gaussian_filter(rng.standard_normal(brain.shape, dtype=np.float32), 2.0)
    rough *= np.float32(0.15 / max(float(rough.std()), 1e-6))
    return np.asarray(blurred + rough > rng.uniform(0.2, 0.6))


def stored(volume: Volume, axes: list[int], flips: NDArray[np.bool_]) -> Volume:
    """The same voxels at the same places with the array's axes in another order and direction.

    Args:
        volume: any.
        axes: which axis comes first, second and third.
        flips: which of the new axes run backwards.
    """
    data = np.transpose(volume.data, axes)
    affine = volume.affine.copy()
    affine[:3, :3] = affine[:3, axes]
    for axis in (int(a) for a in np.flatnonzero(flips)):
        affine[:3, 3] += affine[:3, axis] * (data.shape[axis] - 1)
        affine[:3, axis] *= -1
        data = np.flip(data, axis)
    return Volume(np.ascontiguousarray(data), affine)
