"""Settings by name: dataclasses changed by what a configuration file or a command line says."""

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

from shiva_cmb.errors import UsageError


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Names and values of a file: YAML, or JSON by its extension.

    Raises:
        UsageError: if it cannot be read or is no mapping.
    """
    import yaml

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text) if path.suffix.lower() == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"cannot read the configuration {path}: {reason}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: expected names and values such as `epochs: 50`, got {content!r:.60}")
    return content


def assignments(texts: list[str], presets: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Read `NAME=VALUE` or `NAME.FIELD=VALUE`, values as in YAML; for presets see `merged`.

    Raises:
        UsageError: if there is no `=`.
    """
    import yaml

    content: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"--set {text}: expected NAME=VALUE, such as augmentation.gamma.probability=0.3")
        try:
            nested = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"--set {text}: cannot read {value!r} as a value") from error
        for key in reversed(name.split(".")):
            nested = {key: nested}
        content = merged(content, nested, presets)
    return content


def merged(
    base: Mapping[str, Any], changes: Mapping[str, Any], presets: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """One set of names over another; what is nested is merged.

    Args:
        base: the one below.
        changes: the one above.
        presets: names that may hold a preset's name in place of a mapping, and what that counts as in it.
    """
    result = dict(base)
    for name, value in changes.items():
        below = result.get(name)
        if isinstance(below, str) and name in presets:
            below = {presets[name]: below}
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = merged(below, value, presets)
        result[name] = value
    return result


def changed(present: Any, changes: Mapping[str, Any], where: str = "") -> Any:
    """Settings with some of their fields changed, nested ones too."""
    if not isinstance(changes, Mapping):
        raise UsageError(f"{where}: expected names and values, got {changes!r:.80}")
    values: dict[str, Any] = {}
    hints = get_type_hints(type(present))
    known = [field.name for field in fields(present)]
    for name, value in changes.items():
        place = f"{where}.{name}" if where else name
        if name not in known:
            raise UsageError(f"{place}: unknown; the known ones are {', '.join(known)}")
        below = getattr(present, name)
        if dataclasses.is_dataclass(below):
            values[name] = changed(below, value, place)
        else:
            values[name] = typed(hints[name], value, place)
    return replace(present, **values)


def typed(kind: Any, value: Any, name: str) -> Any:
    """A value of the kind that a field has: lists become tuples, and so on.

    One number stands for three equal ones and one value for a list of one; numbers may also be written as on
    a command line: `48`, `160,214,176`.

    Raises:
        UsageError: if it cannot be one.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    several = next((one for one in (kind, *get_args(kind)) if get_origin(one) is tuple), None)
    given = value if several is None else _several(get_args(several), value, name)
    try:
        return TypeAdapter(kind, config=ConfigDict(coerce_numbers_to_str=True)).validate_python(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]["msg"].partition(", unable")[0]
        raise UsageError(f"{name}: {problem[0].lower()}{problem[1:]}, got {value!r:.80}") from error


def _several(items: tuple[Any, ...], value: Any, name: str) -> Any:
    """The list that is meant by one value, for a tuple of these kinds."""
    several = value
    if isinstance(value, str) and items[0] is not str:
        several = re.split("[,x]", value)
        several = several[0] if len(several) == 1 else several
    if items[-1] is Ellipsis:
        return [several] if isinstance(several, str | int | float) else several
    if len(items) == 3 and isinstance(several, str | int | float):
        return [several] * 3
    if isinstance(several, list | tuple) and len(several) != len(items):
        example = ", such as 160,214,176, or one for all" if len(items) == 3 else ""
        raise UsageError(f"{name}: expected {len(items)} numbers{example}, got {value!r:.80}")
    return several
