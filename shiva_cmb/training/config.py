"""Settings by plain names, the same in flags, in configuration files and in bundles."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from shiva_cmb.ensemble.bundled import is_bundled_name
from shiva_cmb.errors import ModelError, UsageError
from shiva_cmb.files import plain
from shiva_cmb.imaging import Scaling
from shiva_cmb.named_settings import changed, read_mapping, typed
from shiva_cmb.networks import ARCHITECTURES, PUBLISHED, NetworkSettings
from shiva_cmb.training.augmentation.settings import AUGMENTATIONS
from shiva_cmb.training.sampling.settings import PRESETS
from shiva_cmb.training.settings import TrainingSettings

GROUPS = ("sampling", "fitting", "initial", "calibration")
"""Parts of the settings whose fields are names of their own: `patch`, not `sampling.patch`."""

_VALUES = {"lesion_values": "lesion", "ignore_values": "ignore"}
RUN_NAMES = (
    "data",
    "output",
    "folds_file",
    "cache",
    "processes",
    "workers",
    "devices",
    "tensorboard",
)
"""What a configuration may say beside the settings: where things lie, and how the work is done."""
PATH_NAMES = ("data", "output", "folds_file", "cache", "init")
"""Names whose values are paths: in a file they count from its folder."""
PRESET_KEYS = {"network": "name", "scaling": "scheme", "augmentation": "preset"}
"""Groups that a name may stand for, and what that name is called among their fields."""


def settings_from(names: Mapping[str, Any], base: TrainingSettings | None = None) -> TrainingSettings:
    """Settings by their plain names.

    Args:
        names: values by name; those left out stay as in `base`. Presets may be given by their name alone:
            `sampling: random_3d`, `augmentation: heavy`, `network: unetr`. For the kinds of values see
            `typed`.
        base: the defaults if left out.

    Raises:
        UsageError: if a name is unknown or a value is of the wrong kind or out of range.
    """
    base = base or TrainingSettings()
    given = dict(names)
    changes: dict[str, Any] = {}
    if "network" in given:
        changes["network"] = _network(given.pop("network"), base.network)
    if "augmentation" in given:
        changes["augmentation"] = _augmentation(given.pop("augmentation"), base.augmentation)
    if "scaling" in given:
        scaling = given.pop("scaling")
        scaling = scaling if isinstance(scaling, Mapping) else {"scheme": scaling}
        scheme = Scaling() if "scheme" in scaling else base.scaling
        changes["scaling"] = changed(scheme, scaling, "scaling")
    for name, field in _VALUES.items():
        if name in given:
            values = changes.get("values", base.values)
            hint = get_type_hints(type(values))[field]
            changes["values"] = replace(values, **{field: typed(hint, given.pop(name), name)})
    if "sampling" in given:
        preset = given.pop("sampling")
        if not isinstance(preset, str) or preset not in PRESETS:
            plainly = ", and patch in place of sampling.patch" if isinstance(preset, Mapping) else ""
            raise UsageError(f"sampling: expected one of {', '.join(PRESETS)}{plainly}, got {preset!r:.80}")
        given = {**PRESETS[preset], **given}
    if given.get("patch") == "whole":
        given["patch"] = None
    for group in GROUPS:
        present = getattr(base, group)
        of_group = {f.name: given.pop(f.name) for f in fields(present) if f.name in given}
        changes[group] = changed(present, of_group)
    unknown = [name for name in given if name not in _own_names()]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names_of_settings(), 1)
        hint = f": did you mean {near[0]!r}?" if near else ": shiva-cmb train --help lists the flags"
        raise UsageError(f"unknown setting {unknown[0]!r}{hint}")
    hints = get_type_hints(TrainingSettings)
    own = {name: typed(hints[name], value, name) for name, value in given.items()}
    return replace(base, **changes, **own)


def as_names(settings: TrainingSettings) -> dict[str, Any]:
    """The resolved settings by their plain names: what `settings_from` takes, in plain JSON."""
    names: dict[str, Any] = {name: getattr(settings, name) for name in _own_names()}
    names["scaling"] = asdict(settings.scaling)
    names |= {name: getattr(settings.values, field) for name, field in _VALUES.items()}
    names["network"] = {"name": settings.network.architecture, **settings.network.as_arguments()}
    for group in GROUPS:
        names |= asdict(getattr(settings, group))
    names["augmentation"] = asdict(settings.augmentation)
    return plain(names)


def names_of_settings() -> tuple[str, ...]:
    """All plain names there are."""
    return (*as_names(TrainingSettings()), "sampling")


def differences(old: TrainingSettings, new: TrainingSettings) -> Iterator[tuple[str, Any, Any]]:
    """Names whose values differ, with both values."""
    before, after = as_names(old), as_names(new)
    for name, value in before.items():
        if value != after[name]:
            yield name, value, after[name]


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a configuration: YAML, or JSON by its extension. Paths in it count from its folder.

    Raises:
        UsageError: if it cannot be read, is no mapping, or names something unknown.
    """
    path = Path(path)
    content = read_mapping(path)
    known = (*names_of_settings(), *RUN_NAMES)
    for name in content:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, 1)
            raise UsageError(
                f"{path}: unknown name {name!r}" + (f": did you mean {near[0]!r}?" if near else "")
            )
    return with_absolute_paths(content, path.parent)


def with_absolute_paths(names: Mapping[str, Any], folder: Path = Path()) -> dict[str, Any]:
    """The same names with absolute paths, so that they hold wherever a training is gone on with.

    Args:
        names: values by name; None where a path is not given. A bundled model's name stays one.
        folder: what relative paths count from.

    Raises:
        UsageError: if something else stands in place of a path.
    """
    result = dict(names)
    for name in PATH_NAMES:
        value = result.get(name)
        if value is None:
            continue
        if not isinstance(value, str | Path) or not str(value):
            raise UsageError(f"{name}: expected a path, got {value!r:.80}")
        if name == "init" and is_bundled_name(value) and not (folder / value).exists():
            result[name] = str(value)
            continue
        try:
            path = (folder / Path(value).expanduser()).absolute()
            if ".." in path.parts:
                path = path.parent.resolve() / path.name
            # a setting, `init`, must be the same when it is written differently
            result[name] = str(path.resolve() if name == "init" else path)
        except RuntimeError as error:  # nobody of that name, or links in a circle
            raise UsageError(f"{name}: {value}: {error}") from error
    return result


def _own_names() -> tuple[str, ...]:
    """Fields of the training settings that are names themselves."""
    groups = (*GROUPS, "network", "augmentation", "scaling", "values")
    return tuple(field.name for field in fields(TrainingSettings) if field.name not in groups)


def _network(given: Any, present: NetworkSettings) -> NetworkSettings:
    known = {**PUBLISHED, **{key: kind() for key, kind in ARCHITECTURES.items()}}
    chosen, arguments = _preset("network", given, known, present)
    try:
        return type(chosen).from_arguments(chosen.as_arguments() | arguments)
    except ModelError as error:  # here it is the user who said so, not a bundle
        raise UsageError(f"network: {error}") from error


def _augmentation(given: Any, present: Any) -> Any:
    preset, changes = _preset("augmentation", given, AUGMENTATIONS, present)
    return changed(preset, changes, "augmentation")


def _preset(name: str, given: Any, known: Mapping[str, Any], present: Any) -> tuple[Any, dict[str, Any]]:
    """What a group starts from, and what is changed of it: `heavy`, `{preset: heavy, ...}` or `{...}`."""
    changes = dict(given) if isinstance(given, Mapping) else {PRESET_KEYS[name]: given}
    if PRESET_KEYS[name] not in changes:
        return present, changes
    chosen = changes.pop(PRESET_KEYS[name])
    if not isinstance(chosen, str) or chosen not in known:
        raise UsageError(f"{name}: expected one of {', '.join(known)}, got {chosen!r:.80}")
    return known[chosen], changes
