from collections import Counter
from dataclasses import fields, replace

import numpy as np
import pytest

from shiva_cmb.errors import UsageError
from shiva_cmb.synthesis.quick.protocol import Protocol, ProtocolSettings, draw_protocol

DEFAULTS = ProtocolSettings()
SHARES = [field.name for field in fields(ProtocolSettings) if field.name.endswith("_share")]
RANGES = ["in_plane_mm", "swi_slice_mm", "t2s_slice_mm", "signal_to_noise"]


def drawn(settings: ProtocolSettings = DEFAULTS, number: int = 150) -> list[Protocol]:
    return [draw_protocol(np.random.default_rng(seed), settings) for seed in range(number)]


def test_protocols_keep_to_the_settings_and_to_what_hospitals_do() -> None:
    for protocol in drawn():
        first, second, thickness = protocol.spacing_mm
        assert 0.5 <= first <= second <= 1.0
        low, high = DEFAULTS.swi_slice_mm if protocol.sequence == "swi" else DEFAULTS.t2s_slice_mm
        assert low <= thickness <= high
        assert 0.5 <= thickness / protocol.sub_slices <= 1.5
        assert protocol.field_t in (1.5, 3.0)
        assert 0.015 <= protocol.te_s <= 0.045
        assert 1000 * protocol.te_s < protocol.tr_ms
        assert 1 / 45 <= protocol.noise <= 1 / 11
        assert 0.05 <= protocol.bias <= 0.3
        assert 0.5 < protocol.kept_fraction <= 1
        np.testing.assert_allclose(protocol.rotation @ protocol.rotation.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(protocol.rotation) == pytest.approx(1)
        assert np.linalg.norm(protocol.b0_direction) == pytest.approx(1)
        assert protocol.b0_direction[2] > 0.7  # heads lie along the field


def test_the_shares_are_those_of_the_settings() -> None:
    found = drawn(number=600)
    count = Counter(protocol.sequence for protocol in found)
    assert count["swi"] / 600 == pytest.approx(0.55, abs=0.07)
    assert np.mean([protocol.field_t == 3 for protocol in found]) == pytest.approx(0.6, abs=0.07)
    assert np.mean([protocol.stripped for protocol in found]) == pytest.approx(0.15, abs=0.05)
    assert np.mean([max(protocol.part_mm) > 0 for protocol in found]) == pytest.approx(0.2, abs=0.06)
    assert np.mean([protocol.kept_fraction < 1 for protocol in found]) == pytest.approx(0.4, abs=0.07)
    assert np.mean([protocol.random_contrast for protocol in found]) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("share", [0, 1])
def test_a_share_of_none_or_all_is_kept_exactly(share: int) -> None:
    for protocol in drawn(replace(DEFAULTS, **dict.fromkeys(SHARES, share)), 30):
        assert protocol.sequence == ("swi" if share else "t2s")
        assert protocol.field_t == (3.0 if share else 1.5)
        assert protocol.stripped == protocol.random_contrast == bool(share)
        assert (max(protocol.part_mm) > 0) == (protocol.kept_fraction < 1) == bool(share)


def test_the_tilt_can_be_taken_away() -> None:
    for protocol in drawn(replace(DEFAULTS, max_tilt_degrees=0), 5):
        np.testing.assert_allclose(protocol.rotation, np.eye(3))
    assert max(np.abs(protocol.rotation - np.eye(3)).max() for protocol in drawn(number=20)) > 0.1


@pytest.mark.parametrize(
    ("name", "value"),
    [(name, value) for name in SHARES for value in (-0.1, 1.1)]
    + [(name, value) for name in RANGES for value in ((2.0, 1.0), (0.0, 1.0))]
    + [("bias", (-0.1, 0.2)), ("bias", (0.3, 0.2)), ("max_tilt_degrees", 91), ("largest_voxels", 10)],
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"^{name}: expected .* got "):
        ProtocolSettings(**{name: value})  # type: ignore[arg-type]
