"""What a prediction gives: maps, lesions, and where everything came from."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from shiva_cmb.ensemble import EnsembleMaps
from shiva_cmb.files import replacing, require_can_hold_results, require_not_inputs, write_json
from shiva_cmb.imaging import SpatialChain, Volume, write_volume
from shiva_cmb.lesions import FoundLesions, LesionTable


@dataclass(frozen=True, eq=False)
class ModelSpace:
    """The prediction as the networks saw it."""

    image: Volume
    """First channel, oriented, resampled, cropped and scaled."""
    maps: EnsembleMaps
    """Mean, deviation and agreement on the same grid."""
    chain: SpatialChain
    """From native space to this one."""
    found: FoundLesions
    """Lesions found on this grid, by the same criteria."""

    def volume(self, data: Any) -> Volume:
        """An array on the model grid as a volume."""
        return self.image.with_data(data)


@dataclass(frozen=True, eq=False)
class Prediction:
    """One subject's lesions, in the image's own space. Not for clinical use."""

    probability: Volume
    """Mean probability of the folds, float32 in [0, 1]."""
    labels: Volume
    """Lesion k of the table has the value k."""
    lesions: LesionTable
    """One row per lesion."""
    model_space: ModelSpace
    """The same before the way back."""
    provenance: dict[str, Any]
    """Inputs, model, settings, steps and versions, as written to `NAME_provenance.json`."""
    notes: tuple[str, ...]
    """Everything that was repaired, guessed or left out."""
    brain: Volume
    """The brain mask that was used, the user's or an estimate: uint8, native space."""
    searched: Volume
    """Where lesions could be, but for large ones, see `searched.where_to_search`: uint8, native space."""
    regions: Volume | None
    """The regions that the lesions' places came from, on their own grid; None where they are not known."""

    @cached_property
    def deviation(self) -> Volume:
        """Standard deviation between the folds, in native space."""
        space = self.model_space
        return space.chain.invert(space.volume(space.maps.deviation), order=1)

    @cached_property
    def agreement(self) -> Volume:
        """Number of folds above the threshold, in native space."""
        space = self.model_space
        return space.chain.invert(space.volume(space.maps.agreement), order=0)

    def save(
        self,
        folder: str | Path,
        name: str,
        *,
        model_space: bool = False,
        spread: bool = False,
        anatomy: bool = False,
    ) -> dict[str, Path]:
        """Write `NAME_prob.nii.gz`, `NAME_labels.nii.gz`, `NAME_lesions.tsv` and `NAME_provenance.json`.

        Args:
            folder: made if it is missing.
            name: what the file names start with.
            model_space: also write the scaled image, probability and labels on the model grid.
            spread: also write the folds' standard deviation and agreement.
            anatomy: also write the brain mask, where lesions could be and, where they are known, the regions.

        Returns:
            What was written, by kind.

        Raises:
            OutputError: if something cannot be written; then nothing is.
            UsageError: if a result would overwrite an image or mask it was made from.
        """
        folder = make_folder(folder)
        volumes = {"prob": self.probability, "labels": self.labels}
        if spread:
            volumes |= {"std": self.deviation, "agreement": self.agreement}
        if anatomy:
            volumes |= {"brain": self.brain, "searched": self.searched}
            if self.regions is not None:
                volumes["regions"] = self.regions
        if model_space:
            space = self.model_space
            volumes["space-model_image"] = space.image
            volumes["space-model_prob"] = space.volume(space.maps.mean)
            volumes["space-model_labels"] = space.found.labels
            if spread:
                volumes["space-model_std"] = space.volume(space.maps.deviation)
                volumes["space-model_agreement"] = space.volume(space.maps.agreement)
        written = {kind: folder / f"{name}_{kind}.nii.gz" for kind in volumes}
        written["lesions"] = folder / f"{name}_lesions.tsv"
        written["provenance"] = folder / f"{name}_provenance.json"
        inputs = self.provenance["inputs"]
        given = [*inputs["images"], inputs["mask"], inputs["regions"]]
        require_not_inputs(written.values(), [item["source"] for item in given])
        with replacing() as pending:
            for kind, volume in volumes.items():
                write_volume(volume, pending.path(written[kind]))
            self.lesions.write_tsv(pending.path(written["lesions"]))
            write_json(self.provenance, pending.path(written["provenance"]))
        return written


def make_folder(folder: str | Path) -> Path:
    """Make a folder for results if it is not there.

    Raises:
        OutputError: if it cannot be made or written to.
    """
    folder = Path(folder)
    require_can_hold_results(folder)
    if not folder.exists():
        folder.mkdir(exist_ok=True)
    return folder
