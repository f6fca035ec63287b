"""Which prediction belongs to which truth."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shiva_cmb.errors import DataError
from shiva_cmb.evaluation.pairing.inputs import CaseList, pair_cases


def tree(root: Path, *names: str) -> Path:
    """Empty files; pairing reads names alone."""
    root.mkdir(exist_ok=True)
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def text(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def pair(truth: Path, prediction: Path, **more: Path) -> CaseList:
    return pair_cases(truth, prediction, note=pytest.fail, **more)


def paired(found: CaseList, truth: Path, prediction: Path) -> dict[str, tuple[str, str | None]]:
    return {
        case.name: (
            str(case.truth.relative_to(truth)),
            None if case.prediction is None else str(case.prediction.relative_to(prediction)),
        )
        for case in found.cases
    }


@pytest.mark.parametrize(
    ("truth", "prediction", "names"),
    [
        # plain names with known endings, in upper and lower case, several of them
        (["p1_mask.nii.gz", "p2_mask.nii.gz"], ["p1_pred.nii", "p2_pred.nii"], ["p1", "p2"]),
        (["p1_CMB_Mask.NII.GZ", "p2_CMB_Mask.NII.GZ"], ["p1.nii.gz", "p2.nii.gz"], ["p1", "p2"]),
        (["p1-seg.nii.gz", "p2-seg.nii.gz"], ["p1.labels.nii.gz", "p2.labels.nii.gz"], ["p1", "p2"]),
        # the image's name is in our own predictions
        (["p1_cmb.nii.gz", "p2_cmb.nii.gz"], ["p1_swi_labels.nii.gz", "p2_swi_labels.nii.gz"], ["p1", "p2"]),
        # one folder per case
        (["a/mask.nii.gz", "b/mask.nii.gz"], ["a/labels.nii.gz", "b/labels.nii.gz"], ["a", "b"]),
        (["a/anat/cmb.nii.gz", "b/anat/cmb.nii.gz"], ["a.nii.gz", "b.nii.gz"], ["a", "b"]),
        (["a/T2S_cmb.nii.gz", "b/T2S_cmb.nii.gz"], ["out/a/x_pred.nii", "out/b/x_pred.nii"], ["a", "b"]),
        # folders only where it takes them
        (
            ["A/1_mask.nii", "A/2_mask.nii", "B/1_mask.nii"],
            ["A/1_pred.nii", "A/2_pred.nii", "B/1_pred.nii"],
            ["A/1", "A/2", "B/1"],
        ),
        (["A/1_mask.nii", "B/2_mask.nii"], ["1.nii", "2.nii"], ["1", "2"]),
        # two contrasts of one patient
        (
            ["p1_swi_cmb.nii", "p1_t2s_cmb.nii"],
            ["p1_swi_labels.nii", "p1_t2s_labels.nii"],
            ["p1_swi", "p1_t2s"],
        ),
        # BIDS, with entities that only one side has
        (
            [
                "sub-01/ses-1/anat/sub-01_ses-1_space-T2S_CMB.nii.gz",
                "sub-02/ses-1/anat/sub-02_ses-1_CMB.nii.gz",
            ],
            ["sub-01_ses-1_desc-x_dseg.nii.gz", "sub-02_ses-1_desc-x_dseg.nii.gz"],
            ["sub-01_ses-1", "sub-02_ses-1"],
        ),
        (
            ["sub-01_ses-1_mask.nii", "sub-02_ses-1_mask.nii"],
            ["sub-01.nii", "sub-02.nii"],
            ["sub-01", "sub-02"],
        ),
        (
            ["sub-1_run-1_mask.nii", "sub-1_run-2_mask.nii"],
            ["sub-1_run-1_label-CMB_mask.nii", "sub-1_run-2_label-CMB_mask.nii"],
            ["sub-1_run-1", "sub-1_run-2"],
        ),
        (
            ["sub-01/mask.nii", "sub-02/mask.nii"],
            ["sub-01/labels.nii", "sub-02/labels.nii"],
            ["sub-01", "sub-02"],
        ),
    ],
)
def test_names_pair(tmp_path: Path, truth: list[str], prediction: list[str], names: list[str]) -> None:
    ours, theirs = tree(tmp_path / "t", *truth), tree(tmp_path / "p", *prediction)
    found = pair(ours, theirs)
    assert paired(found, ours, theirs) == dict(zip(names, zip(truth, prediction, strict=True), strict=True))
    assert (found.missing, found.extra) == ((), ())


BASES = st.sets(st.from_regex(r"[a-d][0-9]{1,2}(_x)?", fullmatch=True), min_size=2, max_size=6)
ENDINGS = st.sampled_from(["", "_mask", "_labels", "-seg", "_CMB", "_cmb_mask", "_swi_pred", "_lesions"])


@settings(max_examples=60, deadline=None)
@given(BASES, BASES, ENDINGS, ENDINGS, st.booleans())
def test_the_same_name_is_the_same_case_and_no_other(
    truth: set[str], prediction: set[str], end: str, other_end: str, in_folders: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        layout = "{0}/x{1}.nii" if in_folders else "{0}{1}.nii"
        ours = tree(Path(folder) / "t", *(layout.format(name, end) for name in truth))
        theirs = tree(Path(folder) / "p", *(layout.format(name, other_end) for name in prediction))
        if not truth & prediction:
            with pytest.raises(DataError, match="no prediction belongs"):
                pair(ours, theirs)
            return
        found = pair(ours, theirs)
        assert {case.name for case in found.cases} == truth
        for case in found.cases:
            expected = theirs / layout.format(case.name, other_end) if case.name in prediction else None
            assert case.truth == ours / layout.format(case.name, end)
            assert case.prediction == expected
        assert set(found.extra) == prediction - truth


def test_missing_and_extra_predictions_are_listed(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1_mask.nii", "p2_mask.nii", "p10_mask.nii")
    theirs = tree(tmp_path / "p", "p2_pred.nii", "p3_pred.nii")
    found = pair(ours, theirs)
    assert [case.name for case in found.cases] == ["p1", "p2", "p10"]
    assert found.missing == ("p1", "p10")
    assert found.extra == ("p3",)
    assert found.cases[0].prediction is None


def test_what_predict_wrote(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1.nii.gz", "p2.nii.gz", "p3.nii.gz")
    kinds = (
        "prob",
        "labels",
        "std",
        "agreement",
        *(f"space-model_{k}" for k in ("image", "prob", "labels", "std")),
    )
    names = [f"p1_{kind}.nii.gz" for kind in kinds] + ["p2_prob.nii.gz", "p3_labels.nii.gz", "p1_lesions.tsv"]
    theirs = tree(tmp_path / "p", *names)
    first, second, third = pair(ours, theirs).cases
    assert (first.prediction, first.probability) == (theirs / "p1_labels.nii.gz", theirs / "p1_prob.nii.gz")
    assert second.prediction == second.probability == theirs / "p2_prob.nii.gz"
    assert (third.prediction, third.probability) == (theirs / "p3_labels.nii.gz", None)


def test_model_space_alone_is_used(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1.nii.gz", "p2.nii.gz")
    theirs = tree(
        tmp_path / "p", *(f"p{k}_space-model_{w}.nii.gz" for k in (1, 2) for w in ("prob", "labels", "image"))
    )
    assert pair(ours, theirs).cases[0].prediction == theirs / "p1_space-model_labels.nii.gz"


def test_images_beside_the_truth_are_left_out_and_that_is_said(tmp_path: Path) -> None:
    names = [
        f"sub-{k}/sub-{k}_space-T2S_{what}.nii.gz" for k in (101, 102) for what in ("CMB", "desc-masked_T2S")
    ]
    ours = tree(tmp_path / "t", *names, "sub-103/sub-103_T2S.nii.gz")
    theirs = tree(tmp_path / "p", "sub-101_T2S_labels.nii.gz", "sub-103_T2S_labels.nii.gz")
    notes: list[str] = []
    found = pair_cases(ours, theirs, images=ours, note=notes.append)
    assert [case.truth.name for case in found.cases] == [f"sub-{k}_space-T2S_CMB.nii.gz" for k in (101, 102)]
    assert found.cases[0].image == ours / "sub-101/sub-101_space-T2S_desc-masked_T2S.nii.gz"
    assert found.extra == ("sub-103",)  # an image is no truth
    assert len(notes) == 1
    assert "3 images" in notes[0]


def test_hidden_files_links_and_loops(tmp_path: Path) -> None:
    real = tree(tmp_path / "elsewhere", "deep/p1_mask.nii.gz")
    ours = tree(tmp_path / "t", "._p1_mask.nii.gz", ".git/p7_mask.nii.gz", "p2_mask.nii.gz", "notes.txt")
    (ours / "link").symlink_to(real)
    (ours / "loop").symlink_to(ours)
    (ours / "p3_mask.nii.gz").symlink_to(real / "deep/p1_mask.nii.gz")
    theirs = tree(tmp_path / "p", "p1.nii", "p2.nii", "p3.nii")
    found = pair(ours, theirs)
    assert [case.name for case in found.cases] == ["p1", "p2", "p3"]
    assert found.cases[0].truth == ours / "link/deep/p1_mask.nii.gz"


def test_two_images_pair_whatever_their_names(tmp_path: Path) -> None:
    folder = tree(tmp_path / "x", "sub-1_mask.nii.gz", "other.nii.gz", "img.nii.gz")
    (case,) = pair(folder / "sub-1_mask.nii.gz", folder / "other.nii.gz", images=folder / "img.nii.gz").cases
    assert (case.name, case.prediction, case.image) == (
        "sub-1",
        folder / "other.nii.gz",
        folder / "img.nii.gz",
    )


def test_an_image_against_a_folder_pairs_by_name(tmp_path: Path) -> None:
    folder = tree(tmp_path / "x", "p1_mask.nii.gz")
    theirs = tree(tmp_path / "p", "p1_labels.nii.gz", "p2_labels.nii.gz")
    found = pair(folder / "p1_mask.nii.gz", theirs)
    assert found.cases[0].prediction == theirs / "p1_labels.nii.gz"
    assert found.extra == ("p2",)


def test_predictions_within_the_data_set_are_no_truth(tmp_path: Path) -> None:
    ours = tree(tmp_path / "data", "sub-1/sub-1_CMB.nii.gz", "derivatives/x/sub-1/sub-1_labels.nii.gz")
    (case,) = pair(ours, ours / "derivatives/x").cases
    assert (case.truth.name, case.prediction and case.prediction.name) == (
        *("sub-1_CMB.nii.gz", "sub-1_labels.nii.gz"),
    )
    (other,) = pair(ours / "derivatives/x", ours).cases
    assert other.prediction == case.truth


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tree(tmp_path / "t", "a/p1.nii", "b/p2.nii"), tree(tmp_path / "p", "p1.nii")
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("b"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot read the truth folder .*b: Permission denied"):
        pair(ours, theirs)


def test_lists_of_paths(tmp_path: Path) -> None:
    tree(tmp_path / "t", "a/mask.nii.gz", "b/mask.nii.gz")
    tree(tmp_path / "p", "a/labels.nii.gz", "b/labels.nii.gz")
    ours = text(tmp_path / "t.txt", "# truth", "t/a/mask.nii.gz", "", str(tmp_path / "t/b/mask.nii.gz"))
    theirs = text(tmp_path / "p.txt", "p/b/labels.nii.gz", "p/a/labels.nii.gz")
    assert [(c.name, c.prediction) for c in pair(ours, theirs).cases] == [
        ("a", tmp_path / "p/a/labels.nii.gz"),
        ("b", tmp_path / "p/b/labels.nii.gz"),
    ]
    with pytest.raises(DataError, match=r"t.txt, line 2: the truth .*gone.nii does not exist"):
        pair(text(ours, "t/a/mask.nii.gz", "gone.nii"), theirs)


def test_tables_with_cases(tmp_path: Path) -> None:
    tree(tmp_path / "x", "1.nii", "2.nii", "q.nii", "r.nii", "m.nii")
    ours = text(tmp_path / "t.csv", "case;label;site;patient", "A;x/1.nii;Paris;P", "B;x/2.nii;Oslo;P")
    theirs = text(tmp_path / "p.tsv", "Case\tPrediction\tprobability", "B\tx/q.nii\tx/m.nii", "A\tn/a\t")
    first, second = (found := pair(ours, theirs)).cases
    assert (first.name, first.truth, first.prediction, first.patient) == (
        "A",
        tmp_path / "x/1.nii",
        None,
        "P",
    )
    assert first.columns == {"site": "Paris"}
    assert (second.prediction, second.probability) == (tmp_path / "x/q.nii", tmp_path / "x/m.nii")
    assert found.missing == ("A",)


def test_one_table_for_both_sides(tmp_path: Path) -> None:
    tree(tmp_path / "x", "1.nii", "2.nii", "q.nii", "r.nii")
    table = text(tmp_path / "t.csv", "case,truth,prediction", "A,x/1.nii,x/q.nii", "B,x/2.nii,x/r.nii")
    assert [case.prediction.name for case in pair(table, table).cases] == ["q.nii", "r.nii"]


def test_tables_of_probability_maps_alone(tmp_path: Path) -> None:
    tree(tmp_path / "x", "1.nii", "q.nii")
    ours = text(tmp_path / "t.csv", "case,truth", "A,x/1.nii")
    (case,) = pair(ours, text(tmp_path / "p.csv", "case,probability", "A,x/q.nii")).cases
    assert case.prediction == case.probability == tmp_path / "x/q.nii"


def test_the_case_table(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", *(f"sub-{k}_ses-{s}_mask.nii" for k in (1, 2, 3) for s in (1, 2)))
    theirs = tree(tmp_path / "p", *(f"sub-{k}_ses-{s}_pred.nii" for k in (1, 2, 3) for s in (1, 2)))
    tree(tmp_path, "swi.nii")
    table = text(
        tmp_path / "c.tsv",
        "participant_id\tsession_id\tSite\timage\tpatient",
        "sub-1\t\tOslo\t\tTwin",
        "2\t1\tParis\tswi.nii\tTwin",
        "sub-9\tn/a\tRome\t\t",
    )
    notes: list[str] = []
    cases = {case.name: case for case in pair_cases(ours, theirs, table=table, note=notes.append).cases}
    assert cases["sub-1_ses-1"].columns == cases["sub-1_ses-2"].columns == {"Site": "Oslo"}
    assert cases["sub-2_ses-1"].columns == {"Site": "Paris"}
    assert cases["sub-2_ses-1"].image == tmp_path / "swi.nii"
    assert cases["sub-2_ses-2"].columns == cases["sub-3_ses-1"].columns == {}
    assert [cases[f"sub-{k}_ses-1"].patient for k in (1, 2, 3)] == ["Twin", "Twin", "sub-3"]
    assert cases["sub-2_ses-2"].patient == "sub-2"
    assert "1 rows belong to no case, for example 'sub-9'" in notes[0]
    assert "3 of 6 cases have no row" in notes[1]


def test_a_case_row_goes_before_a_subject_row(tmp_path: Path) -> None:
    names = ["sub-1_ses-1.nii", "sub-1_ses-2.nii"]
    ours, theirs = tree(tmp_path / "t", *names), tree(tmp_path / "p", *names)
    table = text(tmp_path / "c.csv", "case,te", "sub-1_ses-2,7", "sub-1,5")
    found = pair(ours, theirs, table=table)
    assert [case.columns["te"] for case in found.cases] == ["5", "7"]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("scan,te", "p1,5"), "the column 'case' .* is missing; the header names: scan, te"),
        (("case,te", "p1,5", "p1,6"), "line 3: the case 'p1' is on line 2 already"),
        (("case,te", ",6"), "line 2: the case is missing"),
        (("case,image", "p1,gone.nii"), r"line 2: the image .*gone.nii does not exist"),
    ],
)
def test_mistakes_in_the_case_table(tmp_path: Path, lines: tuple[str, ...], message: str) -> None:
    ours, theirs = tree(tmp_path / "t", "p1.nii", "p2.nii"), tree(tmp_path / "p", "p1.nii", "p2.nii")
    with pytest.raises(DataError, match=message):
        pair_cases(ours, theirs, table=text(tmp_path / "c.csv", *lines), note=[].append)


def test_of_what_predict_writes_the_mask_is_where_lesions_could_be(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1_label.nii")
    endings = ("labels", "prob", "brain", "searched", "regions")
    theirs = tree(tmp_path / "p", *(f"p1_{ending}.nii" for ending in endings))
    cases = pair_cases(ours, theirs, masks=theirs, note=pytest.fail)
    assert cases.extra == ()
    (case,) = cases.cases
    assert [p.name for p in (case.prediction, case.probability, case.mask)] == [
        *("p1_labels.nii", "p1_prob.nii", "p1_searched.nii")
    ]


def test_masks_and_atlas_maps_from_folders(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1_mask.nii", "p2_mask.nii")
    theirs = tree(tmp_path / "p", "p1.nii", "p2.nii")
    more = tree(tmp_path / "m", "p1_brain_mask.nii", "p1_swi.nii", "p1_synthseg.nii")
    notes: list[str] = []
    first, second = pair_cases(ours, theirs, masks=more, regions=more, images=more, note=notes.append).cases
    assert [p.name for p in (first.image, first.mask, first.regions)] == [
        *("p1_swi.nii", "p1_brain_mask.nii", "p1_synthseg.nii")
    ]
    assert (second.image, second.mask, second.regions) == (None, None, None)
    assert [note.split(":")[0] for note in notes] == [
        *(f"1 of 2 cases have no {what}" for what in ("image", "mask", "regions"))
    ]
    with pytest.raises(DataError, match=r"no mask in .* belongs to a case"):
        pair(ours, theirs, masks=tree(tmp_path / "n", "x1_mask.nii", "x2_mask.nii"))


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (
            ["a1.nii", "a2.nii", "a3.nii"],
            ["b1.nii", "b2.nii"],
            "'a1' and 'a2' and more.*'b1' and 'b2'.*column 'case'",
        ),
        (
            ["p1_mask.nii", "p1_mask.nii.gz"],
            ["p1.nii"],
            "two truth files for the case 'p1'.*p1_mask.nii.*p1_mask",
        ),
        (["p1.nii"], ["p1_labels.nii", "p1_pred.nii"], "two prediction files for the case 'p1'"),
        (
            ["sub-1_ses-1_mask.nii", "sub-1_ses-2_mask.nii"],
            ["sub-1.nii"],
            "two truth files for the case 'sub-1'",
        ),
        (["sub-1_ses-1_mask.nii"], ["sub-1_ses-2_mask.nii"], "no prediction belongs to a truth"),
        (["a.txt"], ["b.nii"], "truth folder .* holds no .nii"),
    ],
)
def test_what_does_not_pair_is_said(
    tmp_path: Path, truth: list[str], prediction: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message) as caught:
        pair(tree(tmp_path / "t", *truth), tree(tmp_path / "p", *prediction))
    assert "\n" not in str(caught.value)


def test_other_mistakes(tmp_path: Path) -> None:
    theirs = tree(tmp_path / "p", "p1.nii")
    with pytest.raises(DataError, match=r"the truth .*gone does not exist"):
        pair(tmp_path / "gone", theirs)
    (tmp_path / "image.mgz").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"cannot read the truth .*image.mgz .*must end in .nii"):
        pair(tmp_path / "image.mgz", theirs)
    with pytest.raises(DataError, match=r"expected a column truth or .* got: case, site"):
        pair(text(tmp_path / "t.csv", "case,site", "p1,x"), theirs)
    with pytest.raises(DataError, match="the case 'p1' has no truth; a scan without bleeds needs"):
        pair(text(tmp_path / "t.csv", "case,truth", "p1,", "p2,p/p1.nii"), theirs)


def test_a_link_without_its_file_does_not_stop_the_others(tmp_path: Path) -> None:
    # git-annex trees hold links to files that were not fetched
    ours = tree(tmp_path / "t", "p1_mask.nii", "p2_mask.nii", "p3_mask.nii")
    theirs = tree(tmp_path / "p", "p1.nii", "p2.nii", "p3.nii")
    for path in (ours / "p1_mask.nii", theirs / "p2.nii"):
        path.unlink()
        path.symlink_to(tmp_path / "annex" / path.name)
    found = pair(ours, theirs)
    assert [case.prediction for case in found.cases] == [theirs / f"p{k}.nii" for k in (1, 2, 3)]
    table = text(
        tmp_path / "t.csv", "case,truth,prediction", *(f"p{k},t/p{k}_mask.nii,p/p{k}.nii" for k in (1, 2, 3))
    )
    assert [case.name for case in pair(table, table).cases] == ["p1", "p2", "p3"]
    # two links to the same missing file are the same file
    (theirs / "p1.nii").unlink()
    (theirs / "p1.nii").symlink_to(tmp_path / "annex" / "p1_mask.nii")
    notes: list[str] = []
    pair_cases(ours, theirs, note=notes.append)
    assert len(notes) == 1
    assert "the same file in 1 cases: 'p1'" in notes[0]


@pytest.mark.parametrize("role", ["image", "mask", "regions"])
@pytest.mark.parametrize("run", ["", "_run-1"])
@pytest.mark.parametrize("what", ["prob", "dseg"])
def test_derivatives_of_a_case_are_no_rivals_of_its_images(
    tmp_path: Path, role: str, run: str, what: str
) -> None:
    # the derivative has the entity `run`, the image does not; both have the subject
    endings = {"image": "T2starw", "mask": "desc-brain_mask", "regions": "synthseg"}
    bids = tree(
        tmp_path / "bids",
        *(f"sub-{k}/anat/sub-{k}_{endings[role]}.nii.gz" for k in (1, 2)),
        *(f"derivatives/cmb/sub-{k}/sub-{k}_run-1_desc-cmb_{what}.nii.gz" for k in (1, 2)),
    )
    ours = tree(tmp_path / "t", *(f"sub-{k}{run}_mask.nii.gz" for k in (1, 2)))
    theirs = tree(tmp_path / "p", *(f"sub-{k}{run}_labels.nii.gz" for k in (1, 2)))
    more = {"image": "images", "mask": "masks", "regions": "regions"}[role]
    found = pair(ours, theirs, **{more: bids})
    assert [getattr(case, role) for case in found.cases] == [
        bids / f"sub-{k}/anat/sub-{k}_{endings[role]}.nii.gz" for k in (1, 2)
    ]
    # a second one of the same kind is a rival still
    tree(bids, f"derivatives/x/sub-1_acq-x_{endings[role]}.nii.gz")
    with pytest.raises(DataError, match=f"two {role} files for the case"):
        pair(ours, theirs, **{more: bids})


def test_derivatives_are_no_rivals_of_images_whose_names_say_nothing(tmp_path: Path) -> None:
    bids = tree(
        tmp_path / "bids",
        *(f"sub-{k}/anat/sub-{k}_GRE3D.nii.gz" for k in (1, 2)),
        *(f"derivatives/cmb/sub-{k}_run-1_desc-cmb_dseg.nii.gz" for k in (1, 2)),
    )
    ours = tree(tmp_path / "t", "sub-1_mask.nii.gz", "sub-2_mask.nii.gz")
    theirs = tree(tmp_path / "p", "sub-1_labels.nii.gz", "sub-2_labels.nii.gz")
    found = pair(ours, theirs, images=bids)
    assert [case.image and case.image.name for case in found.cases] == [
        *("sub-1_GRE3D.nii.gz", "sub-2_GRE3D.nii.gz")
    ]


def test_everything_that_was_said_is_kept(tmp_path: Path) -> None:
    ours = tree(tmp_path / "t", "p1_mask.nii", "p2_mask.nii", "p2_swi.nii", "p1_brain_mask.nii")
    theirs = tree(tmp_path / "p", "p1_mask.nii")
    (theirs / "p2_mask.nii").symlink_to(ours / "p2_mask.nii")
    table = text(tmp_path / "c.csv", "case,te", "p2,7", "p9,5")
    notes: list[str] = []
    found = pair_cases(ours, theirs, table=table, images=ours, note=notes.append)
    assert found.notes == tuple(notes)
    for said in ("left out by name", "belong to no case", "have no row", "have no image", "the same file"):
        assert sum(said in line for line in found.notes) == 1, said


def test_the_same_file_on_both_sides_is_said(tmp_path: Path) -> None:
    folder = tree(tmp_path / "t", "p1_mask.nii", "p2_mask.nii")
    notes: list[str] = []
    assert len(pair_cases(folder, folder, note=notes.append).cases) == 2
    assert "the same file in 2 cases" in notes[0]
