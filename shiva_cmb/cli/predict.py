"""`shiva-cmb predict`: native images in, lesions out."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shiva_cmb.cli import options, values
from shiva_cmb.cli.screen import print_json, print_note, showing_steps
from shiva_cmb.errors import NOT_CLINICAL, OutputError, UsageError
from shiva_cmb.files import require_can_hold_results

if TYPE_CHECKING:
    from shiva_cmb.ensemble import Ensemble
    from shiva_cmb.prediction import Prediction, PredictionSettings


def predict(
    images: Annotated[list[Path], typer.Argument(help="NIfTI images, as they come from the scanner.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results; made if missing.")],
    model: options.Model = None,
    mask: Annotated[
        list[Path] | None,
        typer.Option("-b", "--mask", "--brainmask", help="Brain mask; repeat it, one for each image."),
    ] = None,
    regions: Annotated[
        list[Path] | None,
        typer.Option(
            "--regions",
            help="Map of regions, such as FreeSurfer's or SynthSeg's; repeat it, one for each image. "
            "Default: coarse ones by the anatomy network.",
        ),
    ] = None,
    region_names: options.RegionNames = None,
    extra_channel: Annotated[
        list[Path] | None,
        typer.Option("--channel", help="Further channel of the one image, in the model's order."),
    ] = None,
    model_dir: options.ModelDir = None,
    threshold: options.Threshold = None,
    peak_threshold: options.PeakThreshold = None,
    min_volume_mm3: options.MinVolume = None,
    connectivity: options.Connectivity = None,
    preprocessing: Annotated[
        str | None,
        typer.Option(help="shiva_cmb or shivai (as the SHiVAi pipeline). Default: the model's own."),
    ] = None,
    scaling: Annotated[
        str | None, typer.Option(help="p99, shivai or zscore. Default: the model's own.")
    ] = None,
    averaging: Annotated[
        str | None,
        typer.Option(
            help="predict_one_file, shiva_predict or shiva_predict_multi. Default: the model's own."
        ),
    ] = None,
    volume: options.VolumeIndex = None,
    model_space: Annotated[
        bool, typer.Option("--model-space", help="Also write image, map and labels on the model grid.")
    ] = False,
    spread: Annotated[
        bool, typer.Option("--spread", help="Also write the folds' standard deviation and agreement.")
    ] = False,
    anatomy: Annotated[
        bool, typer.Option("--anatomy", help="Also write brain mask, regions, and where lesions could be.")
    ] = False,
    engine: Annotated[str, typer.Option(help="auto, openvino or keras.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, f32 or bf16.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Processor threads. Default: all.")] = None,
    gpu: Annotated[int | None, typer.Option("-g", "--gpu", help="Which GPU; -1: none.")] = None,
    trust_model_code: options.TrustModelCode = False,
    json: options.Json = False,
) -> None:
    """Find microbleeds in native images.

    For each NAME.nii.gz: NAME_prob.nii.gz, NAME_labels.nii.gz, NAME_lesions.tsv and NAME_provenance.json, all
    in the image's own space. A failed image does not stop the others. Not for clinical use.
    """
    masks = _one_each(images, mask or [], "masks", "-b")
    maps = _one_each(images, regions or [], "maps of regions", "--regions")
    channels = extra_channel or []
    if channels and len(images) > 1:
        raise UsageError("--channel goes with one image only: run several images one by one")
    names = _output_names(images)
    require_can_hold_results(output)

    from shiva_cmb.anatomy.regions import read_region_names
    from shiva_cmb.ensemble import EngineOptions, load_ensemble

    values_of_regions = None if region_names is None else read_region_names(region_names)
    engine_options = EngineOptions(
        engine=_choice("engine", engine, ("auto", "openvino", "keras")),
        precision=_choice("precision", precision, ("auto", "f32", "bf16")),
        threads=threads,
        gpu=gpu,
        trust_model_code=trust_model_code,
    )
    with showing_steps("loading the model", json):
        ensemble = load_ensemble(model, model_dir=model_dir, options=engine_options, note=print_note)
    criteria = values.changed_criteria(
        ensemble.part.lesion_criteria(),
        threshold=threshold,
        peak_threshold=peak_threshold,
        min_volume_mm3=min_volume_mm3,
        connectivity=connectivity,
    )
    settings = _settings(ensemble, criteria, preprocessing, scaling, averaging, volume)
    settings = replace(settings, region_names=values_of_regions)
    written = {"model_space": model_space, "spread": spread, "anatomy": anatomy}

    results, failures = [], []
    for image, brain, map_of_regions, name in zip(images, masks, maps, names, strict=True):
        inputs = {"mask": brain, "regions": map_of_regions}
        try:
            with showing_steps(image.name, json) as on_step:
                summary = _predict_one(
                    [image, *channels], inputs, ensemble, settings, on_step, (output, name), written
                )
        except Exception as error:  # whatever it is, the other images are not to blame
            if len(images) == 1 and not json:
                raise
            print_note(f"{image} failed: {error}")
            failures.append({"image": str(image), "error": str(error)})
            continue
        results.append(summary)
        if not json:
            print(summary["line"])
    if json:
        print_json({"results": results, "failures": failures, "notice": NOT_CLINICAL})
    if failures:
        raise OutputError(f"{len(failures)} of {len(images)} images failed; see the notes above")


def _predict_one(
    channels: list[Path],
    inputs: dict[str, Path | None],
    ensemble: "Ensemble",
    settings: "PredictionSettings",
    on_step: Any,
    output: tuple[Path, str],
    also: dict[str, bool],
) -> dict[str, Any]:
    from shiva_cmb.prediction import predict as run

    result = run(channels, model=ensemble, **inputs, settings=settings, on_step=on_step, note=print_note)
    on_step("writing")
    folder, name = output
    written = result.save(folder, name, **also)
    return _summary(channels[0], result, written)


def _summary(image: Path, result: "Prediction", written: dict[str, Path]) -> dict[str, Any]:
    count = len(result.lesions)
    flags = Counter(lesion.size_flag for lesion in result.lesions)
    sizes = ", ".join(f"{number} of {flag}" for flag, number in sorted(flags.items()))
    line = f"{image.name}: {count} microbleed{'s' * (count != 1)}{f' ({sizes})' if sizes else ''}"
    return {
        "image": str(image),
        "lesions": count,
        "table": result.lesions.as_records(),
        "files": {kind: str(path) for kind, path in written.items()},
        "notes": list(result.notes),
        "line": f"{line} -> {written['lesions']}",
    }


def _settings(
    ensemble: "Ensemble",
    criteria: Any,
    preprocessing: str | None,
    scaling: str | None,
    averaging: str | None,
    volume: int | None,
) -> "PredictionSettings":
    from shiva_cmb.ensemble import AVERAGING
    from shiva_cmb.prediction import PredictionSettings

    prepared = ensemble.part.preprocessing_settings()
    if preprocessing is not None:
        prepared = replace(prepared, preset=_choice("preprocessing", preprocessing, ("shiva_cmb", "shivai")))
    if scaling is not None:
        scheme = _choice("scaling", scaling, ("p99", "shivai", "zscore"))
        prepared = replace(prepared, scaling=replace(prepared.scaling, scheme=scheme))
    chosen = None if averaging is None else _choice("averaging", averaging, tuple(AVERAGING))
    return PredictionSettings(criteria, prepared, chosen, volume)


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> Any:
    if value not in allowed:
        raise UsageError(f"--{name} {value}: expected one of {', '.join(allowed)}")
    return value


def _one_each(images: list[Path], files: list[Path], what: str, flag: str) -> list[Path | None]:
    if files and len(files) != len(images):
        raise UsageError(
            f"{len(images)} images but {len(files)} {what} were given: "
            f"name one {flag} for each image, or none"
        )
    return list(files) if files else [None] * len(images)


def _output_names(images: list[Path]) -> list[str]:
    from shiva_cmb.prediction import image_name

    names = [image_name(image) for image in images]
    twice = [name for name, number in Counter(names).items() if number > 1]
    if twice:
        raise UsageError(f"several images are called {twice[0]}: their results would overwrite each other")
    return names
