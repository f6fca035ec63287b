"""OpenVINO without its usage statistics; import it from here and nowhere else.

`import openvino` alone tells Google Analytics about it, without asking, and keeps an identifier in
`~/intel`, where the package `openvino_telemetry` is there (its wheel requires it) and the user has not run
`opt_in_out --opt_out`. That command tells of the refusal too, and is the user's to run, as it holds for every
program. OpenVINO does nothing of the kind where the package is missing, so it is hidden while OpenVINO is
imported.
"""

import sys

_TELEMETRY = "openvino_telemetry"

_there = sys.modules.get(_TELEMETRY)
sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # Python's own way to say that it cannot be imported
try:
    import openvino
finally:
    del sys.modules[_TELEMETRY]
    if _there is not None:
        sys.modules[_TELEMETRY] = _there

__all__ = ["openvino"]
