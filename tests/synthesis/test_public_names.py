import subprocess
import sys

from shiva_cmb import synthesis


def test_every_public_name_is_there() -> None:
    assert sorted(synthesis._HOMES) == synthesis.__all__
    for name in synthesis.__all__:
        assert getattr(synthesis, name).__name__ == name
    assert not hasattr(synthesis, "make_head")


def test_importing_the_room_brings_no_heavy_library() -> None:
    code = "import sys, shiva_cmb.synthesis; print({'scipy', 'keras', 'nibabel'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
