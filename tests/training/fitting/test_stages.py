"""When a run stops to change its patches, thaw layers or look for false positives."""

from typing import Any

from shiva_cmb.training import settings_from
from shiva_cmb.training.fitting.stages import stages_of


def stages(**names: Any) -> list[tuple[int, int, int, bool, int | None]]:
    """First, last, side of the patch, frozen, mined at; the stages follow each other from 0 to the end."""
    settings = settings_from({"epochs": 10, "patch": (24, 24, 24), **names})
    found = stages_of(settings)
    assert found[0].first == 0
    assert found[-1].last == settings.fitting.epochs
    assert [stage.last for stage in found[:-1]] == [stage.first for stage in found[1:]]
    assert all(stage.frozen == settings.initial.freeze for stage in found if stage.frozen)
    return [(s.first, s.last, s.patch[0], bool(s.frozen), s.mined_at) for s in found]


def test_usually_there_is_one() -> None:
    assert stages() == [(0, 10, 24, False, None)]
    assert stages(patch="whole") == [(0, 10, 160, False, None)]
    assert stages(init="model", freeze=("enc",)) == [(0, 10, 24, True, None)]


def test_patches_grow_layers_thaw_and_false_positives_are_looked_for() -> None:
    growing = {"first_patch": (8, 8, 8), "grow_epochs": 6}
    assert stages(**growing) == [(0, 3, 8, False, None), (3, 6, 16, False, None), (6, 10, 24, False, None)]
    thawing = {"init": "model", "freeze": ("enc",), "freeze_epochs": 4}
    assert stages(**thawing) == [(0, 4, 24, True, None), (4, 10, 24, False, None)]
    mining = {"hard_negative_fraction": 0.5, "mine_every_epochs": 4}
    assert stages(**mining) == [(0, 4, 24, False, None), (4, 8, 24, False, 4), (8, 10, 24, False, 8)]
    assert stages(**growing, **thawing, **mining | {"mine_every_epochs": 7}) == [
        (0, 3, 8, True, None),
        (3, 4, 16, True, None),
        (4, 6, 16, False, None),
        (6, 7, 24, False, None),
        (7, 10, 24, False, 7),
    ]
    assert stages(**thawing, **mining | {"mine_every_epochs": 3}) == [  # thawing needs no further search
        (0, 3, 24, True, None),
        (3, 4, 24, True, 3),
        (4, 6, 24, False, 3),
        (6, 9, 24, False, 6),
        (9, 10, 24, False, 9),
    ]


def test_what_would_come_after_the_end_does_not_come() -> None:
    late = {"init": "model", "freeze": ("enc",), "freeze_epochs": 30}
    assert stages(**late) == [(0, 10, 24, True, None)]
    assert stages(hard_negative_fraction=0.5, mine_every_epochs=10) == [(0, 10, 24, False, None)]
