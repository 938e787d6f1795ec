"""What each notebook has to record: bounds from both sides, and the parameters that make a test run short.

Add a notebook: a function that takes the recorded values and asserts, registered under the file's name.

    @expect("05_measure_memory")
    def measure_memory(v):
        between(v["nf4_gb"] / v["bf16_gb"], 0.2, 0.6)
        assert v["schemes"] == ["bf16", "nf4"]

Bounds hold for the embedded model on any CPU. They come from a measured value and its spread, never from hope; a test
scales the recorded numbers and wants to see every function fail. Put slow parts' parameters into SMALL.
"""

from collections.abc import Callable

EXPECT: dict[str, Callable[[dict], None]] = {}

# Parameters that make a notebook short without changing what is asserted; the pass with solutions uses SOLVED on top.
SMALL: dict[str, dict] = {}
SOLVED: dict[str, dict] = {}


def expect(name: str) -> Callable:
    """Register the decorated function as the expectations on notebook `name`."""

    def register(function: Callable[[dict], None]) -> Callable[[dict], None]:
        assert name not in EXPECT, f"{name} has its expectations already"
        EXPECT[name] = function
        return function

    return register


def between(value: float, low: float, high: float, what: str = "value") -> None:
    """Assert low <= value <= high, and say by how much it misses."""
    assert low < high, f"{what}: the bounds {low} and {high} leave nothing between them"
    assert low <= value <= high, f"{what} is {value:g}, outside {low:g} to {high:g}"


@expect("01_round_to_fewer_bits")
def round_to_fewer_bits(v):
    assert v["parameters"] == 7_241_732_096
    snr = {name: values for name, values in v["snr"].items() if "scale" in name}
    assert set(snr) == {f"a scale for each {group}" for group in ("tensor", "row", "64")}
    for name, values in snr.items():
        assert values == sorted(values)
        between((values[6] - values[2]) / 4, 5.9, 6.8, f"dB a bit, {name}")
    between(snr["a scale for each 64"][2], 18, 22, "SNR of 4 bits in blocks of 64")
    assert snr["a scale for each tensor"][2] < snr["a scale for each row"][2] < snr["a scale for each 64"][2]
    between(v["mean_error_in_sigma"][2], 0.085, 0.098, "mean error on normal values, block 64")
    assert v["mean_error_in_sigma"] == sorted(v["mean_error_in_sigma"])
    outlier = v["outlier_snr"]
    between(outlier["a scale for the tensor"], -0.5, 2, "SNR beside an outlier")
    between(outlier["a scale for each 64"], 17, 22, "SNR beside an outlier, blocks of 64")


@expect("02_build_nf4")
def build_nf4(v):
    assert v["layers"] == 42 and v["weights"] == 4_718_592
    assert v["level_error"] == 0
    assert {v["differing"][what] for what in ("bytes of codes", "absmax", "dequantized values")} == {0}
    lost = v["relative_mse_percent"]
    # mean ± 7σ of repeated draws, in test_nf4.py and test_formats.py; here four times as many values
    between(lost["normal"]["NF4"], 0.836, 0.856, "NF4 on normal values")
    between(lost["normal"]["FP4"], 1.47, 1.505, "FP4 on normal values")
    between(lost["normal"]["INT4 symmetric"], 1.137, 1.179, "INT4 on normal values")
    between(lost["normal"]["INT4 affine"], 0.793, 0.813, "affine INT4 on normal values")
    between(lost["normal"]["signed max"], 0.726, 0.75, "signed max on normal values")
    assert min(lost["heavy tails"], key=lost["heavy tails"].get) == "NF4"
    for errors in (lost["the model"], v["output_error_percent"]):
        assert errors["NF4"] < errors["INT4 symmetric"] < errors["FP4"]
    between(lost["the model"]["NF4"], 0.8, 0.95, "NF4 on the model")
    between(v["output_error_percent"]["NF4"], 4, 9.5, "NF4, error of outputs")
    between(v["kurtosis"]["heaviest"], 4, 20, "kurtosis")


@expect("03_quantize_the_constants")
def quantize_the_constants(v):
    assert v["blocks"] == 73_728
    assert v["differing"]["offsets"] == v["differing"]["second absmax"] == 0
    between(v["share_of_codes_differing"], 0.0012, 0.003, "share of codes that differ")
    between(v["farthest_from_midpoint_in_steps"], 0.2, 0.501, "distance to a midpoint")
    between(v["bits_per_weight"], 4.12695, 4.12696, "bits a weight")
    between(v["error_percent"]["NF4"], 0.8, 0.95, "error of NF4")
    between(
        v["error_percent"]["NF4 with double quantization"] / v["error_percent"]["NF4"], 1.0003, 1.004, "added error"
    )
    assert v["counted_bytes"] == v["mistral_7b_bytes"] == {"nf4": 4_450_703_360, "nf4-dq": 4_125_481_856}


@expect("04_load_a_model_in_4_bits")
def load_a_model_in_4_bits(v):
    options = v["options"]
    defaults, nf4, double, guide, bfloat16 = options.values()
    assert (defaults["type"], defaults["double quantization"], defaults["compute dtype"]) == ("fp4", False, "float32")
    assert [row["compute dtype"] for row in (nf4, double, guide, bfloat16)] == ["float32"] * 2 + ["float16", "bfloat16"]
    assert [row["bytes"] for row in options.values()] == [4_760_704] * 2 + [4_583_848] * 3
    assert {row["get_memory_footprint()"] for row in options.values()} == {4_463_232}
    assert v["reference"] == {"scheme": "bf16", "bytes": 11_540_992}
    # 18.5, 14.2, 14.2, 14.2, 14.2 on 512 tokens; other texts of the same length move them by about a point
    between(defaults["error of logits, %"], 14, 24, "FP4, error of logits")
    between(nf4["error of logits, %"], 10, 18, "NF4, error of logits")
    between(nf4["error of logits, %"] / defaults["error of logits, %"], 0.6, 0.9, "NF4 : FP4")
    for row in (double, guide, bfloat16):
        between(row["error of logits, %"] / nf4["error of logits, %"], 0.93, 1.07, "error beside NF4's")
    between(v["bits_of_information"]["fp4"], 3.5, 3.82, "bits of information, FP4")
    between(v["bits_of_information"]["nf4"], 3.85, 3.97, "bits of information, NF4")
    assert v["replaced"]["layers"] == 42
    between(v["replaced"]["share_of_parameters"], 0.81, 0.82, "share of parameters replaced")
    assert v["differing"] == {"codes": 0, "decoded weights": 0}
    assert v["reloaded"]["same_bytes"] is v["reloaded"]["same_logits"] is True
    between(v["reloaded"]["file_bytes"], 4_583_848, 4_700_000, "bytes of the saved files")
    said = v["answers"]
    assert "load_in_4bit" in said["from_pretrained(…, load_in_4bit=True)"] and "half" in said["model.half()"]
    assert "deprecated" in said["from_pretrained(…, torch_dtype=…)"] and "cast" in said["model.to(torch.float16)"]
    silent = ("BitsAndBytesConfig(load_in_4bit=True)", "model.to(model.device)", "model.get_memory_footprint()")
    assert {said[habit] for habit in silent} == {"nothing is said"}
