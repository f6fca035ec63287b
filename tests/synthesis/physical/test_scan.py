"""Whole scans of a small head, at coarse settings."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset.manifest import read_manifest
from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import read_volume
from shiva_cmb.synthesis.physical import PhysicalSettings, make_scan
from shiva_cmb.synthesis.physical.haemorrhages import draw_count
from shiva_cmb.synthesis.scan import GeneratedScan, write_scans
from tests.synthesis.physical.small_head import ellipsoid_head

COARSE = PhysicalSettings(fine_mm=0.9, lesion_free_share=0, lowest_snr=300, highest_snr=300, bend_mm=1.0)


@pytest.fixture(scope="module")
def scan() -> GeneratedScan:
    return make_scan(np.random.default_rng(3), ellipsoid_head(), COARSE)


def test_equal_seeds_give_equal_scans(scan: GeneratedScan) -> None:
    again = make_scan(np.random.default_rng(3), ellipsoid_head(), COARSE)
    np.testing.assert_array_equal(again.image.data, scan.image.data)
    np.testing.assert_array_equal(again.label.data, scan.label.data)
    assert again.bleeds == scan.bleeds
    assert again.facts == scan.facts


def test_labelled_voxels_are_dark_and_lie_at_their_bleed(scan: GeneratedScan) -> None:
    seen = [bleed for bleed in scan.bleeds if bleed.visible]
    assert seen
    lobes = scan.image.data[np.isin(scan.regions.data, (1, 2)) & (scan.label.data == 0)]
    assert np.median(scan.image.data[scan.label.data == 1]) < 0.75 * np.median(lobes)
    for bleed in seen:
        world = scan.label.grid.to_world(np.argwhere(scan.label.data == 1))
        distance = np.linalg.norm(world - (bleed.x_mm, bleed.y_mm, bleed.z_mm), axis=1)
        assert distance.min() < 0.5 * sum(scan.label.spacing_mm)
    volume = (scan.label.data == 1).sum() * scan.label.grid.voxel_volume_mm3
    assert volume == pytest.approx(sum(bleed.volume_mm3 for bleed in seen), rel=0.01)


def test_brain_and_regions_agree_and_sides_are_right(scan: GeneratedScan) -> None:
    np.testing.assert_array_equal(scan.brain.data > 0, scan.regions.data > 0)
    for value, sign in ((1, -1), (2, 1)):
        world = scan.regions.grid.to_world(np.argwhere(scan.regions.data == value))
        assert np.sign(np.median(world[:, 0])) == sign
    assert set(np.unique(scan.regions.data)) >= {0, 1, 2, 5}


def test_a_share_of_scans_has_no_bleed() -> None:
    rng = np.random.default_rng(0)
    counts = np.array([draw_count(rng, PhysicalSettings(lesion_free_share=0.35)) for _ in range(2000)])
    assert (counts == 0).mean() == pytest.approx(0.35, abs=0.04)
    assert np.median(counts[counts > 0]) in (1, 2)
    assert counts.max() == PhysicalSettings().most_bleeds
    several = np.array([draw_count(rng, PhysicalSettings(fewest_bleeds=6)) for _ in range(500)])
    assert set(several[several < 7]) == {0, 6}


def test_settings_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(UsageError, match="lesion_free_share: expected a number from 0 to 1"):
        PhysicalSettings(lesion_free_share=1.5)
    with pytest.raises(UsageError, match="lowest_snr"):
        PhysicalSettings(lowest_snr=40, highest_snr=20)
    with pytest.raises(UsageError, match=r"fewest_bleeds: expected at most most_bleeds \(40\), got 41"):
        PhysicalSettings(fewest_bleeds=41)


def test_a_set_is_written_resumed_and_its_cases_do_not_depend_on_the_count(tmp_path: Path) -> None:
    make = partial(make_scan, settings=PhysicalSettings(fine_mm=1.5, lesion_free_share=0))
    heads = [ellipsoid_head("egg"), ellipsoid_head("other")]
    how = {"generator": "physical"}
    cases = write_scans(make, heads, tmp_path / "two", count=2, seed=7, how=how)
    write_scans(make, heads[:1], tmp_path / "one", count=1, seed=7, how=how)
    first = {folder: tmp_path / folder / "scan_0000.nii.gz" for folder in ("one", "two")}
    assert first["one"].read_bytes() == first["two"].read_bytes()
    before = first["two"].stat().st_mtime_ns
    (tmp_path / "two" / "scan_0001.json").unlink()  # as if killed before the second was complete
    write_scans(make, heads, tmp_path / "two", count=2, seed=7, how=how)
    assert first["two"].stat().st_mtime_ns == before
    manifest = read_manifest(cases)
    assert [entry.patient for entry in manifest.entries] == ["egg", "other"]
    label = read_volume(tmp_path / "two" / manifest.entries[0].label, note=pytest.fail)
    assert label.data.dtype == np.uint8
