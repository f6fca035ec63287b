"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    list[Path] | None,
    typer.Option(
        "-m",
        "--model",
        help="A bundle (folder or JSON), a bundled model's name, or a fold file; repeat it for every fold. "
        "Default: microbleeds, the bundled ensemble.",
    ),
]
ModelDir = Annotated[
    Path | None, typer.Option(help="Folder of the folds that a JSON names, if they do not lie beside it.")
]
TrustModelCode = Annotated[
    bool,
    typer.Option("--trust-model-code", help="Let Python code inside Keras files run. Only if you know it."),
]
Threshold = Annotated[
    float | None, typer.Option(help="Voxels above this probability are lesion. Default: the model's own.")
]
PeakThreshold = Annotated[
    float | None, typer.Option(help="Lesions must reach more than this somewhere. Default: the model's own.")
]
MinVolume = Annotated[
    float | None,
    typer.Option("--min-volume-mm3", help="Smaller lesions are dropped. Default: the model's own."),
]
Connectivity = Annotated[
    int | None, typer.Option(help="6, 18 or 26: which neighbours belong together. Default 26.")
]
RegionNames = Annotated[
    Path | None,
    typer.Option(
        help="Table with value, region and perhaps side: what the values of --regions mean. "
        "Default: FreeSurfer's and SynthSeg's labels."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
VolumeIndex = Annotated[
    int | None, typer.Option("--volume", help="Which volume of a file that holds several (echoes), from 0.")
]
