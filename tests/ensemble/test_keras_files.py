import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import pytest

from shiva_cmb.ensemble.foreign_code import find_foreign_code
from shiva_cmb.ensemble.keras_files import inspect_keras_file, refuse_foreign_code
from shiva_cmb.errors import ModelError
from tests.ensemble.legacy_models import save_mixed_precision, save_with_lambda

REPOSITORY = Path(__file__).parents[2]
INPUT = {"class_name": "InputLayer", "config": {"name": "image", "batch_shape": [None, 4, 4, 4, 1]}}


def model(*layers: object) -> dict[str, Any]:
    return {"class_name": "Functional", "config": {"name": "net", "layers": [INPUT, *layers]}}


def layer(class_name: str, **config: object) -> dict[str, Any]:
    return {"class_name": class_name, "config": {"name": "it", **config}, "module": "keras.layers"}


def write_h5(path: Path, config: object, version: str = "3.15.1") -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = version
        file.attrs["model_config"] = json.dumps(config)
    return path


def save_keras3(path: Path) -> None:
    import keras

    image = keras.Input((4, 4, 4, 1))
    x = keras.layers.Conv3D(2, 3, padding="same", activation="swish", kernel_regularizer="l2")(image)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.1, seed=1)(keras.ops.add(x, 1.0))
    x = keras.layers.Conv3D(1, 1, activation="sigmoid", dtype="float32")(x)
    inner = keras.Model(image, x)
    outer = keras.Sequential([keras.Input((4, 4, 4, 1)), inner, keras.layers.Activation("linear")])
    outer.compile("adam", loss=keras.losses.BinaryCrossentropy())
    outer.save(path)


@pytest.mark.parametrize(("suffix", "kind"), [("h5", "keras3-h5"), ("keras", "keras")])
def test_an_ordinary_keras_3_model_is_harmless(tmp_path: Path, suffix: str, kind: str) -> None:
    save_keras3(tmp_path / f"fold.{suffix}")
    file = refuse_foreign_code(tmp_path / f"fold.{suffix}", trust=False)
    assert (file.format, file.unsafe, file.mixed_float16) == (kind, (), False)
    assert file.input_shape == (None, 4, 4, 4, 1)
    assert file.keras_version.startswith("3.")
    assert not file.needs_tf_keras


@pytest.mark.parametrize(("suffix", "kind"), [("h5", "keras2-h5"), ("keras", "keras2-archive")])
def test_a_keras_2_model_with_mixed_precision_and_padding_is_harmless_but_needs_tf_keras(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    save_mixed_precision(tmp_path / f"fold.{suffix}")
    file = refuse_foreign_code(tmp_path / f"fold.{suffix}", trust=False)
    assert (file.format, file.mixed_float16, file.needs_tf_keras) == (kind, True, True)
    assert file.legacy_operations == ("compat.v1.pad",)
    assert file.input_shape == (None, 4, 4, 5, 1)


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_lambda_layer_in_a_nested_keras_2_model_is_named_and_does_not_run(
    tmp_path: Path, suffix: str
) -> None:
    path, trace = tmp_path / f"fold.{suffix}", tmp_path / "trace"
    save_with_lambda(path, trace)
    trace.unlink()  # it ran while the model was built
    with pytest.raises(ModelError, match=r"fold\.\w+ was not loaded.*'spy' \(Lambda: Python code"):
        refuse_foreign_code(path, trust=False)
    assert refuse_foreign_code(path, trust=True).unsafe
    assert not trace.exists()
    import tf_keras

    tf_keras.models.load_model(path, compile=False, safe_mode=False)
    assert trace.exists(), "the file was meant to be one that runs code when it is loaded"


def test_a_lambda_layer_of_keras_3_is_named(tmp_path: Path) -> None:
    import keras

    image = keras.Input((4, 4, 4, 1))
    keras.Model(image, keras.layers.Lambda(lambda t: t * 2, name="twice")(image)).save(
        tmp_path / "fold.keras"
    )
    with pytest.raises(ModelError, match=r"'twice' \(Lambda: Python code"):
        refuse_foreign_code(tmp_path / "fold.keras", trust=False)


def test_looking_imports_neither_keras_nor_what_the_file_names(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('evil was imported')")
    path = write_h5(tmp_path / "fold.h5", model({**layer("Evil"), "module": "evil"}))
    script = (
        "import sys; from shiva_cmb.ensemble.keras_files import inspect_keras_file\n"
        f"file = inspect_keras_file({str(path)!r})\n"
        "assert file.unsafe == (\"'it' (Evil: from the Python module 'evil')\",), file.unsafe\n"
        "assert not {'keras', 'tf_keras', 'tensorflow', 'evil'} & set(sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(tmp_path)])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "entry",
    [
        layer("Lambda", function=["4wEAAAA=", None, None], function_type="lambda"),
        layer("Lambda", function={"class_name": "__lambda__", "config": {"code": "4wEAAAA="}}),
        layer("Activation", activation={"class_name": "__lambda__", "config": {"value": "4wEAAAA="}}),
        layer("TimeDistributed", layer=layer("Lambda", function="f")),
        layer("mine>Lambda"),
        layer("TFSMLayer", filepath="/tmp/other"),
        layer("TorchModuleWrapper", module="pickled"),
        layer("TFOpLambda", function="io.write_file"),
        layer("TFOpLambda", function="py_function"),
        layer("TFOpLambda", function=["pad"]),
        {"class_name": "ClassMethod", "config": {"cls_symbol": "io.TFRecordWriter", "method_name": "write"}},
        layer("TensorFlowOpLayer", node_def="op: PyFunc"),
        layer("Activation", activation={"module": "os", "class_name": "function", "config": "system"}),
        layer(
            "Activation", activation={"module": "keras.utils", "class_name": "function", "config": "get_file"}
        ),
        layer("Activation", activation={"module": "keras", "class_name": "function", "config": "Model"}),
        layer("Activation", activation={"module": "builtins", "class_name": "eval", "config": {}}),
        {**layer("Conv3D"), "module": ["keras.layers"]},
        {**layer("Conv3D"), "module": "keras_evil.layers"},
    ],
    ids=lambda entry: entry["class_name"],
)
def test_doors_to_foreign_code_are_found_however_they_are_written(entry: dict[str, Any]) -> None:
    assert len(find_foreign_code(model(entry))) == 1
    nested = model({"class_name": "Sequential", "config": {"name": "inner", "layers": [entry]}})
    assert len(find_foreign_code(nested)) == 1


@pytest.mark.parametrize(
    "entry",
    [
        layer("TFOpLambda", function="math.add"),
        layer("SlicingOpLambda", function="__operators__.getitem"),
        {**layer("Add"), "module": "keras.src.ops.numpy", "registered_name": "Add"},
        {**layer("Functional"), "module": "tf_keras.src.engine.functional"},
        {**layer("Conv3D"), "module": None},
        layer(
            "Conv3D", dtype={"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
        ),
        layer("Conv3D", activation={"module": "builtins", "class_name": "function", "config": "relu"}),
        layer(
            "Activation", activation={"module": "keras.activations", "class_name": "LeakyReLU", "config": {}}
        ),
    ],
    ids=lambda entry: entry["class_name"],
)
def test_built_in_layers_are_harmless(entry: dict[str, Any]) -> None:
    assert find_foreign_code(model(entry)) == ()


def test_a_model_that_nests_without_end_is_looked_through() -> None:
    config: Any = layer("Lambda")
    for _ in range(20_000):
        config = {"layer": config}
    assert len(find_foreign_code(config)) == 1


def test_weights_kept_in_other_files_are_found(tmp_path: Path) -> None:
    path = write_h5(tmp_path / "fold.h5", model())
    with h5py.File(path, "a") as file:
        file["linked"] = h5py.ExternalLink("/etc/other.h5", "/data")
        file.create_group("g").create_dataset(
            "outside", (4,), "f4", external=[(str(tmp_path / "raw.bin"), 0, 16)]
        )
    assert len(inspect_keras_file(path).unsafe) == 2


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_a_truncated_file_is_refused_in_one_line(tmp_path: Path, suffix: str) -> None:
    save_keras3(tmp_path / f"fold.{suffix}")
    cut(tmp_path / f"fold.{suffix}")
    with pytest.raises(ModelError, match=r"fold\.\w+ is no readable .*cut short") as error:
        inspect_keras_file(tmp_path / f"fold.{suffix}")
    assert "\n" not in str(error.value)


def test_what_is_no_full_keras_model_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file["conv/kernel"] = [1.0]
    (tmp_path / "text.h5").write_text("hello")
    (tmp_path / "empty.h5").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.keras", "w") as archive:
        archive.writestr("readme", "hello")
    write_h5(tmp_path / "list.h5", [1])
    expected = {
        "weights.h5": "holds weights only",
        "text.h5": "no readable HDF5",
        "empty.h5": "no readable HDF5",
        "other.keras": "no Keras model",
        "list.h5": "no model configuration",
        "gone.h5": "does not exist",
        ".": "is a folder",
    }
    for name, message in expected.items():
        with pytest.raises(ModelError, match=message):
            inspect_keras_file(tmp_path / name)
