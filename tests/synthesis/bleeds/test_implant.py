from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from shiva_cmb.errors import DataError, UsageError
from shiva_cmb.imaging import Volume, read_volume
from shiva_cmb.synthesis.bleeds.draw import BleedSettings
from shiva_cmb.synthesis.bleeds.implant import (
    ImplantSettings,
    RealScan,
    ScannerSettings,
    implant,
    noise_of,
    scan_with_bleeds,
)
from shiva_cmb.synthesis.scan import TrueBleed, write_scan

SETTINGS = BleedSettings(lesion_free_share=0, bleed_count=(6, 6), bleed_diameter_mm=(3.0, 4.5))
SIGMA = 30.0


def scan_of_a_ball(spacing: tuple[float, float, float] = (0.8, 0.8, 1.2)) -> tuple[Volume, NDArray[np.bool_]]:
    """A bright ball of 21 mm in noisy air, with a dark vein through its middle, and the mask of the ball."""
    shape = tuple(round(52 / step) for step in spacing)
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    affine[:3, 3] = (30.0, -20.0, 11.0)
    places = np.meshgrid(
        *[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)], indexing="ij"
    )
    brain = np.sqrt(sum(p**2 for p in places)) < 21
    signal = np.where(brain, 1000.0, 0.0)
    signal[np.hypot(places[0], places[1]) < 1.5] *= 0.2
    rng = np.random.default_rng(0)
    noisy = np.hypot(signal + rng.normal(0, SIGMA, shape), rng.normal(0, SIGMA, shape))
    return Volume(np.rint(noisy).astype(np.int16), affine), brain


def place(bleed: TrueBleed) -> NDArray[np.float64]:
    return np.array([bleed.x_mm, bleed.y_mm, bleed.z_mm])


def test_bleeds_are_dark_where_the_label_says_and_all_else_is_untouched() -> None:
    scan, brain = scan_of_a_ball()
    made = implant(np.random.default_rng(1), scan, brain, None, SETTINGS, ScannerSettings())
    assert len(made.bleeds) == 6
    assert made.image.data.dtype == np.int16
    assert made.image.data.min() >= scan.data.min()
    assert made.image.data.max() <= scan.data.max()
    np.testing.assert_array_equal(made.image.affine, scan.affine)
    for number, bleed in enumerate(made.bleeds, start=1):
        mask = made.numbers == number
        assert bleed.bleed == number
        assert bleed.visible
        assert bleed.volume_mm3 == pytest.approx(mask.sum() * scan.grid.voxel_volume_mm3)
        assert made.image.data[mask].mean() < 0.6 * scan.data[mask].mean()
        offset = scan.grid.to_world(np.argwhere(mask).mean(axis=0)) - place(bleed)
        assert np.linalg.norm(offset) < 1.0
        assert bleed.region == "unknown"
    far = np.ones(scan.shape, bool)
    for bleed in made.bleeds:
        index = np.stack(np.indices(scan.shape), axis=-1)
        far &= np.linalg.norm(scan.grid.to_world(index) - place(bleed), axis=-1) > 15
    assert far.any()
    np.testing.assert_array_equal(made.image.data[far], scan.data[far])


def test_voids_are_as_noisy_as_the_air() -> None:
    scan, brain = scan_of_a_ball((0.6, 0.6, 0.8))
    big = replace(SETTINGS, bleed_diameter_mm=(8.0, 8.0), bleed_count=(2, 2), irregular_share=0)
    made = implant(np.random.default_rng(2), scan, brain, None, big, ScannerSettings())
    index = np.stack(np.indices(scan.shape), axis=-1)
    near = np.linalg.norm(scan.grid.to_world(index) - place(made.bleeds[0]), axis=-1) < 2.0
    void, air = made.image.data[near], scan.data[:8, :8]
    assert void.mean() == pytest.approx(air.mean(), rel=0.25)
    assert void.std() == pytest.approx(air.std(), rel=0.25)
    assert made.sigma == pytest.approx(SIGMA, rel=0.1)


def test_what_is_zero_around_a_stripped_brain_stays_zero() -> None:
    scan, brain = scan_of_a_ball()
    stripped = scan.with_data(np.where(brain, scan.data, 0).astype(scan.data.dtype))
    made = implant(np.random.default_rng(1), stripped, brain, None, SETTINGS, ScannerSettings())
    assert (made.image.data != stripped.data).any()
    assert not made.image.data[~brain].any()


def test_dark_places_are_avoided_and_bleeds_stay_in_the_brain() -> None:
    scan, brain = scan_of_a_ball()
    made = implant(np.random.default_rng(3), scan, brain, None, SETTINGS, ScannerSettings())
    middle = scan.grid.to_world((np.array(scan.shape) - 1) / 2)
    for bleed in made.bleeds:
        from_middle = place(bleed) - middle
        assert np.hypot(from_middle[0], from_middle[1]) > 2.5
        assert np.linalg.norm(from_middle) < 20


def test_a_swi_shows_more_of_a_bleed_than_a_magnitude_and_3_t_more_than_1_5_t() -> None:
    scan, brain = scan_of_a_ball()
    volumes = [
        sum(
            bleed.volume_mm3
            for bleed in implant(np.random.default_rng(4), scan, brain, None, SETTINGS, scanner).bleeds
        )
        for scanner in (
            ScannerSettings(20, 1.5, False),
            ScannerSettings(20, 3, False),
            ScannerSettings(20, 3, True),
        )
    ]
    assert volumes[0] < volumes[1] < volumes[2]


def test_with_regions_bleeds_lie_and_are_named_by_them() -> None:
    scan, brain = scan_of_a_ball()
    regions = np.where(brain, 2, 0).astype(np.uint8)
    regions[:, :, : scan.shape[2] // 2] = np.where(brain[:, :, : scan.shape[2] // 2], 5, 0)
    made = implant(np.random.default_rng(5), scan, brain, regions, SETTINGS, ScannerSettings())
    assert {(bleed.region, bleed.side) for bleed in made.bleeds} <= {
        ("lobar", "right"),
        ("infratentorial", "midline"),
    }
    for bleed in made.bleeds:
        k = scan.grid.to_voxel(place(bleed))[2]
        assert (bleed.region == "lobar") == (np.rint(k) >= scan.shape[2] // 2)


def test_thick_slices_and_fractions_are_kept_as_they_are() -> None:
    scan, brain = scan_of_a_ball((1.0, 1.0, 5.0))
    scan = scan.with_data((scan.data / 700 - 0.1).astype(np.float32))
    made = implant(np.random.default_rng(6), scan, brain, None, SETTINGS, ScannerSettings(30, 1.5, False))
    assert made.image.data.dtype == np.float32
    assert len(made.bleeds) >= 4
    assert all(0.1 < bleed.contrast < 0.95 for bleed in made.bleeds)
    assert made.image.data.min() >= scan.data.min()


def test_noise_is_measured_in_air_or_where_that_is_zero_in_the_brain() -> None:
    scan, brain = scan_of_a_ball()
    data = scan.data.astype(np.float32)
    assert noise_of(data, brain) == pytest.approx(SIGMA, rel=0.1)
    assert noise_of(np.where(brain, data, 0), brain) == pytest.approx(SIGMA, rel=0.1)


def test_the_same_seed_gives_the_same_scan() -> None:
    scan, brain = scan_of_a_ball()
    first, second = (
        implant(np.random.default_rng(7), scan, brain, None, SETTINGS, ScannerSettings()) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image.data, second.image.data)


def test_a_brain_without_a_place_and_impossible_scanners_are_errors() -> None:
    scan, brain = scan_of_a_ball()
    with pytest.raises(DataError, match="no place"):
        implant(np.random.default_rng(8), scan, brain & False, None, SETTINGS, ScannerSettings())
    with pytest.raises(UsageError, match="te_ms"):
        ScannerSettings(te_ms=0.02)
    with pytest.raises(UsageError, match="field_t"):
        ScannerSettings(field_t=3000)


def test_a_scan_with_bleeds_is_written_like_a_generated_one(tmp_path: Path) -> None:
    scan, brain = scan_of_a_ball()
    made = scan_with_bleeds(
        np.random.default_rng(9),
        RealScan("anna", scan, brain),
        ImplantSettings(SETTINGS, ScannerSettings(25, 1.5, False)),
    )
    entry = write_scan(made, tmp_path, "copy_1")
    assert entry["patient"] == "anna"
    assert entry["bleeds"] == 6
    assert (entry["sequence"], entry["field_t"], entry["te_ms"]) == ("t2s", 1.5, 25)
    label = read_volume(tmp_path / "copy_1_label.nii.gz")
    assert label.grid.matches(scan.grid)
    np.testing.assert_array_equal(np.unique(label.data), [0, 1])
    np.testing.assert_array_equal(read_volume(tmp_path / "copy_1.nii.gz").data, made.image.data)
