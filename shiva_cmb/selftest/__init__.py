"""How many bleeds of which size a model finds on a user's own scan: implanted ones, since those are known."""

from shiva_cmb.selftest.result import ImplantedBleed, SelfTest, SelfTestSettings, Sensitivity
from shiva_cmb.selftest.run import run_selftest

__all__ = ["ImplantedBleed", "SelfTest", "SelfTestSettings", "Sensitivity", "run_selftest"]
