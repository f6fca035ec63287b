"""Models that come with the package: bundles in `shiva_cmb/models`, known by the names of their folders."""

from pathlib import Path

from shiva_cmb.ensemble.bundle import DESCRIPTOR_NAME
from shiva_cmb.errors import ModelError

FOLDER = Path(__file__).resolve().parents[1] / "models"
"""Where they lie. It may be read-only: nothing is ever written there."""
DEFAULT_NAME = "microbleeds"
"""The ensemble that is used where no model is named."""
ANATOMY_NAME = "anatomy"
"""The network that finds brain and regions: beside the bundles, but none itself."""
CARD_NAME = "MODEL_CARD.md"
"""In a bundle: what it was made from, how good it is, and what it must not be used for."""
CARD_FIGURES_NAME = "MODEL_CARD.json"
"""In a bundle: the main figures of its card, by the kind of validation."""


def bundled_names() -> tuple[str, ...]:
    """Names of the bundles that are there, the default one first."""
    found = sorted(path.parent.name for path in FOLDER.glob(f"*/{DESCRIPTOR_NAME}"))
    return tuple(sorted(found, key=lambda name: name != DEFAULT_NAME))


def bundled_model(name: str = DEFAULT_NAME) -> Path:
    """The folder of a bundled model.

    Raises:
        ModelError: if there is none of that name, or it is the anatomy network.
    """
    names = bundled_names()
    if name in names:
        return FOLDER / name
    if name == DEFAULT_NAME:
        raise ModelError("no model is bundled with this version of the package: name one with -m")
    if name == ANATOMY_NAME:
        raise ModelError(
            f"{name} finds the brain and its regions, it is no ensemble of folds: it cannot be exported or "
            f"named as a model (`shiva-cmb models {name}` shows it)"
        )
    names += (ANATOMY_NAME,) if anatomy_folder() else ()
    there = f"there are {', '.join(names)}" if names else "none is there"
    raise ModelError(f"no bundled model is called {name}: {there}")


def anatomy_folder() -> Path | None:
    """The folder of the anatomy network; None if it is not there."""
    folder = FOLDER / ANATOMY_NAME
    return folder if folder.is_dir() else None


def named_model(model: str | Path) -> Path:
    """A path, or the folder of a bundled model if it is the name of one; what exists as a path stays one."""
    path = Path(model)
    return bundled_model(str(model)) if is_bundled_name(model) and not path.exists() else path


def is_bundled_name(model: str | Path) -> bool:
    """Whether it could mean a bundled model."""
    return str(model) in (*bundled_names(), DEFAULT_NAME, ANATOMY_NAME)
