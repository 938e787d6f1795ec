"""Drawings: what cannot be read on one is found, numbers come from the caller, and each says what it shows."""

import base64
import io
from types import SimpleNamespace

import nbformat
import pytest
import torch
from PIL import Image, ImageChops, ImageStat

from helpers import draw, memory, nf4, run
from helpers.draw import canvas, course

EIGHT = torch.tensor([0.31, -0.80, 0.02, 0.50, -0.11, 0.07, -0.45, 0.23])
LEVELS = nf4.nf4_code()
CODES = torch.tensor([11, 0, 7, 13, 6, 8, 2, 10])
LAYERS = {"q": (256, 256), "k": (128, 256), "v": (128, 256), "o": (256, 256), "up": (768, 256)}
SIZES = [5, -4] * 20 + [6, -7] * 20  # what comes and goes in a step of 20 blocks; the turn is in the middle
TIMELINE = memory.activations.Timeline(tuple(int(1e8) * n for n in SIZES), ("activations",) * 80, 40)
STEP = SimpleNamespace(timeline=TIMELINE, allocator_bytes=TIMELINE.peak + 4_000_000_000)
MORE = SimpleNamespace(timeline=TIMELINE, allocator_bytes=TIMELINE.peak + 50_000_000_000)
DRAWINGS = {
    "bell_in_slices": (16,),
    "bit_fields": (
        [("FP16", "0", "01011", "1001100110", "0.0999755859"), ("BF16", "0", "01111011", "1001101", "0.1")],
    ),
    "bits_of_formats": ({"NF4": (0.5, "absmax of 32 bits per 64"), "INT4": (0.25, "16 bits per 64")},),
    "block_by_hand": (EIGHT, 0.8, CODES, LEVELS, CODES[::2] << 4 | CODES[1::2]),
    "border": (LEVELS, 0.3875),
    "arrow_and_rest": (torch.full((8,), 0.01), torch.tensor([0, 0, 0, 0, 0.08, 0, 0, 0])),
    "along_and_rest": ({"A": (0.2, 0.66), "B": (1.0, 0.06), "D": (1.0, 3.1), "E": (0.93, 120.0)},),
    "absmax_by_hand": (EIGHT.abs(), 0.3, 0.5, CODES, LEVELS),
    "bytes_per_number": ((0.524, 0.262), (0.524, 0.262)),
    "bytes_of_a_block": ({"codes alone": (4, 0), "double quantization": (4, 0.127)},),
    "bytes_of_a_model": (
        {
            "NF4": {"codes": 3_489_660_928, "absmax": 436_207_616, "embeddings and head": 524_288_000, "norms": 9},
            "with double quantization": {"codes": 3_489_660_928, "absmax": 109_051_904, "embeddings and head": 5e8},
        },
    ),
    "cache_grid": (32,),
    "changed_answers": ([True] * 15 + [False] * 5, [True] * 8 + [False] * 7 + [True] + [False] * 4),
    "checkpointing": (6,),
    "claim_to_verdict": ("“saves\n75%”", {"what": "bytes", "what counts as true": "68% to 83%"}, "71.5%", "true"),
    "guide_page": ({"size": [("Reduces memory by ~75%", True), ("4 bits " * 20, False)], "speed": [("2-3x", True)]},),
    "errors_at_right_angles": ({"by hand": (4, 3), "float16": (100, 0.58)},),
    "errors_that_count": ("Finer where it counts", [0.31, 0.53], [0.6, 0.6], [10, 1], [2, 1]),
    "eight_updates": (LEVELS, 0.8, EIGHT, torch.tensor([0.01, 0, -0.01, 0.01, -0.01, 0, 0.01, -0.01])),
    "five_merges": ({"A": 0.0, "B": 0.8, "D": 1.0}, 0.8),
    "coin_tosses": (7, 1),
    "eight_to_codes": (EIGHT, (EIGHT / 0.8 * 7).round(), 0.8 / 7),
    "floats_on_a_ruler": ({"INT4": torch.arange(8.0), "FP8 E4M3": torch.linspace(0, 8, 40)}, 8),
    "follow_a_byte": (176, LEVELS.tolist(), 0.8),
    "fork": (
        {"16 bits": ["Oslo", ".", " Norway", " counts"], "4 bits": ["Oslo", ".", " Nor", "wegian"]},
        2,
        {"16 bits": [(" Norway", 0.41), (" Nor", 0.39), ("The", 0.1)], "4 bits": [(" Nor", 0.4), (" Norway", 0.38)]},
    ),
    "gradient_moves": ([("1 no upcast", 0.06), ("2 loss in pieces", 0.002), ("4 Liger kernels", 0.045)],),
    "half_bell": (7,),
    "hill_over_levels": (
        torch.linspace(-1, 1, 99) ** 3,
        {"dynamic": LEVELS.abs().sort().values, "INT8": torch.arange(128) / 127},
    ),
    "inside_a_file": ([("head", "“GGUF”", 24), ("the tensors", "57 of them", 23_000_000)],),
    "inside_a_layer": (256, 256, 32768, 2132),
    "kl_terms": (
        ["8", "4", "3", "7", "Ġplaying", "the rest"],
        [0.967, 0.015, 0.012, 0.004, 0.001, 0.001],
        [0.046, 0.192, 0.76, 0.001, 0.0005, 0.0005],
        [2.95, -0.04, -0.05, 0.01, 0.0, 0.0],
        ("bf16", "nf4-dq"),
        (canvas.SKY, canvas.RED),
    ),
    "last_slice": (16,),
    "launches": ([("1 × 512 tokens", 0.52, 0.12), ("4 × 2,048 tokens", 0.77, 0.72)],),
    "logits_in_pieces": (8192, 32_000, 1024, 3.15, 0.33),
    "mountain": ({"all kept": MORE, "with checkpointing": STEP}, 80),
    "offloading": (),
    "packing": ([40, 310, 95, 512, 60, 180, 75, 240], [[3], [1, 5], [7, 2, 6, 4, 0]], 512),
    "parts_of_a_step": (STEP,),
    "peaks": ({"0 standard": STEP, "1 no upcast": STEP, "2 in pieces": STEP, "5 offloading": STEP},),
    "staircase": (
        [
            {"number": i, "name": "a", "label": "a\nlever", "gb": 9 - i, "speed": 100 + i, "by process": [99, 120]}
            for i in range(8)
        ],
        {"name": "Unsloth", "gb": 5, "speed": 103},
        "Both fall",
    ),
    "trips": (
        {
            "peft": [("W·x", True, 98_000, 66_000), ("A·x", False, 82_000, 4_000), ("add", True, 131_000, 66_000)],
            "fused": [("+ W·x", True, 164_000, 66_000)],
        },
    ),
    "learned_tokens": (["<s>", "[INST]", "a", "b", "[/INST]", "1", "</s>"], [False] * 5 + [True] * 2),
    "less_to_carry": ({"16 bits": 33.55, "4 bits": 8.66},),
    "levels_in_use": (
        torch.tensor([-0.31, 0.02, 0.9]),
        {"absmax": torch.arange(-7, 8) * 0.9 / 7, "affine": -0.31 + torch.arange(16) * 1.21 / 15},
    ),
    "levels_under_bell": (torch.linspace(0.15, 1.85, 8), -torch.linspace(0.17, 1.85, 7)),
    "life_of_memory": (
        {
            "load": {"weights": 4.13, "one matrix in 16 bits": 0.12, "CUDA context": 0.5},
            "read\n2,048 tokens": {"weights": 4.13, "KV cache": 0.27, "activations": 0.3, "CUDA context": 0.5},
            "train": {"weights": 4.65, "activations": 0.9, "adapters and optimizer": 0.3, "CUDA context": 0.5},
        },
    ),
    "lora_layer": (16,),
    "matrices_to_scale": (32, 4096, 14336, 4096, 1024, 32000),
    "moved_levels": (EIGHT, {"from end to end": torch.linspace(-0.8, 0.5, 4), "moved": torch.linspace(-0.84, 0.46, 4)}),
    "nearest_level": (0.31, 0.80),
    "no_level_at_zero": ({"absmax": torch.arange(-7, 8) * 50 / 7, "affine": -5 + torch.arange(16) * 55 / 15}, 50),
    "on_a_ruler": (torch.linspace(-1, 1, 64) ** 3, range(-7, 8)),
    "outlier": (50,),
    "pass_it_on": (9, 4),
    "snaps_back": (LEVELS, 0.8, 0.2703, 0.01),
    "sum_of_matrices": (LEVELS[:8].view(2, 4), torch.full((2, 4), -0.01)),
    "scoreboard": (
        {
            "size": [("FP32 is 16 GB,\nFP16 8 GB", "false"), ("2–4 GB", "not measured")] * 3,
            "speed": [("2–3x", "open*")],
        },
        "small models alone",
    ),
    "small_and_large": (4096, 4096, 16),
    "guide_and_measured": (
        {
            "Mini-Mistral, here": {1: 0.5, 64: 0.9},
            "recorded GPU, bitsandbytes": {1: 1.26, 64: 0.59},
            "recorded GPU, notebook 11's kernel": {1: 2.45, 64: 1.0},
        },
        ["recorded GPU, bitsandbytes", "recorded GPU, notebook 11's kernel"],
    ),
    "roofline": (
        "Measured above the roof",
        {"16 bits": lambda n: 4.9 + 0.001 * n, "4 bits": lambda n: 1.3 + 0.001 * n},
        0.031,
        {
            "16 bits, all kernels": {1: 8.6, 4: 9.0, 64: 13.5},
            "4 bits, all kernels (bitsandbytes)": {1: 6.8, 4: 12.3, 64: 22.9},
            "16 bits, few kernels": {1: 5.8, 64: 7.9},
            "4 bits, few kernels (notebook 11's)": {1: 2.4, 4: 2.7, 64: 7.9},
        },
    ),
    "step_parts": (
        "4 bits: 1.3 ms to read",
        {"from Python": (1.3, 2.8, 3.1, 25.4), "replayed": (1.3, 2.8, 3.1), "few kernels: 263": (1.3, 0.9, 0.1)},
        "No step in 4 bits can end before its 3.9 GB are read: 1.3 ms",
    ),
    "step_timelines": (
        "One token: many orders",
        [("generate", 54.6), ("the same, replayed", 7.3), ("few", 4.8), ("ours", 2.4)],
    ),
    "prefill_and_decode": (EIGHT.view(2, 4), torch.tensor([[1.0, 0, 2, 1], [0, 1, 1, 0], [2, 0, 0, 1]])),
    "rotation_pairs": (8,),
    "rulers_of_formats": ({"NF4": LEVELS, "INT4": torch.arange(-7, 8) / 7}, (0.05, 0.9)),
    "scored_options": (
        "Question: Which language has official status in Guinea?\nAnswer:",
        [[("ĠK", 0.1), ("ab", 0), ("ul", 0)], [("ĠRome", 23.7)], [("ĠL", 4), ("j", 4), ("ana", 5)], [("Ġ$中", 9)]],
        0,
    ),
    "sliding_windows": ([([1, 2, 3, 4], 1), ([3, 4, 5, 6], 2), ([5, 6, 7, 8], 2)],),
    "storeys": (64, 256),
    "superblock": (),
    "two_clocks": (),
    "surprise": (["G", "ilda", "Ġworks", "Ġas", "Ġa", "Ċ", "Ġd", "ent", "ist", "."] * 4, [3.5, 2.8, 3.2, 0.6, 0] * 8),
    "way_out": (),
    "weight_in_bits": (7_241_732_096, {"FP32": 28}),
    "what_is_replaced": (LAYERS, 6, (2048, 256)),
    "what_ranks_can_do": ((1, 2, 4),),
    "who_shares_a_scale": (4, 16, 4),
    # notebooks 11 and 15
    "amdahl": (0.8, 3),
    "bank_queues": ([176, 125, 104, 42, 9, 61, 200, 136, 17, 7, 87, 3],),
    "byte_permute": ([3, 0, 7, 5],),
    "columns_in_another_order": (),
    "few_kernels": (1566, 263, 32),
    "inside_a_multiprocessor": (),
    "kernel_tile": (2, 128),
    "loads_for_eight": (
        {"our first kernel": {"x": 0.5, "codes": 0.5, "absmax": 0.5, "levels": 1.0}, "the second": {"codes": 0.125}},
    ),
    "more_rows": (32,),
    "moves_between_threads": (),
    "pair_of_a_byte": (176, LEVELS.tolist(), LEVELS.bfloat16().view(torch.int16).tolist()),
    "renumbered_columns": (),
    "road_of_weights": (132, 3.03e12),
    "slots_of_two_blocks": (),
    "work_for_a_byte": (176, LEVELS.tolist()),
    # notebook 16
    "cards_needed": (
        {"7B": {8: 1, 24: 1}, "70B": {8: "host", 24: None}},
        [("70B", 8)],
        "A larger card or more of them",
    ),
    "per_gpu": (
        [
            {"way": way, "per GPU": batch, "times one GPU": value}
            for way, batch, value in (("DDP", "1 × 2048", 1.02), ("FSDP", "1 × 2048", 0.66), ("FSDP", "8 × 2048", 0.96))
        ],
        "A full GPU hardly waits",
        "8 × 2048",
        {"1 × 2048": 0.55},
    ),
    "several_gpus": (),
    "step_of_a_gpu": ("The slower sets the pace", {"1 text": (164, 815), "8 texts": (1311, 1365)}),
    "passes_of_a_gpu": (),
    "share_of_a_card": (
        {
            "one card": {"codes": 34.2, "constants": 1.1, "adapters, gradients, optimizer": 3.3},
            "each of two": {"codes": 17.1, "constants": 1.1, "whole for a moment": 1.4},
        },
        25.8,
        "A 70B",
    ),
    "zone": (
        {"4 bits: perplexity, %": (2.9, 2.4, 3.5), "a long name of a row": (0.3,), "far": (23.8, 20, 27)},
        (float("-inf"), 0.5),
        ["false", "true", "false"],
        "loss, with a 95% interval (margin: 0.5)",
        "{:.3g}",
        (-1, 5),
        (0, 1, 2, 3),
    ),
}


@pytest.fixture
def shown(monkeypatch):
    """What was displayed: pairs of data and metadata."""
    seen = []
    monkeypatch.setattr(canvas, "display", lambda data, metadata=None, raw=None: seen.append((data, metadata)))
    return seen


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_can_be_read_and_says_what_it_shows(shown, name):
    getattr(draw, name)(*DRAWINGS[name])
    ((data, metadata),) = shown
    image = metadata["image/png"]
    assert image["faults"] == [] and len(image["alt"]) > 40 and data["text/plain"] == image["alt"]
    assert image["width"] <= 800


def test_a_legend_of_many_parts_fits(shown):
    parts = dict.fromkeys(["4-bit weights", "adapters", "gradients", "optimizer", "activations", "the rest"], 1e9)
    draw.bytes_of_a_model({"QLoRA": parts})
    assert shown[0][1]["image/png"]["faults"] == []


def test_every_drawing_of_the_package_is_tried_here():
    charts = {
        "absmax_hill",
        "before_and_after",
        "changes_with_intervals",
        "contest",
        "crossings",
        "effect_of_options",
        "error_against_bits",
        "layers_and_bell",
        "loss_along_a_text",
        "outputs_and_rise",
    }
    charts |= {"damage", "kl_along_a_text", "luck_by_changes", "on_two_models"}  # 07
    charts |= {"perplexity_by_window", "resampled"}
    charts |= {"schemes_and_cards", "use_of_codes"}  # through notebooks, whose outputs are looked at
    assert set(draw.__all__) - {"KINDS", "course_map", "faults", "finish"} == set(DRAWINGS) | charts


@pytest.mark.parametrize(
    "start, update, goes",
    [
        (0.2703, 0.01, "goes back"),
        (0.2703, 0.05, "crosses"),
        (0.2703, -0.03, "goes back"),
        (0.2703, -0.05, "crosses"),
        (0.31, 0.01, "crosses"),
    ],
)
def test_an_update_snaps_back_or_crosses_a_border(shown, start, update, goes):
    draw.snaps_back(LEVELS, 0.8, start, update)
    image = shown[0][1]["image/png"]
    assert image["faults"] == [] and goes in image["alt"]


def test_an_outermost_level_has_no_two_neighbors():
    with pytest.raises(ValueError, match="inner level"):
        draw.snaps_back(LEVELS, 0.8, -0.8, 0.05)


def test_eight_updates_are_counted_from_both_starts(shown):
    assert draw.eight_updates(*DRAWINGS["eight_updates"]) == [0, 2]


def test_five_merges_can_be_read_before_and_after(shown):
    draw.five_merges()
    draw.five_merges({"A": 0.0}, 0.0)
    draw.five_merges(dict.fromkeys("ABCDE", 1.0), 1.0)
    assert all(metadata["image/png"]["faults"] == [] for _, metadata in shown)
    assert "Exact answers" not in shown[0][1]["image/png"]["alt"] and "A 0%" in shown[1][1]["image/png"]["alt"]


def page():
    return canvas.canvas(2.0)


def test_text_that_is_cut_off_overlaps_or_is_too_small_is_found():
    ax = page()
    canvas.say(ax, 20, 10, "alone")
    assert canvas.faults(ax.figure) == []
    canvas.say(ax, 21, 10, "on it")
    assert canvas.faults(ax.figure) == ["“alone” lies on “on it”"]
    ax = page()
    canvas.say(ax, 75, 10, "beyond the edge")
    assert canvas.faults(ax.figure) == ["“beyond the edge” is cut off"]
    ax = page()
    canvas.say(ax, 20, 10, "tiny", size=10.1)
    assert canvas.faults(ax.figure) == ["“tiny” is 8.9 points"]
    ax = page()
    canvas.box(ax, 20, 5, 4, 4, "too long for it")
    assert canvas.faults(ax.figure) == ["“too long for it” leaves its box"]
    canvas.plt.close("all")


def test_a_drawing_needs_a_sentence():
    with pytest.raises(ValueError, match="cannot see it"):
        canvas.finish(page(), " ")
    canvas.plt.close("all")


def test_drawings_show_the_numbers_they_are_given(shown):
    counts = draw.on_a_ruler(torch.tensor([-1.0, 0.0, 0.01, 0.99, 1.0]), range(-7, 8))
    assert counts == [1] + [0] * 6 + [2] + [0] * 6 + [2]
    draw.block_by_hand(EIGHT, 0.8, CODES, LEVELS, torch.tensor([176, 125, 104, 42]))
    assert "176, 125, 104, 42" in shown[-1][1]["image/png"]["alt"]
    draw.rulers_of_formats({"NF4": LEVELS}, [0.05])
    draw.border(LEVELS, 0.3875)
    assert "0.3893" in shown[-1][1]["image/png"]["alt"] and "lower level" in shown[-1][1]["image/png"]["alt"]
    draw.border(LEVELS, 0.39)
    assert "upper level" in shown[-1][1]["image/png"]["alt"]
    draw.nearest_level(0.31, 0.80)
    assert "255 ticks" in (alt := shown[-1][1]["image/png"]["alt"]) and "0.3087" in alt and "0.3429" in alt
    draw.follow_a_byte(0b1111_0111, LEVELS.tolist(), 0.5)
    assert "weight 0.500" in (alt := shown[-1][1]["image/png"]["alt"]) and "weight 0.000" in alt
    draw.half_bell(7)
    assert "-1.83σ, leaves 1/30" in shown[-1][1]["image/png"]["alt"]
    # what absmax rounds these to is −2 … 7 of −7 … 7: five levels are idle; affine's are all in use
    draw.levels_in_use(torch.tensor([-0.31, 0.02, 0.9]), {"absmax": torch.arange(-7, 8) * 0.9 / 7})
    assert "5 of them idle" in shown[-1][1]["image/png"]["alt"]
    draw.bank_queues([5, 37, 69, 5] + [1] * 28)  # 37 and 69 wait for 5, and the second 5 doesn't
    assert "up to 3 lanes ask one bank" in shown[-1][1]["image/png"]["alt"]
    draw.amdahl(0.8, 3)
    assert "47 in all" in shown[-1][1]["image/png"]["alt"]
    draw.loads_for_eight({"by_permute": {"codes": 1 / 8, "moves": 9 / 4}, "finished": {"x": 1 / 16}})
    assert "by_permute: codes 1; by_permute: moves 18; finished: x 0.5" in shown[-1][1]["image/png"]["alt"]
    draw.bytes_of_a_block({"in blocks of 8": (4, 4)})
    assert "in blocks of 8, 8 bits, saves 50.0%" in shown[-1][1]["image/png"]["alt"]
    draw.errors_at_right_angles({"by hand": (4, 3)})
    assert "4 and 3 make 5" in shown[-1][1]["image/png"]["alt"]
    draw.scoreboard({"size": [("2–4 GB", "depends*"), ("fewer", "false")]}, star="small ones")
    assert (
        "2 claims as tiles: 2–4 GB (depends*); fewer (false). A star: small ones." in shown[-1][1]["image/png"]["alt"]
    )
    draw.guide_page({"size": [("Reduces memory by ~75%", True), ("Fewer parameters", False)]})
    assert (
        "2 lines of the guide, 1 of them marked. size: Reduces memory by ~75% (marked)"
        in shown[-1][1]["image/png"]["alt"]
    )
    draw.zone({"A": (0.1, -0.1, 0.3), "B": (75.0,)}, (0, 80), ["open", "true"], "points")
    assert "A -0.1 to 0.3, open; B 75, true" in shown[-1][1]["image/png"]["alt"]
    draw.changed_answers([True] * 3 + [False] * 2, [True, False, False, True, False])
    assert "1 both right, 2 lost, 1 won, 1 both wrong" in shown[-1][1]["image/png"]["alt"]
    draw.coin_tosses(7, 1)
    assert "18 of 256" in shown[-1][1]["image/png"]["alt"]
    draw.sliding_windows([([1, 2, 3, 4], 1), ([3, 4, 5, 6], 2)])
    assert "window 2 reads 3 to 6 and scores 5, 6" in shown[-1][1]["image/png"]["alt"]
    draw.scored_options("Q", [[("a", 2.0), ("b", 1.5)], [("c", 3.0)]], 0)
    assert "3.5, 3.0" in (alt := shown[-1][1]["image/png"]["alt"]) and "option 2" in alt and "wrong" in alt
    draw.gradient_moves([("1 no upcast", 0.06), ("2 loss in pieces", 0.002), ("4 Liger kernels", 0.045)])
    assert "1 no upcast 6.0%; 2 loss in pieces 0.2%" in shown[-1][1]["image/png"]["alt"]
    draw.what_ranks_can_do((2,))
    assert "rank 2, 78 numbers" in shown[-1][1]["image/png"]["alt"]


def test_a_number_beyond_the_tokenizers_is_drawn_as_a_dot(shown):
    """A model of random weights may have more numbers for tokens than its tokenizer knows, which then says None."""
    names, *rest = DRAWINGS["kl_terms"]
    draw.kl_terms([names[0], None, *names[2:]], *rest)
    assert "8 0.97 and 0.05, term 2.95; · 0.01 and 0.19" in shown[-1][1]["image/png"]["alt"]


def test_the_bell_is_the_normal_curve_and_its_slices_hold_equal_shares():
    from helpers.draw.levels import normal_below

    edges = normal_below([i / 16 for i in range(1, 16)])
    shares = torch.special.ndtr(torch.tensor(edges, dtype=torch.float64)).diff()
    assert torch.allclose(shares, torch.full_like(shares, 1 / 16))
    ax = page()
    curve = canvas.bell(ax, 1.0, 10.0, lambda value: value, -3, 3)
    assert curve(0) == 11.0 and curve(1) == pytest.approx(1 + 10 * 0.60653, abs=1e-3)
    canvas.plt.close("all")


def shipped_maps():
    """The maps that pages and notebooks show: by the notebook marked on it, or None."""
    found = {None: (run.NOTEBOOKS / "recorded" / "map.png").read_bytes()}
    for name in run.course_map():
        first = nbformat.read(run.NOTEBOOKS / f"{name}.ipynb", as_version=4).cells[0]
        if "map.png" in first.get("attachments", {}):
            found[name[:2]] = base64.b64decode(first.attachments["map.png"]["image/png"])
            assert f"![{course.described(name[:2])}](attachment:map.png)" in first.source
    return found


def test_maps_that_are_shipped_are_todays():
    """If they are not: `make picture`."""

    def differ(one, other):
        images = [Image.open(io.BytesIO(data)).convert("L") for data in (one, other)]
        return images[0].size != images[1].size or ImageStat.Stat(ImageChops.difference(*images)).rms[0] > 2

    shipped = shipped_maps()
    assert len(shipped) > 5
    for here, data in shipped.items():
        assert not differ(data, draw.course_map(here)), here
        assert differ(data, draw.course_map("00" if here == "12" else "12"))  # a wrong mark would be seen


def test_the_map_has_every_notebook_and_marks_one(monkeypatch):
    assert list(course.STOPS) == [name[:2] for name in run.course_map()]
    seen = []
    monkeypatch.setattr(course, "picture", lambda fig: seen.extend(canvas.faults(fig)) or canvas.picture(fig))
    plain, marked = draw.course_map(), draw.course_map("02")
    assert seen == []
    assert plain != marked and draw.course_map("02") == marked
    width, height = Image.open(io.BytesIO(marked)).size
    assert width > 2 * height / 1.5 and len(marked) < 40_000
    assert course.described("02").endswith("You are at 02 NF4.")
