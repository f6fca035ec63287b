"""`shiva-cmb dataset`: from a folder of scans to folds."""

import json
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.cli.main import main
from tests.dataset.niftis import SHAPE, write, write_image, write_label

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def valdo(tmp_path: Path) -> Path:
    for k in range(6):
        name = f"sub-{100 * (k % 2 + 1) + k}"
        write_image(tmp_path / "V" / name / f"{name}_space-T2S_desc-masked_T2S.nii.gz", seed=k)
        corners = [(2, 2, 2), (6, 6, 6)][: k % 3]
        write_label(tmp_path / "V" / name / f"{name}_space-T2S_CMB.nii.gz", *corners)
    return tmp_path / "V"


def test_import_check_split(valdo: Path, tmp_path: Path, capsys: Capture) -> None:
    cases, folds = str(tmp_path / "cases.csv"), str(tmp_path / "folds.json")
    assert main(["dataset", "import", "valdo", str(valdo), "-o", cases]) == 0
    assert "6 cases of 6 patients, channels t2s" in capsys.readouterr().out
    assert main(["dataset", "import", "valdo", str(valdo), "-o", cases]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main(["dataset", "import", "valdo", str(valdo), "-o", cases, "--force"]) == 0

    split = ["dataset", "split", cases, "-o", folds, "--folds", "2", "--stratify", "cohort", "--seed", "1"]
    assert main(split) == 0
    out = capsys.readouterr().out
    assert "fold 0: 3 to learn from, 3 to check on (2 lesions)" in out
    assert len(json.loads(Path(folds).read_text())["folds"]) == 2

    assert main(["dataset", "check", cases, "--folds", folds, "-o", str(tmp_path / "out")]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert (tmp_path / "out/lesions.tsv").is_file()


def test_errors_give_exit_code_1_and_json_stays_json(valdo: Path, tmp_path: Path, capsys: Capture) -> None:
    cases = str(tmp_path / "cases.csv")
    main(["dataset", "import", "valdo", str(valdo), "-o", cases])
    data = np.zeros(SHAPE, np.uint8)
    data[1, 1, 1], data[5, 5, 5], data[8, 5, 5] = 1, 2, 2
    write(valdo / "sub-100/sub-100_space-T2S_CMB.nii.gz", data)
    capsys.readouterr()
    assert main(["dataset", "check", cases, "--json"]) == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["errors"] == 1
    assert "1 error was found" in captured.err
    assert main(["dataset", "check", cases, "--lesion-values", "1,2"]) == 0
    assert main(["dataset", "check", cases, "--ignore-values", "2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["import", "nifti", ".", "-o", "cases.csv"], "expected one of nnunet, decathlon, valdo, bids"),
        (["import", "valdo", ".", "-o", "cases.xlsx"], "ends in .csv, .tsv or .json"),
        (["split", "cases.csv", "-o", "folds.csv"], "ends in .json"),
        (["split", "cases.csv", "-o", "folds.json", "--seed", "-1"], "--seed"),
        (["check", "cases.csv", "--lesion-values", "one"], "expected whole numbers"),
    ],
)
def test_wrong_usage_is_one_line(
    arguments: list[str],
    message: str,
    valdo: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--lesion-values" in arguments:
        main(["dataset", "import", "valdo", "V", "-o", "cases.csv"])
        capsys.readouterr()
    assert main(["dataset", *arguments]) == 2
    assert message in capsys.readouterr().err
