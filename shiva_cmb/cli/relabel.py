"""`shiva-cmb relabel`: other criteria on a saved probability map."""

from pathlib import Path
from typing import Annotated

import typer

from shiva_cmb.cli import options, values
from shiva_cmb.cli.screen import print_json, print_note, showing_steps
from shiva_cmb.files import require_can_hold_results


def relabel(
    probability: Annotated[Path, typer.Argument(help="NAME_prob.nii.gz of an earlier prediction.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Another folder for the results; made if missing.")
    ],
    threshold: options.Threshold = None,
    peak_threshold: options.PeakThreshold = None,
    min_volume_mm3: options.MinVolume = None,
    connectivity: options.Connectivity = None,
    image: Annotated[
        Path | None, typer.Option("-i", "--image", help="The scan, to measure contrast.")
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option("-b", "--mask", "--brainmask", help="Brain mask, to drop what lies outside."),
    ] = None,
    regions: Annotated[
        Path | None,
        typer.Option(
            "--regions",
            help="Map of regions, such as FreeSurfer's or SynthSeg's. Default: region and side as the "
            "prediction's own table beside the map has them at the same place.",
        ),
    ] = None,
    region_names: options.RegionNames = None,
    json: options.Json = False,
) -> None:
    """Find lesions again in a probability map, by other thresholds, without the network.

    What is not given is as in NAME_provenance.json beside the map. Writes NAME_labels.nii.gz,
    NAME_lesions.tsv and NAME_provenance.json.
    """
    from shiva_cmb.anatomy.regions import read_region_names
    from shiva_cmb.prediction import criteria_beside, save_relabelled
    from shiva_cmb.prediction import relabel as run

    require_can_hold_results(output)
    criteria = values.changed_criteria(
        criteria_beside(probability),
        threshold=threshold,
        peak_threshold=peak_threshold,
        min_volume_mm3=min_volume_mm3,
        connectivity=connectivity,
    )
    names = None if region_names is None else read_region_names(region_names)
    inputs = {"image": image, "mask": mask, "regions": regions}
    with showing_steps(probability.name, json):
        found = run(probability, criteria, **inputs, region_names=names, note=print_note)
        others = {kind: path for kind, path in inputs.items() if path is not None}
        written = save_relabelled(found, probability, criteria, output, others)
    if json:
        files = {kind: str(path) for kind, path in written.items()}
        print_json({"lesions": len(found.table), "table": found.table.as_records(), "files": files})
    else:
        print(f"{probability.name}: {len(found.table)} lesions -> {written['lesions']}")
