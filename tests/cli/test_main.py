import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from shiva_cmb.cli.main import main
from shiva_cmb.ensemble import Bundle

Capture = pytest.CaptureFixture[str]
Ball = tuple[Path, Path, np.ndarray]


def test_predict_writes_four_files_and_one_line(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    out = tmp_path / "out"
    assert main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(mask), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "swi_labels.nii.gz",
        "swi_lesions.tsv",
        "swi_prob.nii.gz",
        "swi_provenance.json",
    ]
    shown = capsys.readouterr()
    assert shown.out.startswith("swi.nii.gz: 3 microbleeds")
    assert shown.err == ""


def test_json_is_one_object(saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture) -> None:
    image, mask, _ = saved_ball
    model = str(dot_bundle.folder)
    code = main(["predict", str(image), "-m", model, "-b", str(mask), "-o", str(tmp_path / "o"), "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert code == 0
    assert answer["results"][0]["lesions"] == 3
    assert len(answer["results"][0]["table"]) == 3
    assert "clinical" in answer["notice"]


def test_one_bad_image_does_not_stop_the_others(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    masks = ["-b", str(mask), "-b", str(mask)]
    out = tmp_path / "out"
    assert main(["predict", str(bad), str(image), "-m", str(dot_bundle.folder), *masks, "-o", str(out)]) == 1
    assert (out / "swi_lesions.tsv").is_file()
    shown = capsys.readouterr()
    assert "bad.nii.gz failed" in shown.err
    assert "1 of 2 images failed" in shown.err


def test_images_of_one_name_would_overwrite_each_other(tmp_path: Path, capsys: Capture) -> None:
    arguments = ["predict", "a/swi.nii.gz", "b/swi.nii.gz", "-m", "model", "-o", str(tmp_path)]
    assert main(arguments) == 2
    assert "overwrite" in capsys.readouterr().err


def _nifti(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def _truncated(path: Path) -> Path:
    _nifti(path, np.random.default_rng(0).random((40, 40, 40), dtype=np.float32))
    path.write_bytes(path.read_bytes()[:5000])
    return path


def _with_nan(path: Path, share: float) -> Path:
    data = np.random.default_rng(0).random((40, 40, 40), dtype=np.float32)
    data.ravel()[: int(share * data.size)] = np.nan
    return _nifti(path, data)


BAD_IMAGES = {
    "no such file": lambda path: path,
    "not a readable NIfTI": lambda path: (path.write_bytes(gzip.compress(b"text" * 200)), path)[1],
    "cut short": _truncated,
    "3-D": lambda path: _nifti(path, np.ones((10, 10), np.float32)),
    "--volume": lambda path: _nifti(path, np.ones((10, 10, 10, 3), np.float32)),
    "measures": lambda path: _nifti(path, np.random.default_rng(0).random((30, 30, 19), dtype=np.float32)),
    "constant": lambda path: _nifti(path, np.full((20, 20, 20), 3, np.float32)),
    "finite": lambda path: _with_nan(path, 0.05),
    "voxel size": lambda path: _nifti(
        path, np.random.default_rng(0).random((20, 20, 20), dtype=np.float32), np.diag([40.0, 40, 40, 1])
    ),
}


@pytest.mark.parametrize("word", BAD_IMAGES)
def test_a_bad_image_is_one_line_and_leaves_nothing(
    word: str, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image = BAD_IMAGES[word](tmp_path / "scan.nii.gz")
    out = tmp_path / "out"
    assert main(["predict", str(image), "-m", str(dot_bundle.folder), "-o", str(out)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "scan.nii.gz" in lines[-1]
    assert word.split()[0].lower() in lines[-1].lower()
    assert "Traceback" not in "".join(lines)
    assert not out.exists()


def test_debug_shows_the_traceback_wherever_it_stands(tmp_path: Path, capsys: Capture) -> None:
    assert main(["predict", "no.nii.gz", "-m", str(tmp_path), "-o", str(tmp_path), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_an_empty_mask_is_refused(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    empty = nib.load(mask)
    path = _nifti(tmp_path / "empty.nii.gz", np.zeros(empty.shape, np.uint8), empty.affine)
    out = str(tmp_path / "o")
    assert main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(path), "-o", out]) == 1
    assert "empty" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_rights_is_refused(tmp_path: Path, capsys: Capture) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert main(["predict", "scan.nii.gz", "-m", "model", "-o", str(locked)]) == 1
    assert "cannot write" in capsys.readouterr().err


def test_a_full_disk_is_said_and_leaves_nothing(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from shiva_cmb.prediction import result

    def full(*arguments: object, **more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result, "write_json", full)
    image, mask, _ = saved_ball
    out = tmp_path / "out"
    assert main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(mask), "-o", str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def test_an_unknown_key_in_our_part_is_named(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    content = json.loads(dot_bundle.descriptor_path.read_text())
    content["shiva_cmb"]["treshold"] = 0.4
    path = tmp_path / "model_info.json"
    path.write_text(json.dumps(content))
    arguments = ["predict", str(saved_ball[0]), "-m", str(path), "--model-dir", str(dot_bundle.folder)]
    assert main([*arguments, "-o", str(tmp_path / "o")]) == 1
    assert "treshold" in capsys.readouterr().err


def test_relabel_needs_no_network(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    out, again = tmp_path / "out", tmp_path / "again"
    main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(mask), "-o", str(out)])
    probability = str(out / "swi_prob.nii.gz")
    assert main(["relabel", probability, "-o", str(again), "--threshold", "0.8", "-i", str(image)]) == 0
    assert (again / "swi_labels.nii.gz").is_file()
    assert main(["relabel", probability, "-o", str(again), "--threshold", "1.8"]) == 2


def test_model_commands(dot_bundle: Bundle, tmp_path: Path, capsys: Capture) -> None:
    folder = str(dot_bundle.folder)
    assert main(["model", "info", folder]) == 0
    assert "48 x 56 x 44 voxels of 1.5 x 1.5 x 1.5 mm" in capsys.readouterr().out
    assert main(["model", "verify", folder]) == 0
    assert capsys.readouterr().out.count("ok") == 2
    archive = tmp_path / "dots.zip"
    assert main(["model", "pack", folder, "-o", str(archive)]) == 0
    assert main(["model", "import", str(archive), "-o", str(tmp_path / "copy")]) == 0
    assert main(["model", "verify", str(tmp_path / "copy")]) == 0
    assert main(["model", "export", folder, "--format", "nonsense", "-o", str(tmp_path / "x")]) == 2


def test_bare_folds_become_a_bundle(dot_folds: list[Path], tmp_path: Path) -> None:
    arguments = ["model", "import", *map(str, dot_folds), "-o", str(tmp_path / "m"), "--grid", "48,56,44"]
    assert main([*arguments, "--spacing-mm", "1.5", "--scaling", "p99", "--modality", "t2s"]) == 0
    content = json.loads((tmp_path / "m" / "model_info.json").read_text())["shiva_cmb"]
    assert content["input"] == {"shape": [48, 56, 44], "spacing_mm": [1.5, 1.5, 1.5]}
    assert content["channels"] == ["t2s"]


@pytest.mark.parametrize("arguments", [["--help"], ["predict", "--help"], ["--version"]])
def test_help_and_version(arguments: list[str]) -> None:
    assert main(arguments) == 0


@pytest.mark.parametrize("arguments", [["nonsense"], ["predict"], ["predict", "a.nii"]])
def test_wrong_usage_is_2(arguments: list[str]) -> None:
    assert main(arguments) == 2


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, shiva_cmb, shiva_cmb.cli.main\n"
        "heavy = {'tensorflow', 'keras', 'openvino', 'scipy', 'matplotlib', 'sklearn', 'nibabel'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_result_never_overwrites_what_it_was_made_from(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    mine = tmp_path / "swi_labels.nii.gz"
    mine.write_bytes(mask.read_bytes())
    (tmp_path / "sub").mkdir()
    out = str(tmp_path / "sub" / "..")
    assert main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(mine), "-o", out]) == 2
    assert "would be overwritten" in capsys.readouterr().err
    assert mine.read_bytes() == mask.read_bytes()
    assert not (tmp_path / "swi_prob.nii.gz").exists()


def test_remarks_on_the_model_are_in_the_provenance(
    saved_ball: Ball, dot_folds: list[Path], tmp_path: Path
) -> None:
    image, mask, _ = saved_ball
    out = tmp_path / "out"
    assert main(["predict", str(image), "-m", str(dot_folds[0]), "-b", str(mask), "-o", str(out)]) == 0
    notes = json.loads((out / "swi_provenance.json").read_text())["notes"]
    assert any("without a description" in line for line in notes)


def test_json_tells_of_a_failure_too(dot_bundle: Bundle, tmp_path: Path, capsys: Capture) -> None:
    arguments = ["predict", str(tmp_path / "no.nii.gz"), "-m", str(dot_bundle.folder), "--json"]
    assert main([*arguments, "-o", str(tmp_path / "o")]) == 1
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert "no such file" in failure["error"]


def test_nothing_is_made_when_the_model_is_wrong(tmp_path: Path) -> None:
    assert main(["predict", "a.nii.gz", "-m", str(tmp_path / "no"), "-o", str(tmp_path / "new")]) == 1
    assert not (tmp_path / "new").exists()


def test_a_damaged_record_beside_a_map_is_named(
    saved_ball: Ball, dot_bundle: Bundle, tmp_path: Path, capsys: Capture
) -> None:
    image, mask, _ = saved_ball
    out = tmp_path / "out"
    main(["predict", str(image), "-m", str(dot_bundle.folder), "-b", str(mask), "-o", str(out)])
    (out / "swi_provenance.json").write_text('{"criteria": {"threshold": "a"}}')
    assert main(["relabel", str(out / "swi_prob.nii.gz"), "-o", str(tmp_path / "again")]) == 1
    assert "swi_provenance.json" in capsys.readouterr().err
