from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from shiva_cmb.errors import UsageError
from shiva_cmb.imaging import Reorient, SpatialChain, Volume
from shiva_cmb.synthesis import (
    BleedSettings,
    GeneratedScan,
    MimicSettings,
    ProtocolSettings,
    SynthesisSettings,
    VesselSettings,
    make_scan,
)
from shiva_cmb.synthesis.head_map import REGION_NAMES
from shiva_cmb.synthesis.quick.generate import stored
from shiva_cmb.synthesis.quick.vessels import FLOW_VOID
from tests.imaging.samples import make_grid, world_coordinates
from tests.synthesis.small_heads import small_head

NO_VESSELS = VesselSettings(
    **{f.name: 0 for f in fields(VesselSettings) if f.name.endswith(("_veins", "_voids", "_spaces"))}
)
NO_MIMICS = MimicSettings(**{f.name: 0 for f in fields(MimicSettings)})
CLEAN = ProtocolSettings(
    in_plane_mm=(1.2, 1.2),
    swi_slice_mm=(1.5, 1.5),
    t2s_slice_mm=(2.5, 2.5),
    signal_to_noise=(500, 500),
    random_contrast_share=0,
    stripped_share=0,
    part_share=0,
    zero_filled_share=0,
    bias=(0, 0),
)
"""Nothing that depends on chance but tilt, contrast and place."""
FOUR = BleedSettings(lesion_free_share=0, bleed_count=(4, 4), bleed_diameter_mm=(4, 6), pair_share=0)
NO_BLEEDS = BleedSettings(lesion_free_share=1)
BARE = SynthesisSettings(protocol=CLEAN, bleeds=FOUR, vessels=NO_VESSELS, mimics=NO_MIMICS)


def made(what: SynthesisSettings, seed: int = 1) -> GeneratedScan:
    return make_scan(np.random.default_rng(seed), small_head(), what)


def upright(volume: Volume) -> Volume:
    """Axes about right, anterior, superior."""
    return SpatialChain((Reorient(volume.grid),)).apply(volume, order=0)


def brightness(scan: GeneratedScan) -> np.ndarray:
    """The upright image, white matter about 1: files are scaled at random."""
    image = upright(scan.image).data.astype(float)
    return image / np.median(image[upright(scan.brain).data > 0])


def test_what_is_stripped_off_shows_no_bleed() -> None:
    outer = replace(FOUR, bleed_count=(12, 12), bleed_diameter_mm=(3, 5), pial_share=1.0)
    noisy = replace(CLEAN, swi_share=0, stripped_share=1, signal_to_noise=(30, 30))
    scan = made(replace(BARE, protocol=noisy, bleeds=outer), seed=6)
    seen = scan.label.data == 1
    assert seen.sum() > 20
    assert (scan.image.data[seen] > 0).all()


@pytest.fixture(scope="module", params=["swi", "t2s"])
def pair(request: pytest.FixtureRequest) -> tuple[GeneratedScan, GeneratedScan]:
    """The same head in the same scanner with bleeds and without."""
    what = replace(BARE, protocol=replace(CLEAN, swi_share=float(request.param == "swi")))
    return made(what), made(replace(what, bleeds=NO_BLEEDS))


def test_bleeds_are_dark_where_the_truth_says_and_nowhere_else(
    pair: tuple[GeneratedScan, GeneratedScan],
) -> None:
    scan, without = pair
    label = upright(scan.label)
    assert label.grid.matches(upright(without.label).grid)
    before = np.maximum(brightness(without), 0.1)
    loss = (before - brightness(scan)) / before
    visible = [bleed for bleed in scan.bleeds if bleed.visible]
    assert len(visible) == len(scan.bleeds) == 4
    for bleed in visible:
        assert bleed.cnr > 5
        centre = np.rint(label.grid.to_voxel((bleed.x_mm, bleed.y_mm, bleed.z_mm))).astype(int)
        assert loss[tuple(centre)] > 0.25
        assert label.data[tuple(centre)] == 1
    assert loss[label.data == 1].min() > 0.25
    assert loss[label.data == 1].max() == pytest.approx(max(b.contrast for b in scan.bleeds), abs=0.1)
    tissue = np.isin(upright(scan.regions).data, (1, 2, 3, 4, 5))  # the fluid at the skull has other phases
    in_brain = ndimage.binary_erosion(tissue, iterations=2)
    assert (label.data[in_brain & (loss > 0.4)] == 1).mean() > 0.95


def test_each_mask_lies_about_its_bleed_and_has_the_volume_that_is_told(
    pair: tuple[GeneratedScan, GeneratedScan],
) -> None:
    scan = pair[0]
    pieces, _ = ndimage.label(scan.label.data == 1, np.ones((3, 3, 3)))
    for bleed in scan.bleeds:
        place = np.array([bleed.x_mm, bleed.y_mm, bleed.z_mm])
        centre = np.rint(scan.label.grid.to_voxel(place)).astype(int)
        own = np.argwhere(pieces == pieces[tuple(centre)])
        off = scan.label.grid.to_world(own.mean(axis=0)) - place
        assert np.linalg.norm(off) < max(scan.label.spacing_mm)
        volume = len(own) * scan.label.grid.voxel_volume_mm3
        assert bleed.volume_mm3 == pytest.approx(volume)
        assert bleed.diameter_mm == pytest.approx((6 * volume / np.pi) ** (1 / 3))
        assert bleed.core_diameter_mm < bleed.diameter_mm + 1.5
        names = {REGION_NAMES.get(int(value)) for value in scan.regions.data[tuple(own.T)]}
        assert (bleed.region, bleed.side) in names


def test_the_volumes_of_a_scan_share_a_grid_and_look_like_files_of_a_scanner(
    pair: tuple[GeneratedScan, GeneratedScan],
) -> None:
    for scan in pair:
        assert scan.head == "round"
        assert scan.image.data.dtype == np.int16
        for volume in (scan.label, scan.brain, scan.regions):
            assert volume.data.dtype == np.uint8
            assert volume.grid.matches(scan.image.grid)
        np.testing.assert_array_equal(scan.brain.data > 0, scan.regions.data > 0)
        assert {1, 2, 5} <= set(np.unique(scan.regions.data))
        assert sorted(scan.image.spacing_mm)[0] == pytest.approx(1.2)
        assert max(scan.image.spacing_mm) == pytest.approx(scan.facts["slice_mm"])
        assert np.count_nonzero(np.abs(scan.image.affine[:3, :3]) > 1e-6) == 9  # oblique
        brain = scan.image.data[scan.brain.data > 0]
        assert 300 < np.percentile(brain, 99) < 3200
        assert np.percentile(scan.image.data, 1) < 0.1 * np.median(brain)
    assert pair[1].bleeds == ()
    assert not pair[1].label.data.any()


def test_the_same_seed_gives_the_same_scan_and_another_another() -> None:
    some = replace(NO_VESSELS, pial_veins=8, flow_voids=4)
    coarse = ProtocolSettings(in_plane_mm=(2, 2), swi_slice_mm=(2, 2), t2s_slice_mm=(2, 2))
    what = SynthesisSettings(protocol=coarse, vessels=some)
    first, again, other = made(what, 5), made(what, 5), made(what, 6)
    np.testing.assert_array_equal(first.image.data, again.image.data)
    np.testing.assert_array_equal(first.label.data, again.label.data)
    np.testing.assert_array_equal(first.image.affine, again.image.affine)
    assert first.bleeds == again.bleeds
    assert first.facts == again.facts
    assert first.mimics
    assert [mimic.kind for mimic in first.mimics] == [mimic.kind for mimic in again.mimics]
    assert first.facts != other.facts


def test_kinds_are_left_out_by_a_count_of_0_and_darken_the_image_where_they_are() -> None:
    protocol = replace(CLEAN, swi_share=1, in_plane_mm=(1.5, 1.5))
    none = replace(BARE, protocol=protocol, bleeds=NO_BLEEDS)
    bare = made(none, 2)
    assert bare.mimics == ()
    arteries = made(replace(none, vessels=replace(NO_VESSELS, flow_voids=30)), 2)
    assert {mimic.kind for mimic in arteries.mimics} == {FLOW_VOID}
    pallida = made(replace(none, mimics=replace(NO_MIMICS, pallidum_share=1)), 2)
    assert {mimic.kind for mimic in pallida.mimics} == {"calcification"}
    lost = brightness(bare) - brightness(pallida)
    grid = upright(pallida.image).grid
    for ball in pallida.mimics:
        x, y, z = np.rint(grid.to_voxel(ball.centre_mm)).astype(int)
        assert lost[x - 1 : x + 2, y - 1 : y + 2, z - 1 : z + 2].max() > 0.2


def test_noise_cropping_and_stripping_are_as_set() -> None:
    coarse = replace(CLEAN, in_plane_mm=(2, 2), swi_slice_mm=(2, 2), t2s_slice_mm=(2, 2), swi_share=0)
    base = replace(BARE, protocol=coarse, bleeds=NO_BLEEDS)
    plain = made(base, 3)
    noisy = made(replace(base, protocol=replace(coarse, signal_to_noise=(10, 10))), 3)
    air = [np.quantile(brightness(scan), 0.1) for scan in (plain, noisy)]
    assert air[1] > 10 * air[0]
    stripped = made(replace(base, protocol=replace(coarse, stripped_share=1)), 3)
    outside = ~ndimage.binary_dilation(stripped.brain.data > 0, iterations=4)
    assert outside.any()
    assert not stripped.image.data[outside].any()
    part = made(replace(base, protocol=replace(coarse, part_share=1)), 3)
    assert (part.brain.data > 0).sum() < 0.95 * (plain.brain.data > 0).sum()


def test_voxels_get_coarser_where_there_would_be_too_many() -> None:
    what = replace(BARE, protocol=replace(CLEAN, largest_voxels=2e4), bleeds=NO_BLEEDS)
    scan = made(what, 1)
    assert scan.image.data.size <= 2e4
    assert sorted(scan.image.spacing_mm)[0] > 1.3


def test_a_deformation_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="deformation: expected 0 to 3, got 4"):
        SynthesisSettings(deformation=4)


@given(axes=st.permutations([0, 1, 2]), flips=st.lists(st.booleans(), min_size=3, max_size=3))
@settings(max_examples=20, deadline=None)
def test_however_a_scan_is_stored_its_voxels_stay_where_they_are(axes: list[int], flips: list[bool]) -> None:
    grid = make_grid((4, 5, 6), (0.7, 1.1, 3.0), "LPS", (10, -20, 5))
    places = world_coordinates(grid)
    for world in range(3):
        turned = stored(Volume(places[..., world], grid.affine), axes, np.array(flips))
        np.testing.assert_allclose(turned.data, world_coordinates(turned.grid)[..., world], atol=1e-9)
    assert turned.shape == tuple(np.array(grid.shape)[axes])
