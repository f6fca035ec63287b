"""`model_info.json`: the keys SHiVAi reads, and our own part under the key `shiva_cmb`."""

import json
import math
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from shiva_cmb.ensemble.averaging import AveragingName
from shiva_cmb.errors import ModelError

if TYPE_CHECKING:  # at run time inside the methods: reading a descriptor needs no image library
    from shiva_cmb.imaging import Preprocessing
    from shiva_cmb.lesions import LesionCriteria

SCHEMA_VERSION: Final = 1
SHIVA_SHAPE = (160, 214, 176)


def _nan_as_none(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value


Figures = dict[str, Annotated[float | None, AfterValidator(_nan_as_none)]]
"""Named measurements; None stands for one that is not defined, since JSON has no NaN."""


def _inside_the_bundle(name: str) -> str:
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    outside = posix.is_absolute() or windows.drive or windows.root or ".." in windows.parts
    if not posix.parts or outside:
        raise ValueError(f"{name!r} is not a path inside the model folder")
    return name


RelativeName = Annotated[str, AfterValidator(_inside_the_bundle)]
PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Threshold = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class _OurPart(BaseModel):
    """Our own keys: a misspelled one is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputPart(_OurPart):
    """The grid the networks were trained on."""

    shape: tuple[PositiveInt, PositiveInt, PositiveInt] = SHIVA_SHAPE
    """Voxels along right, anterior and superior."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    """Voxel size along the same axes."""


class ScalingPart(_OurPart):
    """How intensities are scaled; see `shiva_cmb.imaging.Scaling`."""

    scheme: Literal["p99", "shivai", "zscore"] = "p99"
    percentile: Annotated[float, Field(gt=0, le=100)] = 99.0


class ArchitecturePart(_OurPart):
    """The network, as `shiva_cmb.networks.build_network` takes it."""

    name: str
    arguments: dict[str, JsonValue] = {}


class FoldPart(_OurPart):
    """What is known of one fold."""

    file: RelativeName
    """The `name` of its entry in `files`."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    validation_cases: tuple[str, ...] = ()
    """Cases this fold was not trained on."""
    metrics: Figures = {}


class OperatingPoint(_OurPart):
    """When a component of the averaged map counts as a microbleed, and where that choice came from."""

    threshold: Threshold = 0.5
    """A voxel belongs to a lesion where its probability is strictly above this."""
    peak_threshold: Threshold | None = None
    """A lesion's highest probability must be strictly above this too; not below `threshold`."""
    min_volume_mm3: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    """Smaller components are dropped; None leaves the package's own default."""
    curve: tuple[Figures, ...] = ()
    """Measurements at the thresholds that were compared, one row each."""

    @field_validator("peak_threshold")
    @classmethod
    def _not_below_the_threshold(cls, peak: float | None, info: ValidationInfo) -> float | None:
        threshold = info.data.get("threshold")  # absent if it is wrong itself
        if peak is not None and threshold is not None and peak < threshold:
            raise ValueError(f"expected a value not below the threshold {threshold}")
        return peak


class ShivaCmbPart(_OurPart):
    """Everything this package needs to know to run the folds, under the key `shiva_cmb`."""

    schema_version: Literal[1] = SCHEMA_VERSION
    input: InputPart = InputPart()
    channels: Annotated[tuple[str, ...], Field(min_length=1)] = ("swi",)
    """Modalities in the order of the network's input channels, in SHiVAi's vocabulary (swi, t2s, t1, ...)."""
    preprocessing: Literal["shiva_cmb", "shivai"] = "shiva_cmb"
    """Which preset brings an image to the model grid."""
    scaling: ScalingPart = ScalingPart()
    averaging: AveragingName = "predict_one_file"
    """How the folds are averaged, by the published variants. It also says whether the networks were trained
    on images that are zero outside the brain mask: all but `shiva_predict_multi` mask the image."""
    architecture: ArchitecturePart | None = None
    folds: tuple[FoldPart, ...] = ()
    operating_point: OperatingPoint = OperatingPoint()
    metrics: Figures = {}
    """Out-of-fold or held-out figures of the whole ensemble."""
    training: dict[str, JsonValue] = {}
    """A summary of the training data and settings."""
    licence: str = ""
    software: dict[str, str] = {}
    """Versions the folds were made with."""

    def preprocessing_settings(self) -> "Preprocessing":
        """How an image is brought to these networks' grid and intensities."""
        from shiva_cmb.imaging import Preprocessing, Scaling

        scaling = Scaling(scheme=self.scaling.scheme, percentile=self.scaling.percentile)
        return Preprocessing(
            preset=self.preprocessing,
            shape=self.input.shape,
            spacing_mm=self.input.spacing_mm,
            scaling=scaling,
        )

    def lesion_criteria(self) -> "LesionCriteria":
        """What counts as a lesion at this bundle's operating point."""
        from shiva_cmb.lesions import LesionCriteria

        point = self.operating_point
        given: dict[str, float] = {"threshold": point.threshold}
        if point.peak_threshold is not None:
            given["peak_threshold"] = point.peak_threshold
        if point.min_volume_mm3 is not None:
            given["min_volume_mm3"] = point.min_volume_mm3
        return LesionCriteria(**given)  # type: ignore[arg-type]


ASSUMED_SHIVAI_PART = ShivaCmbPart(
    preprocessing="shivai", scaling=ScalingPart(scheme="shivai"), averaging="shiva_predict_multi"
)
"""For descriptors written for SHiVAi alone: its preprocessing, scaling and averaging."""


class FileEntry(BaseModel):
    """One fold, as SHiVAi lists it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: RelativeName
    """Path below the model folder, usually starting with that folder's own name."""
    md5: Annotated[str, Field(pattern="^[0-9a-fA-F]{32}$")] | None = None
    """See `checksums_of`. SHiVAi wants it, in lower case; the first JSON published for v2 had none."""


class Descriptor(BaseModel):
    """A whole `model_info.json`. Unknown keys outside our own part are kept, as SHiVAi ignores them."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    version: str = ""
    release_date: str = Field("", validation_alias="release date", serialization_alias="release date")
    author: str = ""
    url: str | None = None
    target: str = ""
    modalities: tuple[str, ...] = ()
    """Channel order of the input for `shiva_predict`."""
    files: Annotated[tuple[FileEntry, ...], Field(min_length=1)]
    script: FileEntry | None = None
    """A Python file SHiVAi would run before loading `.keras` folds; this package never runs it."""
    shiva_cmb: ShivaCmbPart | None = None

    @model_validator(mode="after")
    def _same_folds_in_both_lists(self) -> "Descriptor":
        names = [entry.name for entry in self.files]
        if len(set(names)) < len(names):
            raise ValueError("files lists the same fold twice")
        if self.shiva_cmb is not None and self.shiva_cmb.folds:
            ours = [fold.file for fold in self.shiva_cmb.folds]
            if ours != names:
                raise ValueError(f"shiva_cmb.folds names {ours} but files names {names}")
        return self

    @property
    def part(self) -> ShivaCmbPart:
        """Our part, or what SHiVAi itself would do with a descriptor that has none."""
        return self.shiva_cmb if self.shiva_cmb is not None else ASSUMED_SHIVAI_PART

    def to_json(self) -> str:
        """The file's text: keys without a value left out, indented by two as SHiVAi's own tool writes it."""
        content = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_descriptor(path: str | Path) -> Descriptor:
    """Read and check a `model_info.json`.

    Raises:
        ModelError: if it is missing, is no JSON, lacks what SHiVAi needs, or has an unknown or wrong key in
            our part; the message names the key.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ModelError(f"the model descriptor {path} does not exist") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f"{path} is not a readable JSON file: {error}") from error
    return parse_descriptor(content, str(path))


def parse_descriptor(content: object, origin: str) -> Descriptor:
    """Check the content of a `model_info.json`.

    Args:
        content: what the JSON holds.
        origin: the file's name, for messages.

    Raises:
        ModelError: see `read_descriptor`.
    """
    if not isinstance(content, Mapping):
        raise ModelError(f"{origin} is not a model descriptor: expected a JSON object with the key 'files'")
    part = content.get("shiva_cmb")
    version = part.get("schema_version", SCHEMA_VERSION) if isinstance(part, Mapping) else SCHEMA_VERSION
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise ModelError(
            f"{origin} was made by a newer shiva_cmb (schema {version}, this one reads {SCHEMA_VERSION}): "
            "update the package"
        )
    try:
        return Descriptor.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{origin}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """One line on the first key that is wrong, and how many more there are."""
    problems: list[Any] = error.errors(include_url=False)
    first = problems[0]
    key = ".".join(str(step) for step in first["loc"]) or "the file"
    if first["type"] == "extra_forbidden":
        line = f"unknown key {key!r}: remove it or mend its spelling"
    elif first["type"] == "missing":
        line = f"the key {key!r} is missing"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("\n", " ")
        line = f"{key}: {message}"
        if first["loc"]:
            line += f", received {str(first['input'])[:80]!r}"
    return line if len(problems) == 1 else f"{line} (and {len(problems) - 1} more)"
