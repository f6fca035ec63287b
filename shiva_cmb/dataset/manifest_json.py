"""The keys of a list of cases in JSON."""

from pydantic import BaseModel, ConfigDict, Field


class CaseJson(BaseModel):
    """One case; further keys are its free columns."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, str | int | float | bool | None] = Field(init=False)

    label: str
    """File."""
    image: str = ""
    """File, where there is one channel."""
    images: dict[str, str] = Field(default_factory=dict)
    """File of each channel."""
    mask: str | None = None
    """File."""
    patient: str | int | None = None
    """Any name."""
    case: str | int | None = None
    """Its name."""
    training_only: bool = False
    """See `Case`."""


class ManifestJson(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cases: list[CaseJson]
    """At least one."""
    channels: list[str] = Field(default_factory=list)
    """If left out, those of the first case."""
    lesion_values: list[int] = Field(default_factory=list)
    """See `LabelValues`."""
    ignore_values: list[int] = Field(default_factory=list)
    """See `LabelValues`."""
