"""`shiva-cmb model`: look at, check, export, import and pack models."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import options, values
from shiva_cmb.cli.screen import print_json, print_note, showing_steps
from shiva_cmb.errors import UsageError

if TYPE_CHECKING:
    from shiva_cmb.ensemble import Bundle

app = typer.Typer(help="Look at, check, export, import and pack models.", no_args_is_help=True)

BundlePath = Annotated[Path, typer.Argument(help="A bundle's folder, its JSON, or a bundled model's name.")]


@app.command()
def info(path: BundlePath, model_dir: options.ModelDir = None, json: options.Json = False) -> None:
    """Show what a model is: folds, input, threshold, training."""
    bundle = _open(path, model_dir)
    if json:
        print_json(bundle.descriptor.model_dump(mode="json", by_alias=True))
        return
    for name, value in rows_of(bundle):
        print(f"{name:<17}{value}")


@app.command()
def verify(path: BundlePath, model_dir: options.ModelDir = None, json: options.Json = False) -> None:
    """Check that every fold is there and unchanged (md5 and sha256)."""
    from shiva_cmb.ensemble import verify_bundle

    bundle = _open(path, model_dir)
    with showing_steps("checking", json):
        checksums = verify_bundle(bundle, note=print_note)
    names = [entry.name for entry in bundle.descriptor.files]
    if json:
        print_json(
            [
                {"name": name, "md5": sums.md5, "sha256": sums.sha256}
                for name, sums in zip(names, checksums, strict=True)
            ]
        )
        return
    for name in names:
        print(f"ok  {name}")


@app.command()
def export(
    path: BundlePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to make.")],
    kind: Annotated[
        str, typer.Option("--format", help="savedmodel (for SHiVAi), float16, openvino or onnx.")
    ],
    model_dir: options.ModelDir = None,
    trust_model_code: options.TrustModelCode = False,
) -> None:
    """Write the folds in another format."""
    from typing import get_args

    from shiva_cmb.ensemble.exporting import ExportFormat, export_bundle

    if kind not in get_args(ExportFormat):
        raise UsageError(f"--format {kind}: expected one of {', '.join(get_args(ExportFormat))}")
    with showing_steps(f"exporting to {kind}"):
        folder = export_bundle(
            _open(path, model_dir),
            output,
            kind,  # type: ignore[arg-type]  # checked above
            trust_model_code=trust_model_code,
            note=print_note,
        )
    print(folder)


@app.command("import")
def import_(
    sources: Annotated[list[Path], typer.Argument(help="A zip, a model folder or JSON, or the fold files.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The bundle's folder, made new.")],
    descriptor: Annotated[
        Path | None, typer.Option(help="A model_info.json for a source that has none.")
    ] = None,
    grid: Annotated[str | None, typer.Option(help="Model grid in voxels, for example 160,214,176.")] = None,
    spacing_mm: Annotated[str | None, typer.Option("--spacing-mm", help="Voxel size of that grid.")] = None,
    preprocessing: Annotated[str | None, typer.Option(help="shiva_cmb or shivai.")] = None,
    scaling: Annotated[str | None, typer.Option(help="p99, shivai or zscore.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="Each input channel: swi, t2s, ...")] = None,
    averaging: Annotated[
        str | None, typer.Option(help="predict_one_file, shiva_predict or shiva_predict_multi.")
    ] = None,
    trust_model_code: options.TrustModelCode = False,
) -> None:
    """Make a bundle out of a packed model, a published one, or bare fold files.

    The options from --grid on replace what the model's description says. What is left out is taken from
    there, else from the fold files, else from the published SHIVA models.
    """
    from shiva_cmb.ensemble.importing import import_model

    changes = _described(grid, spacing_mm, preprocessing, scaling, modality, averaging)
    with showing_steps("importing"):
        bundle = import_model(
            sources,
            output,
            descriptor=descriptor,
            changes=changes,
            trust_model_code=trust_model_code,
            note=print_note,
        )
    print(bundle.folder)


@app.command()
def pack(
    path: BundlePath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The zip to write.")],
    model_dir: options.ModelDir = None,
) -> None:
    """Pack a model into a zip with checksums."""
    from shiva_cmb.ensemble.packing import pack_bundle

    with showing_steps("packing"):
        print(pack_bundle(_open(path, model_dir), output, note=print_note))


def _open(path: Path, model_dir: Path | None) -> "Bundle":
    from shiva_cmb.ensemble import named_model, open_bundle

    return open_bundle(named_model(path), model_dir, note=print_note)


def rows_of(bundle: "Bundle") -> list[tuple[str, str]]:
    """What a model is, as names and values."""
    descriptor, part = bundle.descriptor, bundle.part
    point = part.operating_point
    rows = [
        ("descriptor", str(bundle.descriptor_path)),
        ("target", descriptor.target),
        ("version", f"{descriptor.version} {descriptor.release_date}".strip()),
        ("author", descriptor.author),
        ("licence", part.licence),
        ("url", descriptor.url or ""),
        ("size", megabytes(bundle)),
        ("input", f"{_times(part.input.shape)} voxels of {_times(part.input.spacing_mm)} mm"),
        ("channels", ", ".join(part.channels)),
        ("preprocessing", f"{part.preprocessing}, scaling {part.scaling.scheme}"),
        ("averaging", part.averaging),
        ("threshold", f"{point.threshold}"),
        ("peak threshold", "" if point.peak_threshold is None else f"{point.peak_threshold}"),
        ("minimum volume", "" if point.min_volume_mm3 is None else f"{point.min_volume_mm3:g} mm3"),
    ]
    if part.architecture is not None:
        rows.append(("architecture", part.architecture.name))
    for entry, path in zip(descriptor.files, bundle.fold_paths, strict=True):
        rows.append(("fold", f"{entry.name}{'' if path.exists() else ' (missing)'}"))
    for name in ("cases", "patients", "bleeds"):
        if name in part.training:
            rows.append(("trained on", f"{part.training[name]} {name}"))
    rows += [("cross-validated", text) for text in _expected(part.metrics)]
    return [(name, value) for name, value in rows if value]


def _expected(metrics: Mapping[str, float | None]) -> Iterator[str]:
    """The figures of cases that the networks were not trained on, with their intervals."""
    for name in ("sensitivity", "precision", "f1", "fp_per_scan"):
        value, low, high = (metrics.get(key) for key in (name, f"{name}_low", f"{name}_high"))
        if value is not None:
            interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
            yield f"{name} {value:.2f}{interval}"


def megabytes(bundle: "Bundle") -> str:
    """The size of its folds."""
    from shiva_cmb.ensemble.bundle import size_bytes

    return f"{size_bytes(bundle) * 1e-6:.1f} MB"


def _times(values: tuple[Any, ...]) -> str:
    return " x ".join(f"{value:g}" for value in values)


def _described(
    grid: str | None,
    spacing_mm: str | None,
    preprocessing: str | None,
    scaling: str | None,
    modality: list[str] | None,
    averaging: str | None,
) -> dict[str, Any]:
    """The options that were given, in the structure of the descriptor's `shiva_cmb` part."""
    content: dict[str, Any] = {}
    if grid is not None:
        content.setdefault("input", {})["shape"] = values.three_counts(grid, "--grid")
    if spacing_mm is not None:
        content.setdefault("input", {})["spacing_mm"] = values.three(spacing_mm, "--spacing-mm")
    if preprocessing is not None:
        content["preprocessing"] = preprocessing
    if scaling is not None:
        content["scaling"] = {"scheme": scaling}
    if modality:
        content["channels"] = modality
    if averaging is not None:
        content["averaging"] = averaging
    return content
