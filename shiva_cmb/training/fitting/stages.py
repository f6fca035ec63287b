"""A run in stages: between two of them patches grow, frozen layers thaw, or hard negatives are looked for."""

import math
from dataclasses import dataclass

from shiva_cmb.training.sampling.settings import patch_stages
from shiva_cmb.training.settings import TrainingSettings


@dataclass(frozen=True)
class Stage:
    """Epochs in which nothing of this changes."""

    first: int
    """Epochs that went before."""
    last: int
    """Its last epoch, from 1."""
    patch: tuple[int, int, int]
    """Voxels the network sees at a time."""
    frozen: tuple[str, ...]
    """Parts of the network that do not learn."""
    mined_at: int | None
    """Epochs that went before when the training cases were last searched for false positives."""
    grown: bool
    """Whether patches are larger than in the stage before."""
    thawed_at: int
    """The last time that other parts began to learn: epochs that went before, 0 if it never happened."""


def settled_after(settings: TrainingSettings) -> int:
    """Epochs that go before want of progress says anything about a run.

    Until then the learning rate rises, patches are small, or parts of the network are frozen.
    """
    stages, per_epoch = stages_of(settings), settings.sampling.steps_per_epoch
    last = stages[-1]
    settled = min(s.first for s in stages if (s.patch, s.frozen) == (last.patch, last.frozen))
    return max(settled, math.ceil(int(settings.steps * settings.fitting.warmup_fraction) / per_epoch))


def stages_of(settings: TrainingSettings) -> tuple[Stage, ...]:
    """The stages of a run, in order."""
    epochs, sampling, initial = settings.fitting.epochs, settings.sampling, settings.initial
    patches = patch_stages(sampling, epochs)
    thaw = epochs
    if initial.freeze and initial.freeze_epochs is not None:
        thaw = min(initial.freeze_epochs, epochs)
    every = sampling.mine_every_epochs
    mined = set(range(every, epochs, every)) if sampling.mines else set()
    ends = sorted({epochs, *(last + 1 for _, last, _ in patches), *mined, thaw})
    stages: list[Stage] = []
    for first, last in zip([0, *ends], ends, strict=False):
        patch = next(patch for start, end, patch in patches if start <= first <= end) or settings.grid
        frozen = initial.freeze if first < thaw else ()
        stages.append(
            Stage(
                first,
                last,
                patch,
                frozen,
                mined_at=max((epoch for epoch in mined if epoch <= first), default=None),
                grown=bool(stages) and patch != stages[-1].patch,
                thawed_at=thaw if first >= thaw else 0,
            )
        )
    return tuple(stages)
