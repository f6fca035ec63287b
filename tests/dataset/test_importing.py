"""Datasets laid out for other programs: what is found, and what is said to be left out."""

import json
from pathlib import Path

import pytest

from shiva_cmb.dataset import Dataset, LabelValues, read_dataset
from shiva_cmb.dataset.importing import Layout, import_dataset
from shiva_cmb.dataset.writing import write_dataset
from shiva_cmb.errors import DataError
from tests.dataset.niftis import write_image, write_label

ONE = {"a": {"images": ["dataset.json"], "label": "dataset.json"}}


def imported(layout: Layout, source: Path) -> tuple[Dataset, str]:
    """The dataset after it was written and read back, and what was noted."""
    notes: list[str] = []
    dataset = import_dataset(layout, source, note=notes.append)
    (source if source.is_dir() else source.parent).joinpath("lists").mkdir()
    path = (source if source.is_dir() else source.parent) / "lists/cases.json"
    write_dataset(dataset, path)
    return read_dataset(path), "\n".join(notes)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_nnunet_2_with_channels_and_label_values(tmp_path: Path) -> None:
    for name in ("CMB_001", "CMB_002", "CMB_003"):
        for k in range(2):
            write_image(tmp_path / f"imagesTr/{name}_{k:04d}.nii.gz", seed=k)
    write_label(tmp_path / "labelsTr/CMB_001.nii.gz", (1, 1, 1))
    write_label(tmp_path / "labelsTr/CMB_002.nii.gz")
    touch(tmp_path / "imagesTs/CMB_009_0000.nii.gz")
    content = {
        "channel_names": {"0": "SWI", "1": "T1"},
        "labels": {"background": 0, "bleed": 1, "possible": 2, "ignore": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset, notes = imported("nnunet", tmp_path)
    assert dataset.channels == ("SWI", "T1")
    assert dataset.values == LabelValues((1, 2), (3,))
    assert [case.name for case in dataset.cases] == ["CMB_001", "CMB_002"]
    assert [image.name for image in dataset.cases[0].images] == ["CMB_001_0000.nii.gz", "CMB_001_0001.nii.gz"]
    assert "1 case is left out (no label): 'CMB_003'" in notes
    assert "'CMB_009'" in notes
    assert "names no patients" in notes
    assert not dataset.patients_listed


def test_nnunet_1_goes_by_its_training_list(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image(tmp_path / f"imagesTr/{name}_0000.nii.gz")
        write_label(tmp_path / f"labelsTr/{name}.nii.gz", (1, 1, 1))
    training = [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}]
    content = {"modality": {"0": "SWI"}, "labels": {"0": "background", "1": "CMB"}, "training": training}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    dataset, _ = imported("nnunet", tmp_path / "dataset.json")
    assert [case.name for case in dataset.cases] == ["a"]
    assert dataset.values == LabelValues()  # plain 0 and 1


def test_decathlon_and_monai_lists(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        touch(tmp_path / f"im/{name}.nii.gz", tmp_path / f"la/{name}.nii.gz")
    entries = [{"image": f"im/{name}.nii.gz", "label": f"la/{name}.nii.gz", "fold": 1} for name in "abc"]
    again = entries[0] | {"image": "./im/a.nii.gz"}
    content = {"training": entries[:2], "validation": [entries[2], again], "test": ["im/t.nii.gz"]}
    content |= {"labels": {"0": "background", "1": "CMB", "2": "CMB"}, "modality": {"0": "SWI"}}
    path = tmp_path / "fold.json"
    path.write_text(json.dumps(content))
    dataset, notes = imported("decathlon", path)
    assert dataset.channels == ("SWI",)
    assert dataset.values == LabelValues((1, 2))
    assert [(case.name, dict(case.columns)) for case in dataset.cases] == [
        ("a", {"split": "training", "fold": "1"}),
        ("b", {"split": "training", "fold": "1"}),
        ("c", {"split": "validation", "fold": "1"}),
    ]
    assert "1 case is left out (for testing): 'im/t.nii.gz'" in notes
    assert "1 case is left out (the list has the image already): './im/a.nii.gz'" in notes


def test_valdo_with_its_cohorts(tmp_path: Path) -> None:
    for name in ("sub-101", "sub-204", "sub-305"):
        for kind in ("T2S", "T1", "T2")[: 2 if name == "sub-204" else 3]:
            touch(tmp_path / name / f"{name}_space-T2S_desc-masked_{kind}.nii.gz")
        if name != "sub-305":
            touch(tmp_path / name / f"{name}_space-T2S_CMB.nii.gz")
    dataset, notes = imported("valdo", tmp_path)
    assert dataset.channels == ("t2s", "t1")
    assert [(case.patient, case.columns["cohort"]) for case in dataset.cases] == [
        ("sub-101", "1"),
        ("sub-204", "2"),
    ]
    assert [file.name[-10:] for file in dataset.cases[0].images] == ["T2S.nii.gz", "_T1.nii.gz"]
    assert "the channel T2 is left out: only 1 of 2 subjects have it" in notes
    assert "(no label): 'sub-305'" in notes


def test_bids_with_sessions_masks_and_participants(tmp_path: Path) -> None:
    derived = tmp_path / "derivatives/rater"
    for name, here in (("sub-1_ses-a", "sub-1/ses-a/anat"), ("sub-1_ses-b", "sub-1/ses-b/anat")):
        touch(
            tmp_path / here / f"{name}_part-mag_swi.nii.gz", tmp_path / here / f"{name}_part-phase_swi.nii.gz"
        )
        touch(
            derived / here / f"{name}_desc-cmb_mask.nii.gz", derived / here / f"{name}_desc-brain_mask.nii.gz"
        )
    touch(tmp_path / "sub-2/anat/sub-2_T2starw.nii.gz", tmp_path / "sub-2/anat/sub-2_T1w.nii.gz")
    touch(derived / "sub-2/anat/sub-2_space-T2starw_label-CMB_dseg.nii.gz")
    touch(tmp_path / "derivatives/fmriprep/sub-2/anat/sub-2_desc-aseg_dseg.nii.gz")
    touch(tmp_path / "sub-3/anat/sub-3_swi.nii.gz", derived / "sub-3/anat/sub-3_dseg.nii.gz")
    touch(tmp_path / "sub-4/anat/sub-4_swi.nii.gz")
    (tmp_path / "participants.tsv").write_text(
        "participant_id\tage\tsite\nsub-1\t70\tBonn\nsub-2\tn/a\tLille\n"
    )
    dataset, notes = imported("bids", tmp_path)
    cases = {case.name: case for case in dataset.cases}
    names = ["sub-1_ses-a_part-mag", "sub-1_ses-b_part-mag", "sub-2", "sub-3"]
    assert list(cases) == names
    assert [cases[name].patient for name in names] == ["sub-1", "sub-1", "sub-2", "sub-3"]
    assert cases[names[0]].columns == {"age": "70", "site": "Bonn"}
    assert cases[names[0]].mask is not None
    assert cases[names[1]].label.name == "sub-1_ses-b_desc-cmb_mask.nii.gz"
    assert cases["sub-2"].images[0].name == "sub-2_T2starw.nii.gz"
    assert cases["sub-2"].label.name == "sub-2_space-T2starw_label-CMB_dseg.nii.gz"
    assert notes == "1 case is left out (no label): 'sub-4'"


@pytest.mark.parametrize(
    ("layout", "content", "message"),
    [
        ("nnunet", None, r"dataset\.json does not exist"),
        ("nnunet", {"labels": {}}, "the key 'channel_names'"),
        ("nnunet", {"channel_names": {"0": "S"}, "file_ending": ".mha"}, "only NIfTI"),
        ("nnunet", {"channel_names": {"a": "b"}}, r"dataset\.json: channel_names\.a.*integer"),
        ("nnunet", {"modality": {"a": "b"}}, r"dataset\.json: modality\.a.*integer"),
        (
            "nnunet",
            {"channel_names": {"0": "S"}, "dataset": ONE, "labels": {"l": "x"}},
            "labels: expected a name",
        ),
        ("decathlon", {"labels": {}}, r"dataset\.json: .*training"),
        ("decathlon", {"training": [{"image": [], "label": "b"}]}, r"training\.0\.image"),
        ("decathlon", {"training": [], "labels": {"one": "two"}}, r"labels\.one.*integer"),
        ("decathlon", {"training": [], "modality": {"x": "y"}}, r"modality\.x.*integer"),
        ("decathlon", {"training": []}, "no case with a label was found"),
        ("valdo", None, "no case with a label was found"),
        ("bids", None, "no case with a label was found"),
    ],
)
def test_what_is_no_such_dataset_is_said(
    tmp_path: Path, layout: Layout, content: object, message: str
) -> None:
    if content is not None:
        (tmp_path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=message) as caught:
        import_dataset(layout, tmp_path, note=lambda line: None)
    assert "\n" not in str(caught.value)
