import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset import read_dataset
from shiva_cmb.errors import OutputError, UsageError
from shiva_cmb.imaging import Grid, Volume, read_volume
from shiva_cmb.synthesis import GeneratedScan, HeadMap, TrueBleed, write_scan, write_scans
from shiva_cmb.synthesis.scan import mark_mimics, mimic_rows, place_name
from shiva_cmb.synthesis.shapes import Ball, Tube
from shiva_cmb.tables import read_table
from tests.imaging.samples import make_grid

GRID = make_grid((12, 14, 9), (1.0, 1.0, 1.5), "LPS", (8, -4, 3))
NOTHING = Volume(np.zeros(GRID.shape, np.int16), GRID.affine)
HEADS = [HeadMap(name, NOTHING) for name in ("one", "two")]
MIDDLE = GRID.to_world((6, 7, 4))
TUBE = Tube("pial vein", MIDDLE + np.outer(np.linspace(-2, 2, 9), [1.0, 0, 0]), np.full(9, 0.6))
LUMP = Ball("calcification", MIDDLE + np.array([[0, 4, 0], [0, 6, 0]]), np.array([1.5, 1.0]))


def bleed(number: int, visible: bool) -> TrueBleed:
    return TrueBleed(number, *MIDDLE, 4.0, 2.5, 33.5, "lobar", "left", 0.6, 12.0, visible)


def fake_scan(rng: np.random.Generator, head: HeadMap, made: list[str] | None = None) -> GeneratedScan:
    """Noise with two bleeds, one of them too faint."""
    if made is not None:
        made.append(head.name)
    label = np.zeros(GRID.shape, np.uint8)
    label[6, 7, 4], label[2, 2, 2] = 1, 2
    brain = Volume(np.ones(GRID.shape, np.uint8), GRID.affine)
    return GeneratedScan(
        head=head.name,
        image=Volume(rng.integers(1, 999, GRID.shape).astype(np.int16), GRID.affine),
        label=Volume(label, GRID.affine),
        brain=brain,
        regions=brain,
        bleeds=(bleed(1, True), bleed(2, False)),
        mimics=(TUBE, LUMP),
        facts={"sequence": "swi", "field_t": 3.0, "te_ms": 20.5, "slice_mm": 1.5},
    )


def write(folder: Path, count: int = 3, seed: int = 7, **changes: object) -> Path:
    how = {"settings": {"deformation": changes.get("deformation", 1.0)}}
    make = changes.get("make", fake_scan)
    heads = changes.get("heads", HEADS)
    return write_scans(make, heads, folder, count=count, seed=seed, how=how)  # type: ignore[arg-type]


def test_the_list_of_cases_is_one_that_training_reads(tmp_path: Path) -> None:
    told = []
    path = write_scans(
        fake_scan, HEADS, tmp_path, count=3, seed=7, how={}, progress=lambda *done: told.append(done)
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    data = read_dataset(path)
    assert [case.name for case in data.cases] == ["scan_0000", "scan_0001", "scan_0002"]
    assert [case.patient for case in data.cases] == ["one", "two", "one"]  # the heads take turns
    assert data.values.lesion == (1,)
    assert data.values.ignore == (2,)
    assert data.cases[0].columns["sequence"] == "swi"
    assert float(data.cases[0].columns["te_ms"]) == 20.5
    assert int(data.cases[0].columns["bleeds"]) == 1  # that can be seen
    image = read_volume(data.cases[0].images[0], note=pytest.fail)
    assert image.grid.matches(GRID)
    assert read_volume(data.cases[0].label, note=pytest.fail).data[6, 7, 4] == 1


def test_a_scan_has_its_volumes_and_its_tables(tmp_path: Path) -> None:
    write_scan(fake_scan(np.random.default_rng(0), HEADS[0]), tmp_path, "a")
    endings = ["", "_brain", "_label", "_mimics", "_regions"]
    names = sorted([f"a{ending}.nii.gz" for ending in endings] + ["a_bleeds.tsv", "a_mimics.tsv"])
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    rows = [row for _, row in read_table(tmp_path / "a_bleeds.tsv").rows]
    assert [row["visible"] for row in rows] == ["yes", "no"]
    place = [float(rows[0][name]) for name in ("x_mm", "y_mm", "z_mm")]
    np.testing.assert_allclose(place, MIDDLE, atol=1e-3)
    rows = [row for _, row in read_table(tmp_path / "a_mimics.tsv").rows]
    assert [row["kind"] for row in rows] == ["pial vein", "calcification"]


def test_a_run_that_was_stopped_goes_on_and_keeps_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, count=2)
    first = (tmp_path / "scan_0000.nii.gz").read_bytes()
    (tmp_path / "scan_0001.json").unlink()  # killed before the second one was complete
    made: list[str] = []
    write(tmp_path, count=3, make=partial(fake_scan, made=made))
    assert made == ["two", "one"]
    assert (tmp_path / "scan_0000.nii.gz").read_bytes() == first
    assert len(read_dataset(tmp_path / "cases.json").cases) == 3


def test_a_scan_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    for folder, count in (("few", 2), ("many", 4)):
        write(tmp_path / folder, count)
    few, many = (read_volume(tmp_path / folder / "scan_0001.nii.gz") for folder in ("few", "many"))
    np.testing.assert_array_equal(few.data, many.data)
    other = read_volume(tmp_path / "many" / "scan_0003.nii.gz")  # of the same head
    assert (other.data != many.data).any()


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"seed": 8}, "seed"), ({"deformation": 0.0}, "settings"), ({"heads": HEADS[:1]}, "heads")],
)
def test_scans_made_otherwise_are_not_mixed(tmp_path: Path, changes: dict[str, object], name: str) -> None:
    write(tmp_path, 1)
    with pytest.raises(UsageError, match=f"holds scans that were made otherwise \\({name} differ"):
        write(tmp_path, 1, **changes)  # type: ignore[arg-type]


def test_what_goes_wrong_with_a_scan_is_told_with_its_name(tmp_path: Path) -> None:
    def refuse(rng: np.random.Generator, head: HeadMap) -> GeneratedScan:
        raise UsageError("the brain is too small")

    with pytest.raises(OutputError, match="scan_0000: the brain is too small"):
        write(tmp_path, make=refuse)
    assert not (tmp_path / "cases.json").exists()
    with pytest.raises(UsageError, match="at least one scan and one head, got 0 and 2"):
        write(tmp_path, count=0)


def test_mimics_are_marked_by_their_number_in_the_table() -> None:
    marks = mark_mimics((TUBE, LUMP), GRID)
    rows = mimic_rows((TUBE, LUMP))
    assert set(np.unique(marks.data)) == {0, 1, 2}
    for number, row in enumerate(rows, start=1):
        places = GRID.to_world(np.argwhere(marks.data == number))
        away = np.linalg.norm(places - [row["x_mm"], row["y_mm"], row["z_mm"]], axis=1)
        assert away.max() < float(row["length_mm"]) / 2 + 1.5
    assert rows[0]["length_mm"] == pytest.approx(4)
    assert rows[1]["length_mm"] == pytest.approx(2 + 3)
    assert rows[1]["diameter_mm"] == pytest.approx(3)
    beyond = Ball("cavernoma", MIDDLE[None] + 500, np.ones(1))
    assert not mark_mimics((beyond,), GRID).data.any()


def test_a_place_is_named_by_the_map_of_regions() -> None:
    regions = np.zeros((4, 4, 4), np.uint8)
    regions[0], regions[3] = 1, 4
    grid = Grid((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert place_name(regions, grid, np.array([0.5, 2, 2])) == ("lobar", "left")
    assert place_name(regions, grid, np.array([6.4, 2, 2])) == ("deep", "right")
    assert place_name(regions, grid, np.array([2.0, 2, 2])) == ("unknown", "midline")


def test_what_is_written_is_what_is_told(tmp_path: Path) -> None:
    write(tmp_path, 1)
    how = json.loads((tmp_path / "generator.json").read_text())
    assert how == {"settings": {"deformation": 1.0}, "seed": 7, "heads": ["one", "two"]}


@pytest.mark.parametrize("name", ["cases.json", "scan_0000.nii.gz", "scan_0012_label.nii.gz"])
def test_files_of_another_origin_are_not_replaced(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=f"holds {name} of another origin .* name another folder"):
        write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


def test_a_smaller_count_keeps_finished_scans_in_the_list(tmp_path: Path) -> None:
    write(tmp_path, count=3)
    (tmp_path / "scan_0001.json").unlink()  # not finished
    (tmp_path / "scan_0002_provenance.json").write_text("{}")  # a prediction's, say
    write(tmp_path, count=1)
    assert [case.name for case in read_dataset(tmp_path / "cases.json").cases] == ["scan_0000", "scan_0002"]


@pytest.mark.parametrize("lost", ["", "_label", "_brain", "_regions", "_mimics"])
@pytest.mark.parametrize("emptied", [True, False])
def test_a_scan_whose_files_are_lost_is_made_anew(tmp_path: Path, lost: str, emptied: bool) -> None:
    write(tmp_path, count=2)
    file = tmp_path / f"scan_0001{lost}.nii.gz"
    before = file.read_bytes()
    file.write_bytes(b"") if emptied else file.unlink()
    made: list[str] = []
    write(tmp_path, count=2, make=partial(fake_scan, made=made))
    assert made == ["two"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("damaged", ["{", "[1]", "{}", ""])
def test_a_scan_whose_entry_is_damaged_is_made_anew(tmp_path: Path, damaged: str) -> None:
    write(tmp_path, count=2)
    entry = tmp_path / "scan_0000.json"
    before = entry.read_text()
    entry.write_text(damaged)
    made: list[str] = []
    write(tmp_path, count=2, make=partial(fake_scan, made=made))
    assert made == ["one"]
    assert entry.read_text() == before


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model": "of something else"}'])
def test_a_damaged_record_is_told(tmp_path: Path, content: str) -> None:
    write(tmp_path, count=1)
    record = tmp_path / "generator.json"
    record.write_text(content)
    with pytest.raises(UsageError, match=r"generator\.json: expected the record of .* name another"):
        write(tmp_path, count=1)
    assert record.read_text() == content


def test_settings_that_gave_no_scan_do_not_block_others(tmp_path: Path) -> None:
    def fail(rng: np.random.Generator, head: HeadMap) -> GeneratedScan:
        raise UsageError("no place")

    with pytest.raises(OutputError, match="no place"):
        write(tmp_path, make=fail)
    write(tmp_path, 1, deformation=0.5)
    assert json.loads((tmp_path / "generator.json").read_text())["settings"] == {"deformation": 0.5}
