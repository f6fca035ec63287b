import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from shiva_cmb.anatomy import segment_head
from shiva_cmb.dataset.cases import Case
from shiva_cmb.dataset.labels import LabelValues, label_to_model_grid
from shiva_cmb.ensemble import load_ensemble
from shiva_cmb.ensemble.bundle import FoldFile, write_bundle
from shiva_cmb.evaluation import pair_cases
from shiva_cmb.imaging import read_volume, write_volume
from shiva_cmb.prediction import predict
from shiva_cmb.training.calibration import out_of_fold
from shiva_cmb.training.calibration.choose import calibrate
from shiva_cmb.training.calibration.out_of_fold import (
    OutOfFoldCase,
    out_of_fold_maps,
    safe_name,
    write_case_table,
)
from tests.training.calibration.conftest import KERAS, make_map_settings


def test_a_map_is_what_predict_gives_for_that_fold(
    maps: tuple[OutOfFoldCase, ...], cases: list[Case], networks: list[Path], tmp_path: Path
) -> None:
    bundle = write_bundle(tmp_path / "one", [FoldFile(networks[1])], make_map_settings(tmp_path).part)
    ensemble = load_ensemble(bundle.folder, options=KERAS, note=pytest.fail)
    entry = next(entry for entry in maps if entry.name == cases[1].name)
    assert entry.fold == 1
    expected = predict(cases[1].images[0], model=ensemble, mask=cases[1].mask, note=lambda _: None)
    stored = read_volume(entry.probability)
    assert stored.grid.matches(read_volume(cases[1].images[0]).grid)
    np.testing.assert_array_equal(stored.data, expected.probability.data)
    assert stored.data.max() > 0.9


def test_labels_are_written_as_training_understands_them(
    maps: tuple[OutOfFoldCase, ...], cases: list[Case]
) -> None:
    label, truth = read_volume(cases[0].label).data, read_volume(maps[0].truth).data
    assert set(np.unique(label)) == {0, 3, 5, 7}
    np.testing.assert_array_equal(truth, np.select([label == 3, label == 7], [1, 2]))


@pytest.mark.parametrize("kind", ["soft", "numbered", "ignored"])
def test_training_and_calibration_see_the_same_lesions(
    kind: str, cases: list[Case], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = read_volume(cases[0].images[0])
    label = np.zeros(image.shape, np.float32)
    label[25, 15, 30], label[35, 20, 40] = (0.6, 0.7) if kind == "soft" else (1, 2)
    label[26, 15, 30] = 0.4 if kind == "soft" else 3  # touches the first one
    label[30:32, 10:12, 30:32] = -1 if kind == "ignored" else 0
    values = LabelValues(ignore=(-1,) if kind == "ignored" else ())
    case = replace(cases[0], label=tmp_path / "label.nii.gz")
    write_volume(image.with_data(label), case.label)
    how = replace(make_map_settings(tmp_path / "maps"), values=values)
    nothing = SimpleNamespace(probability=image.with_data(np.zeros(image.shape, np.float32)))
    monkeypatch.setattr(out_of_fold, "predict", lambda images, **_: nothing)
    monkeypatch.setattr(out_of_fold, "_one_fold", lambda *_: object())
    (fold := tmp_path / "fold.h5").write_bytes(b"not looked into")
    monkeypatch.setattr(out_of_fold, "fold_sources", lambda paths: (SimpleNamespace(sha256="0"),))
    table = write_case_table(tmp_path / "maps/cases.tsv", out_of_fold_maps(0, fold, [case], how))
    trained = label_to_model_grid(read_volume(case.label), image.grid, "label", values=values)
    assert len(trained.lesions) == 2
    assert calibrate(table, values=values, note=lambda _: None).figures["lesions"] == 2


def test_free_columns_may_have_any_name(maps: tuple[OutOfFoldCase, ...], tmp_path: Path) -> None:
    names = ["fold", "table_fold", "Fold", "site", "SITE", "mask ", "a,b;c\td", ""]
    columns = {name: f"value {number}" for number, name in enumerate(names)}
    table = write_case_table(tmp_path / "cases.tsv", [replace(maps[0], columns=columns)])
    (case,) = pair_cases(table, table, note=pytest.fail).cases
    assert case.columns["fold"] == "0"
    assert set(columns.values()) <= set(case.columns.values())


def test_a_case_without_a_mask_gets_the_one_predict_would_use(
    maps: tuple[OutOfFoldCase, ...], cases: list[Case]
) -> None:
    by_name = {entry.name: entry for entry in maps}
    assert by_name[cases[2].name].mask == cases[2].mask
    estimate = read_volume(by_name[cases[3].name].mask)
    assert estimate.grid.matches(read_volume(cases[3].images[0]).grid)
    searched = segment_head(read_volume(cases[3].images[0]), lambda line: None).searched
    np.testing.assert_array_equal(estimate.data > 0, searched)


def test_the_table_gives_evaluate_all_it_needs(table: Path, maps: tuple[OutOfFoldCase, ...]) -> None:
    found = pair_cases(table, table, note=pytest.fail)
    entries = {entry.name: entry for entry in maps}
    assert [case.name for case in found.cases] == [f"site A/{k}" for k in range(4)]
    for case in found.cases:
        entry = entries[case.name]
        assert (case.truth, case.prediction, case.probability) == (
            *(entry.truth, entry.probability, entry.probability),
        )
        assert (case.mask, case.image, case.patient) == (entry.mask, entry.image, entry.patient)
        own = {"fold": str(entry.fold), "site": "A", "table_label": "third reading", "table_session_id": "2"}
        assert case.columns == own
    moved = table.parent.rename(table.parent.with_name("moved"))  # the maps are found wherever the run lies
    assert len(pair_cases(moved / table.name, moved / table.name, note=pytest.fail).cases) == 4
    moved.rename(table.parent)


def test_maps_are_made_again_only_where_something_changed(
    cases: list[Case], networks: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how, made = make_map_settings(tmp_path / "maps"), []
    real = out_of_fold.predict

    def watched(images: list[Path], **more: object) -> object:
        made.append(images[0])
        return real(images, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(out_of_fold, "predict", watched)
    two = cases[:2]
    first = out_of_fold_maps(0, networks[0], two, how, note=pytest.fail)
    assert len(made) == 2
    seen: list[tuple[int, int]] = []
    again = out_of_fold_maps(
        0, networks[0], two, how, on_case=lambda *done: seen.append(done), note=pytest.fail
    )
    assert (again, len(made), seen) == (first, 2, [(1, 2), (2, 2)])
    first[0].probability.unlink()  # as a kill before the renaming leaves it
    out_of_fold_maps(0, networks[0], two, how, note=pytest.fail)
    assert made[2:] == [two[0].images[0]]
    stamp = two[1].images[0].stat()
    os.utime(two[1].images[0], ns=(stamp.st_atime_ns, stamp.st_mtime_ns + 10**9))
    out_of_fold_maps(0, networks[0], two, how, note=pytest.fail)
    assert made[3:] == [two[1].images[0]]
    out_of_fold_maps(0, networks[1], two, how, note=pytest.fail)  # other weights
    assert len(made) == 6
    first[1].truth.write_bytes(first[1].truth.read_bytes()[:-9])  # a full disk, a broken copy
    first[0].probability.write_bytes(first[1].probability.read_bytes())
    out_of_fold_maps(0, networks[1], two, how, note=pytest.fail)
    assert len(made) == 8
    out_of_fold_maps(0, networks[1], two, how, note=pytest.fail)
    assert len(made) == 8
    assert not [path.name for path in how.folder.iterdir() if path.name.startswith(".")]


def test_names_of_cases_become_different_file_names() -> None:
    assert safe_name("sub-01_ses-2") == "sub-01_ses-2"
    names = ["a/b", "a_b", "a b", "../a", "ä", "ö", "..", "a:b"]
    made = [safe_name(name) for name in names]
    assert len(set(made)) == len(names)
    assert all(name and "/" not in name and not name.startswith(".") for name in made)
