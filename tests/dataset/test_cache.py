"""Each case is prepared once, and again only if something about it changed or was damaged."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shiva_cmb.dataset import Case, cache
from shiva_cmb.dataset.cache import ENTRY_NAME, LEFTOVER_SECONDS, prepare_cases
from shiva_cmb.dataset.labels import LabelValues
from shiva_cmb.dataset.prepare import PreparedCase, PrepareSettings, prepare_arrays
from shiva_cmb.errors import DataError
from tests.dataset.small_scans import PREPROCESSING, write_scan

HOW = PrepareSettings(PREPROCESSING)


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    return [write_scan(tmp_path / "scans", name, seed) for seed, name in enumerate("ab")]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases that were prepared."""
    names: list[str] = []

    def remember(case: Case, *args: object, **more: object) -> object:
        names.append(case.name)
        return prepare_arrays(case, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "prepare_arrays", remember)
    return names


def prepare(cases: list[Case], folder: Path, how: PrepareSettings = HOW) -> tuple[PreparedCase, ...]:
    return prepare_cases(cases, how, folder / "cache", note=pytest.fail)


def test_cases_come_back_as_they_were_prepared(cases: list[Case], tmp_path: Path, made: list[str]) -> None:
    steps: list[tuple[int, int]] = []
    first = prepare_cases(
        cases,
        HOW,
        tmp_path / "new" / "cache",
        progress=lambda done, total: steps.append((done, total)),
        note=pytest.fail,
    )
    assert sorted(made) == ["a", "b"]
    assert steps == [(1, 2), (2, 2)]
    again = prepare_cases(cases, HOW, tmp_path / "new" / "cache", note=pytest.fail)
    assert len(made) == 2
    for case, prepared, reused in zip(cases, first, again, strict=True):
        expected = prepare_arrays(case, HOW, note=pytest.fail)
        for one in (prepared, reused):
            assert (one.name, one.patient) == (case.name, case.patient)
            assert one.fingerprint == expected.fingerprint
            np.testing.assert_array_equal(one.image[...], expected.image)
            np.testing.assert_array_equal(one.label[...], expected.label)
            np.testing.assert_array_equal(one.lesions.labels(), expected.lesions.labels())
            np.testing.assert_array_equal(one.brain_box, expected.brain_box)
            assert one.shape == PREPROCESSING.shape
            assert (one.label[...][tuple(one.centres.T)] == 1).all()


def test_a_changed_file_makes_its_own_entry_anew(cases: list[Case], tmp_path: Path, made: list[str]) -> None:
    before = prepare(cases, tmp_path)
    write_scan(tmp_path / "scans", "b", seed=7)
    after = prepare(cases, tmp_path)
    assert sorted(made) == ["a", "b", "b"]
    assert after[0].fingerprint == before[0].fingerprint
    assert after[1].fingerprint != before[1].fingerprint
    assert len(list((tmp_path / "cache").iterdir())) == 2
    os.utime(cases[0].label, ns=(1, 1))
    prepare(cases, tmp_path)
    assert made[-1] == "a"


def test_other_settings_have_entries_of_their_own(cases: list[Case], tmp_path: Path, made: list[str]) -> None:
    others = (
        replace(HOW, mask_input=True),
        replace(HOW, values=LabelValues(lesion=(1,))),
        replace(HOW, preprocessing=replace(PREPROCESSING, shape=(12, 14, 12))),
    )
    prepare(cases, tmp_path)
    for number, how in enumerate(others, start=2):
        prepare(cases, tmp_path, how)
        assert len(made) == 2 * number
    prepare(cases, tmp_path)
    assert len(made) == 8
    bare = [replace(cases[0], mask=None)]
    prepare_cases(bare, HOW, tmp_path / "cache", note=lambda line: None)
    assert len(made) == 9


@pytest.mark.parametrize("damage", ["truncated", "overwritten", "removed", "description", "keys"])
def test_damaged_entries_are_made_anew(
    cases: list[Case], tmp_path: Path, made: list[str], damage: str
) -> None:
    good = prepare(cases, tmp_path)[0].image[...]
    folder = next(
        path for path in (tmp_path / "cache").iterdir() if np.array_equal(np.load(path / "image.npy"), good)
    )
    image = folder / "image.npy"
    if damage == "truncated":
        written = image.stat().st_mtime_ns
        image.write_bytes(image.read_bytes()[:-40])
        os.utime(image, ns=(written, written))
    elif damage == "overwritten":
        image.write_bytes(image.read_bytes()[:-40] + b"\xff" * 40)
    elif damage == "removed":
        (folder / "label.npy").unlink()
    elif damage == "description":
        (folder / ENTRY_NAME).write_text("{")
    else:
        entry = json.loads((folder / ENTRY_NAME).read_text())
        del entry["fingerprint"]
        (folder / ENTRY_NAME).write_text(json.dumps(entry))
    again = prepare(cases, tmp_path)
    assert sorted(made) == ["a", "a", "b"]
    np.testing.assert_array_equal(again[0].image[...], good)
    prepare(cases, tmp_path)
    assert len(made) == 3


def test_a_copied_cache_is_as_good(cases: list[Case], tmp_path: Path, made: list[str]) -> None:
    prepare(cases, tmp_path)
    shutil.copytree(tmp_path / "cache", tmp_path / "copy" / "cache", copy_function=shutil.copyfile)
    prepare(cases, tmp_path / "copy")
    assert len(made) == 2


def test_what_was_noted_is_noted_again(tmp_path: Path) -> None:
    case = write_scan(tmp_path / "scans", "a", mask=False)
    said: list[list[str]] = [[], []]
    for notes in said:
        prepare_cases([case], HOW, tmp_path / "cache", note=notes.append)
    assert said[0] == said[1]
    assert any("brain" in line for line in said[0])


def test_all_broken_cases_are_named_and_the_others_are_kept(
    cases: list[Case], tmp_path: Path, made: list[str]
) -> None:
    broken = [write_scan(tmp_path / "scans", name) for name in "xy"]
    broken[0].images[0].write_bytes(b"no image")
    broken[1].label.unlink()
    notes: list[str] = []
    with pytest.raises(DataError, match=r"x_0.nii.gz.*\(and 1 other of 4 cases") as error:
        prepare_cases([broken[0], *cases, broken[1]], HOW, tmp_path / "cache", note=notes.append)
    assert "\n" not in str(error.value)
    assert len(notes) == 1
    assert "y_label.nii.gz" in notes[0]
    made.clear()
    prepare(cases, tmp_path)
    assert not made


def test_leftovers_of_killed_jobs_go_after_a_day(cases: list[Case], tmp_path: Path) -> None:
    old, fresh = (tmp_path / "cache" / name for name in (".tmp-old", ".tmp-fresh"))
    for path in (old, fresh):
        path.mkdir(parents=True)
        (path / "image.npy").write_bytes(b"half")
    long_ago = time.time() - LEFTOVER_SECONDS - 10
    os.utime(old, (long_ago, long_ago))
    prepare(cases[:1], tmp_path)
    assert not old.exists()
    assert fresh.exists()


def _fill(cases: list[Case], folder: Path) -> list[str]:
    return [case.fingerprint for case in prepare_cases(cases, HOW, folder, note=lambda line: None)]


def _die_while_writing(cases: list[Case], folder: Path) -> None:
    cache._sha256 = lambda path: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment,return-value]
    _fill(cases, folder)


def test_jobs_may_fill_one_cache_at_once_and_be_killed(cases: list[Case], tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    killed = context.Process(target=_die_while_writing, args=(cases, tmp_path / "cache"))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert [path.name[:5] for path in (tmp_path / "cache").iterdir()] == [".tmp-"]
    jobs = [context.Process(target=_fill, args=(cases, tmp_path / "cache")) for _ in range(2)]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0]
    names = sorted(path.name[:5] for path in (tmp_path / "cache").iterdir())
    assert len(names) == 3
    assert names[0] == ".tmp-"
    expected = [prepare_arrays(case, HOW, note=pytest.fail).fingerprint for case in cases]
    assert _fill(cases, tmp_path / "cache") == expected


def test_several_processes_do_the_same(cases: list[Case], tmp_path: Path) -> None:
    prepared = prepare_cases(cases, HOW, tmp_path / "cache", processes=2, note=pytest.fail)
    assert [case.name for case in prepared] == ["a", "b"]
