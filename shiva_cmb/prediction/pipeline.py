"""The main job: native images in, lesions in the same space out."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shiva_cmb.anatomy.regions import Place
from shiva_cmb.ensemble import AVERAGING, AveragingName, Ensemble, EnsembleMaps, load_ensemble
from shiva_cmb.errors import ImageError, Note, warn_user
from shiva_cmb.imaging import ModelInput, Preprocessing, SpatialChain, Volume
from shiva_cmb.lesions import FoundLesions, LesionCriteria, find_lesions
from shiva_cmb.prediction import provenance
from shiva_cmb.prediction.inputs import ImageLike, Subject, on_model_grid, read_subject
from shiva_cmb.prediction.regions import RegionMap, estimated_regions, given_regions, with_places
from shiva_cmb.prediction.result import ModelSpace, Prediction
from shiva_cmb.prediction.searched import Searched, where_to_search

OnStep = Callable[[str], None]
"""Is told the name of each step as it starts."""


@dataclass(frozen=True)
class PredictionSettings:
    """What to do differently from what the model's bundle says; None: as the bundle says."""

    criteria: LesionCriteria | None = None
    """What counts as a lesion."""
    preprocessing: Preprocessing | None = None
    """How images are brought to the model grid."""
    averaging: AveragingName | None = None
    """Which published variant of averaging."""
    volume_index: int | None = None
    """Which volume of image files that hold several, from 0."""
    region_names: Mapping[int, Place] | None = None
    """What the values of the user's map of regions mean; None: FreeSurfer's and SynthSeg's labels."""
    places: bool = True
    """Tell region and side of the lesions. Without a map of the user's that takes the anatomy network."""


def predict(
    image: ImageLike | Sequence[ImageLike],
    *,
    model: Ensemble | str | Path | Sequence[str | Path] | None = None,
    mask: ImageLike | None = None,
    regions: ImageLike | None = None,
    settings: PredictionSettings | None = None,
    on_step: OnStep | None = None,
    note: Note = warn_user,
) -> Prediction:
    """Find microbleeds in one subject.

    Args:
        image: NIfTI path or `Volume`, native: any orientation, spacing and size; or one per channel.
        model: a bundle, fold files, the name of a bundled model, or an ensemble that `load_ensemble` gave;
            None: the bundled microbleed ensemble.
        mask: brain mask (path or `Volume`) on any grid; None: the anatomy network finds it.
        regions: map of regions on any grid (FreeSurfer or SynthSeg labels, or see `settings.region_names`);
            None: the anatomy network finds coarse ones.
        settings: what to do differently from what the bundle says.
        on_step: told the name of each step.
        note: told of everything repaired, guessed or left out; the result keeps these lines too.

    Returns:
        Probability, labels and lesions in native space, the same on the model grid, and provenance.

    Raises:
        ImageError: if an image or mask cannot be used.
        ModelError: if the model cannot be used.
    """
    settings, steps = settings or PredictionSettings(), _Steps(on_step)
    with steps("loading the model", "load_model_s"):
        ensemble = model if isinstance(model, Ensemble) else load_ensemble(model, note=note)
    notes = list(ensemble.notes)  # what was assumed of the model matters to every result

    def say(line: str) -> None:
        notes.append(line)
        note(line)

    with steps("reading", "read_s"):
        subject = read_subject(image, mask, index=settings.volume_index, note=say)
        _require_channels(subject, ensemble)
        # tried now: whoever gave a wrong map need not wait for the networks
        names = settings.region_names
        given = None if regions is None else given_regions(regions, names, subject.grid, say)
    plan = _plan(settings, ensemble)
    model_input, maps, probability = _look(subject, ensemble, plan, steps, say)
    with steps("looking at regions", "regions_s"):
        region_map = given or _estimated(subject, probability, plan, settings)
        searched = where_to_search(subject, region_map)
    with steps("finding lesions", "lesions_s"):
        spared = searched.with_large(subject, probability, plan.criteria)
        model_space, found = _find(subject, spared, model_input, maps, probability, plan.criteria, say)
        found = with_places(found, region_map)
    record = _record(subject, ensemble, plan, model_space.chain, found, region_map)
    record |= {"notes": notes, "seconds": steps.seconds}
    return Prediction(
        probability=probability,
        labels=found.labels,
        lesions=found.table,
        model_space=model_space,
        provenance=record,
        notes=tuple(notes),
        brain=Volume(subject.brain.astype(np.uint8), subject.grid.affine),
        searched=Volume(searched.mask.astype(np.uint8), subject.grid.affine),
        regions=region_map.volume,
    )


@dataclass(frozen=True)
class _Plan:
    """What one prediction goes by: what the user asked for, else what the bundle says."""

    preprocessing: Preprocessing
    criteria: LesionCriteria
    averaging: AveragingName


def _plan(settings: PredictionSettings, ensemble: Ensemble) -> _Plan:
    part = ensemble.part
    return _Plan(
        settings.preprocessing or part.preprocessing_settings(),
        settings.criteria or part.lesion_criteria(),
        settings.averaging or part.averaging,
    )


def _require_channels(subject: Subject, ensemble: Ensemble) -> None:
    expected = len(ensemble.part.channels)
    if len(subject.channels) != expected:
        named = ", ".join(ensemble.part.channels)
        raise ImageError(
            f"the model takes {expected} channel(s) ({named}), {len(subject.channels)} were given"
        )


def _look(
    subject: Subject, ensemble: Ensemble, plan: _Plan, steps: "_Steps", note: Note
) -> tuple[ModelInput, EnsembleMaps, Volume]:
    """Through the networks and back: the first channel on the model grid, maps, native mean."""
    with steps("preparing", "prepare_s"):
        inputs = on_model_grid(subject, plan.preprocessing, note)
    with steps("running the networks", "networks_s"):
        maps = _run(ensemble, inputs, subject, plan)
        probability = back_to_native(inputs[0].chain, inputs[0].image.with_data(maps.mean))
    return inputs[0], maps, probability


def _estimated(subject: Subject, probability: Volume, plan: _Plan, settings: PredictionSettings) -> RegionMap:
    # the network is not asked where nothing can be a lesion
    if settings.places and (subject.anatomy is not None or probability.data.max() > plan.criteria.threshold):
        return estimated_regions(subject)
    return RegionMap()


def _record(
    subject: Subject,
    ensemble: Ensemble,
    plan: _Plan,
    chain: SpatialChain,
    found: FoundLesions,
    regions: RegionMap,
) -> dict[str, Any]:
    """Provenance, but for the notes and times that come last."""
    record = provenance.describe(
        subject,
        provenance.describe_model(ensemble, plan.averaging),
        plan.preprocessing,
        chain,
        provenance.describe_lesions(plan.criteria, found),
    )
    record["inputs"]["regions"] = provenance.describe_file(regions.source)
    return record | {"anatomy": provenance.describe_anatomy(subject.anatomy or regions.anatomy)}


def _run(ensemble: Ensemble, inputs: Sequence[ModelInput], subject: Subject, plan: _Plan) -> EnsembleMaps:
    mask: NDArray[np.float32] | None = None
    # a network trained on masked images needs a mask; elsewhere an estimated one must not cut the map
    if inputs[0].brain is not None and (subject.mask is not None or AVERAGING[plan.averaging].mask_input):
        mask = inputs[0].brain.astype(np.float32)
    channels = np.stack([item.image.data for item in inputs], axis=-1)
    return ensemble.predict(channels, mask, averaging=plan.averaging, threshold=plan.criteria.threshold)


def _find(
    subject: Subject,
    searched: Searched,
    model_input: ModelInput,
    maps: EnsembleMaps,
    probability: Volume,
    criteria: LesionCriteria,
    note: Note,
) -> tuple[ModelSpace, FoundLesions]:
    """Find lesions in native space, and check that the way back lost none."""
    chain, grid = model_input.chain, model_input.image
    agreement = chain.invert(grid.with_data(maps.agreement), order=0)
    found = find_lesions(
        probability,
        criteria,
        image=subject.channels[0],
        brain=searched.mask,
        agreement=agreement,
        folds=maps.n_folds,
    )
    searched_there = model_input.brain
    if searched.by_network:
        searched_there = chain.apply(Volume(searched.mask, subject.grid.affine), order=0).data
    on_model_grid = find_lesions(
        grid.with_data(maps.mean),
        criteria,
        image=grid,
        brain=searched_there,
        agreement=grid.with_data(maps.agreement),
        folds=maps.n_folds,
    )
    if found.dropped["outside the brain"]:
        where = "where lesions can be (tissue of the brain)" if searched.by_network else "the brain mask"
        note(
            f"{found.dropped['outside the brain']} component(s) lie more than "
            f"{criteria.max_outside_fraction:.0%} outside {where} and were dropped"
        )
    lost = lesions_without_counterpart(on_model_grid, found)
    if lost:
        note(
            f"{lost} of {len(on_model_grid.table)} lesion(s) on the model grid fall short of the criteria "
            "on the image's own grid: see them with --model-space"
        )
    return ModelSpace(grid, maps, chain, on_model_grid), found


def back_to_native(chain: SpatialChain, probability: Volume) -> Volume:
    """A probability map in native space, by cubic splines cut to [0, 1].

    Linear interpolation flattens peaks: of lesions of a few voxels it loses half at a threshold of 0.5.
    """
    native = chain.invert(probability, order=3)
    return native.with_data(np.clip(native.data, 0, 1, dtype=np.float32))


def lesions_without_counterpart(on_model_grid: FoundLesions, native: FoundLesions) -> int:
    """How many lesions of the model grid have no native lesion at any of their voxels.

    Args:
        on_model_grid: lesions on the model grid.
        native: lesions in native space.
    """
    labels = on_model_grid.labels
    voxels = np.argwhere(labels.data)
    if not len(voxels):
        return 0
    at = np.rint(native.labels.grid.to_voxel(labels.grid.to_world(voxels))).astype(int)
    shape = np.array(native.labels.shape)
    inside = ((at >= 0) & (at < shape)).all(axis=1)
    hit = np.zeros(len(at), dtype=bool)
    hit[inside] = native.labels.data[tuple(at[inside].T)] > 0
    numbers = labels.data[tuple(voxels.T)]
    return len(on_model_grid.table) - len(np.unique(numbers[hit]))


class _Steps:
    """Tells the name of each step as it starts, and keeps how long it took."""

    def __init__(self, on_step: OnStep | None) -> None:
        self.seconds: dict[str, float] = {}
        self._on_step = on_step

    @contextmanager
    def __call__(self, name: str, key: str) -> Iterator[None]:
        if self._on_step is not None:
            self._on_step(name)
        start = time.perf_counter()
        yield
        self.seconds[key] = round(time.perf_counter() - start, 3)
