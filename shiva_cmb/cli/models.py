"""`shiva-cmb models`: the models that come with the package."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import options
from shiva_cmb.cli.model import megabytes, rows_of
from shiva_cmb.cli.screen import print_json, print_note
from shiva_cmb.errors import NOT_CLINICAL, ModelError, UsageError

if TYPE_CHECKING:
    from shiva_cmb.ensemble import Bundle

_ANATOMY = "brain mask and coarse regions; used where no mask or no map of regions is given"
_HEADLINE = ("sensitivity", "precision", "f1", "fp_per_scan")


def models(
    name: Annotated[str | None, typer.Argument(help="One of them, such as microbleeds.")] = None,
    card: Annotated[bool, typer.Option("--card", help="Print its model card.")] = False,
    path: Annotated[
        bool, typer.Option("--path", help="Print its folder, with the model_info.json that SHiVAi reads.")
    ] = False,
    json: options.Json = False,
) -> None:
    """List the models that come with the package, or show one of them. Not for clinical use."""
    if (card or path) and name is None:
        raise UsageError("--card and --path go with the name of a model: shiva-cmb models NAME --card")
    if card and path:
        raise UsageError("--card and --path: ask for one of them")
    if name is None:
        _list(json)
    elif path:
        print(_folder(name))
    elif card:
        _print_card(name)
    else:
        _show(name, json)


def _folder(name: str) -> Path:
    from shiva_cmb.ensemble.bundled import ANATOMY_NAME, anatomy_folder, bundled_model

    return (anatomy_folder() if name == ANATOMY_NAME else None) or bundled_model(name)


def _list(json: bool) -> None:
    from shiva_cmb.ensemble.bundled import anatomy_folder, bundled_model, bundled_names

    found = [_record(name, _open(bundled_model(name))) for name in bundled_names()]
    if anatomy := anatomy_folder():
        found.append(_anatomy(anatomy))
    if json:
        print_json({"models": found, "notice": NOT_CLINICAL})
        return
    if not found:
        print("No model is bundled with this version of the package.")
    for record in found:
        print(f"{record['name']}: {'; '.join(record['lines'])}")
        for kind, figures in record["figures"].items():
            print(f"    {kind}: {_figures_text(figures)}")
        if record["card"]:
            print(f"    card: shiva-cmb models {record['name']} --card")
    print(NOT_CLINICAL)


def _record(name: str, bundle: "Bundle") -> dict[str, Any]:
    descriptor, part, point = bundle.descriptor, bundle.part, bundle.part.operating_point
    count = len(bundle.fold_paths)
    limits = [f"threshold {point.threshold:g}"]
    if point.peak_threshold is not None:
        limits.append(f"peak {point.peak_threshold:g}")
    if point.min_volume_mm3 is not None:
        limits.append(f"from {point.min_volume_mm3:g} mm3")
    lines = [
        f"{descriptor.target} on {', '.join(part.channels)}",
        f"version {descriptor.version}" if descriptor.version else "",
        f"{count} fold{'s' * (count != 1)}, {megabytes(bundle)}",
        ", ".join(limits),
        part.licence,
    ]
    return {
        "name": name,
        "folder": str(bundle.folder),
        "lines": [line for line in lines if line],
        "figures": _figures(bundle),
        "card": _card_path(bundle.folder) is not None,
    }


def _anatomy(folder: Path) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    return {
        "name": folder.name,
        "folder": str(folder),
        "lines": [_ANATOMY, f"{size * 1e-6:.1f} MB"],
        "figures": {},
        "card": _card_path(folder) is not None,
    }


def _figures(bundle: "Bundle") -> dict[str, Any]:
    """The card's main figures, by the kind of validation; without a card, those of the cross-validation."""
    from shiva_cmb.ensemble.bundled import CARD_FIGURES_NAME

    path = bundle.folder / CARD_FIGURES_NAME
    if path.is_file():
        return dict(json_module.loads(path.read_text(encoding="utf-8")))
    metrics = bundle.part.metrics
    own = {
        name: {"value": metrics[name], "low": metrics.get(f"{name}_low"), "high": metrics.get(f"{name}_high")}
        for name in _HEADLINE
        if metrics.get(name) is not None
    }
    return {"cross-validated": own} if own else {}


def _figures_text(figures: dict[str, Any]) -> str:
    from shiva_cmb.reporting.evaluation_tables import figure_text
    from shiva_cmb.reporting.figure_names import figure_label

    # without bleeds there is no sensitivity, and precision and F1 are 0 whatever is found
    hidden = () if "sensitivity" in figures else ("precision", "f1")
    shown = ((name, figure) for name, figure in figures.items() if name not in hidden)
    return ", ".join(f"{figure_label(name)} {figure_text(figure)}" for name, figure in shown)


def _show(name: str, json: bool) -> None:
    from shiva_cmb.ensemble.bundled import ANATOMY_NAME

    folder = _folder(name)
    if name == ANATOMY_NAME:
        record = _anatomy(folder)
        rows = [("folder", record["folder"]), ("is", _ANATOMY), ("size", record["lines"][-1])]
    else:
        bundle = _open(folder)
        record = _record(name, bundle)
        rows = [
            *rows_of(bundle),
            *((kind, _figures_text(found)) for kind, found in record["figures"].items()),
        ]
    if json:
        print_json(record)
        return
    for title, value in rows:
        print(f"{title:<17} {value}")


def _print_card(name: str) -> None:
    from shiva_cmb.ensemble.bundled import ANATOMY_NAME

    card = _card_path(_folder(name))
    if card is None:
        elsewhere = ": docs/anatomy.md tells how good it is" if name == ANATOMY_NAME else ""
        raise ModelError(f"{name} has no model card{elsewhere}")
    print(card.read_text(encoding="utf-8"), end="")


def _card_path(folder: Path) -> Path | None:
    from shiva_cmb.ensemble.bundled import CARD_NAME

    return folder / CARD_NAME if (folder / CARD_NAME).is_file() else None


def _open(folder: Path) -> "Bundle":
    from shiva_cmb.ensemble import open_bundle

    return open_bundle(folder, note=print_note)
