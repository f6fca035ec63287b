import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from shiva_cmb.ensemble.checksums import checksums_of, md5_of, sha256_of
from shiva_cmb.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Names whose order as paths differs from their order as strings, with a hidden file."""
    root = tmp_path / "fold"
    for name in ("a/b", "a.txt", ".hidden", "Z", "variables/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"content of {name}")
    (root / "empty").mkdir()
    return root


def test_a_file_has_its_ordinary_checksums(tmp_path: Path) -> None:
    file = tmp_path / "fold.h5"
    file.write_bytes(b"weights" * 500_000)
    assert md5_of(file) == hashlib.md5(file.read_bytes()).hexdigest()
    assert sha256_of(file) == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_md5_of_a_folder_follows_shivais_order(folder: Path) -> None:
    contents = "".join(f"content of {name}" for name in (".hidden", "Z", "a/b", "a.txt", "variables/x"))
    assert md5_of(folder) == hashlib.md5(contents.encode()).hexdigest()


def test_a_renamed_file_changes_the_sha256_of_a_folder_but_not_its_md5(folder: Path) -> None:
    before = checksums_of(folder)
    (folder / "variables/x").rename(folder / "variables/y")
    after = checksums_of(folder)
    assert after.md5 == before.md5
    assert after.sha256 != before.sha256


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs GNU coreutils")
def test_the_sha256_of_a_folder_can_be_had_in_a_shell(folder: Path) -> None:
    line = r"find . -type f -printf '%P\n' | LC_ALL=C sort | xargs -d '\n' sha256sum | sha256sum"
    printed = subprocess.run(["sh", "-c", line], cwd=folder, capture_output=True, text=True, check=True)
    assert printed.stdout.split()[0] == sha256_of(folder)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.h5 does not exist"):
        checksums_of(tmp_path / "gone.h5")
