"""The site: its pages in a real browser, and its tools held to the helpers, bit for bit and byte for byte.

Asked for by `-m browser`, pictures of every page at three widths, in both themes, are left in build/browser/site/.
"""

import json
import math
import random
import re
import struct
from pathlib import Path

import pytest

from helpers import formats, nf4, pages, run
from scripts import forecasts, links, teachers, website

NAMES = run.course_map()
ALL = ["index", "teachers", *website.TEXTS, *website.TOOLS, *NAMES]
WIDTHS = (1280, 1024, 390)
PICTURES = run.ROOT / "build" / "browser" / "site"
MB = 10**6


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    return website.build(tmp_path_factory.mktemp("built") / "site")


@pytest.fixture
def page(browser, site):
    """An empty page; its test fails if the console says anything, or it asks for anything but files of the site."""
    context = browser.new_context(viewport={"width": 1024, "height": 900})
    page = context.new_page()
    page.said, page.loaded = [], {}
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("console", lambda message: page.said.append(message.text))
    page.on("requestfailed", lambda request: page.said.append(f"lost: {request.url}"))

    def asked(request) -> None:
        if request.url.startswith("data:"):
            return
        if not request.url.startswith(site.as_uri()):
            page.said.append(f"left the site: {request.url}")
            return
        file = Path(request.url.removeprefix("file://").partition("#")[0])
        page.loaded[file.name] = file.stat().st_size

    page.on("request", asked)
    page.show = lambda name: page.goto((site / f"{name}.html").as_uri())
    yield page
    assert page.said == []
    context.close()


def test_the_site_is_small_and_has_every_notebook(site):
    made = [path for path in site.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in made) <= 25 * MB
    assert {f"{name}.html" for name in ALL} == {path.name for path in site.glob("*.html")}
    text = "".join((site / f"{name}.html").read_text("utf-8") for name in ALL)
    assert "cdn" not in text.lower() and "<script>" not in text and text.count("<math") > 50


def test_links_of_the_site_lead_somewhere(site):
    ids = {name: set(re.findall(r' id="([^"]+)"', (site / f"{name}.html").read_text("utf-8"))) for name in ALL}
    for name in ALL:
        targets = re.findall(r'(?:href|src)="([^"]+)"', (site / f"{name}.html").read_text("utf-8"))
        for target in targets:
            if re.match(r"https://|mailto:|data:", target):
                continue
            place, _, anchor = target.partition("#")
            assert not place or (site / place).is_file(), f"{name}: {target}"
            if anchor:
                assert anchor in ids[place.removesuffix(".html") or name], f"{name}: {target}"


def test_a_solution_is_folded_and_a_guess_has_its_buttons(site):
    text = (site / "02_build_nf4.html").read_text("utf-8")
    assert text.count("<details") == text.count("</details>") > 10
    assert text.count("<summary>Solution</summary>") >= 4
    assert (
        '<div class="guess">' in text and 'class="mistake"' in text and '<a class="term" href="glossary.html#' in text
    )


def test_every_notebook_has_a_page_for_teachers(site):
    text = (site / "teachers.html").read_text("utf-8")
    assert "&lt;code" not in text  # tags that were read as words
    sheets = re.findall(r'<section class="sheet" id="(.+?)">\n(.*?)</section>', text, re.S)
    assert [name for name, _ in sheets] == [teachers.anchor(name) for name in NAMES]
    assert {name[:2] for name in NAMES} <= set(teachers.by_hand()), "site/teachers.json: an entry for each notebook"
    for name, (_, sheet) in zip(NAMES, sheets, strict=True):
        path = run.NOTEBOOKS / f"{name}.ipynb"
        assert sheet.count("<em>Listen for:</em>") == 3 and sheet.count("<img ") == 1 and teachers.goals()[name], name
        said = teachers.facts(pages_of(path))
        assert len(said["questions"]) >= 3 and len(said["mistakes"]) >= 1 and len(said["opening"].split()) > 15, name
        assert sheet.count("<li>") == 3 + len(said["questions"]) + len(said["mistakes"]) + 1, name
        assert f'href="teachers.html#{teachers.anchor(name)}"' in (site / f"{name}.html").read_text("utf-8")
    assert 'href="teachers.html"' in (site / "teaching.html").read_text("utf-8")


def pages_of(path: Path):
    import nbformat

    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("lost", ["entry", "drawing"])
def test_a_notebook_without_a_page_for_teachers_is_found(lost, monkeypatch, tmp_path):
    entries = teachers.by_hand()
    if lost == "entry":
        del entries["05"]
    else:
        entries["05"]["board"] = "no-such-cell"
    monkeypatch.setattr(teachers, "by_hand", lambda: entries)
    with pytest.raises(website.CourseError, match="no entry 05" if lost == "entry" else "no-such-cell"):
        website.build(tmp_path / "site")


@pytest.mark.browser
def test_a_page_for_teachers_is_a_sheet_of_paper(page):
    page.show("teachers")
    paper = {"prefer_css_page_size": True, "print_background": True}
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(**paper))) == len(NAMES)
    one = f"teachers.html#{teachers.anchor(NAMES[5])}"
    page.goto(page.url.replace("teachers.html", one))
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", page.pdf(**paper))) == 1


@pytest.mark.browser
@pytest.mark.parametrize("name", [name for name in NAMES if name[:2] in ("02", "06", "08")])
def test_a_film_plays_below_its_drawing_unless_less_motion_is_asked_for(page, name):
    page.show(name)
    film = page.locator(".film img")
    assert film.count() == 1 and film.get_attribute("src").endswith(".gif") and len(film.get_attribute("alt")) > 60
    film.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('.film img').naturalWidth > 800")
    page.click(".film summary")
    assert not film.is_visible()
    page.click(".film summary")
    page.emulate_media(reduced_motion="reduce")
    assert not film.is_visible()
    drawing = "[...document.querySelectorAll('.picture img')].filter(one => one.checkVisibility()).length"
    assert page.evaluate(drawing) >= 5  # those above it stay
    page.emulate_media(reduced_motion="no-preference", media="print")
    assert not film.is_visible()


def test_with_an_address_there_are_ways_to_colab_and_binder(tmp_path, monkeypatch):
    monkeypatch.setattr(links, "where", lambda root: ("some-one/course", "v1"))
    (tmp_path / "pictures").mkdir()
    (tmp_path / "notebooks").mkdir()
    website.Site(tmp_path).notebook("05_measure_memory")
    text = (tmp_path / "05_measure_memory.html").read_text("utf-8")
    assert "https://colab.research.google.com/github/some-one/course/blob/v1/notebooks/05_measure_memory.ipynb" in text
    assert "https://mybinder.org/v2/gh/some-one/course/v1?urlpath=lab/tree/notebooks/05_measure_memory.ipynb" in text
    assert "badge" not in text.partition("<article>")[0]


def test_what_a_model_wrote_is_text_on_a_page():
    text = pages.Text()(
        "<script>alert(1)</script> <b onclick='x()'>b</b> <details><summary>s</summary>\n\n[a](javascript:x)"
    )
    assert "<script" not in text and "<b onclick" not in text and "javascript:" not in text and "<summary>s" in text


def test_somebodys_folder_is_not_replaced(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("mine")
    with pytest.raises(website.CourseError, match="did not make"):
        website.build(tmp_path / "site")
    assert (tmp_path / "site" / "thesis.txt").read_text() == "mine"


@pytest.mark.browser
@pytest.mark.parametrize("name", ALL)
def test_a_page_opens_fits_and_can_be_read(page, name, request):
    page.show(name)
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is too wide at {width} px"
        if request.config.option.markexpr in ("", "browser"):
            PICTURES.mkdir(parents=True, exist_ok=True)
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme)
                page.screenshot(path=PICTURES / f"{name}-{width}-{theme}.png", full_page=True)
    cut = """() => [...document.querySelectorAll("pre.code")]
        .filter(code => code.checkVisibility() && code.scrollWidth > code.clientWidth + 1)
        .map(code => code.textContent.split("\\n").sort((a, b) => b.length - a.length)[0])"""
    page.set_viewport_size({"width": 1024, "height": 900})
    lines = page.evaluate(cut)
    assert all(len(line) > 95 for line in lines), f"these lines do not fit into the column at 1024 px: {lines}"


# What axe finds is read by rule and place; color is looked at in both themes
AXE = """async (rules) => (await axe.run(document, {runOnly: rules, preload: false})).violations
    .flatMap(found => found.nodes.map(node => `${found.id}: ${node.html.slice(0, 150)} ${node.failureSummary}`))"""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SOME = {"index", "map", *website.TOOLS}  # the others are all alike, and axe takes its time


@pytest.mark.browser
@pytest.mark.parametrize("name", [pytest.param(name, marks=() if name in SOME else pytest.mark.slow) for name in ALL])
def test_a_page_is_accessible(page, name):
    axe = pytest.importorskip("axe_playwright_python.base", reason="axe is not installed: make test does that")
    page.show(name)
    page.evaluate(Path(axe.AXE_FILE_PATH).read_text("utf-8"))
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert page.evaluate(AXE, RULES) == [], theme


@pytest.mark.browser
def test_the_front_page_loads_little_and_its_tool_is_alive(page):
    page.show("index")
    assert sum(page.loaded.values()) <= 500_000 and len(page.loaded) < 10, page.loaded
    before = page.inner_text("#quantize .finding")
    dot = page.locator("#quantize [data-i='2']")
    box = dot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"], box["y"] - 60, steps=3)
    page.mouse.up()
    assert page.inner_text("#quantize .finding") != before
    value = float(page.input_value("#quantize [name=values]").split()[2])
    page.locator("#quantize [data-i='2']").press("ArrowDown")
    assert float(page.input_value("#quantize [name=values]").split()[2]) < value > 0.1


@pytest.mark.browser
def test_the_search_finds_double_quantization(page):
    page.show("map")
    page.fill("#find", "double quantization")
    page.wait_for_selector("#found a")
    found = page.locator("#found a")
    assert any("03_quantize_the_constants.html" in found.nth(i).get_attribute("href") for i in range(3))
    assert "double quantization" in found.first.inner_text().lower()
    page.fill("#find", "<img src=x onerror=alert(1)>")
    page.wait_for_selector("#found p")
    page.fill("#find", "double quantization")
    page.wait_for_selector("#found a")
    page.press("#find", "ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url("**/*.html#*")


@pytest.mark.browser
def test_dark_and_light_the_menu_and_a_guess(page):
    page.set_viewport_size({"width": 390, "height": 800})
    page.show("02_build_nf4")
    paper = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != before
    page.click("#menu")
    assert page.locator("#places a").first.is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#places a").first.is_visible()
    guess = page.locator(".guess").first
    guess.locator("button").nth(1).click()
    assert "Your guess is" in guess.locator("[role=status]").inner_text()


def floats(numbers: list) -> list[float]:
    """Numbers as they came from the page: large whole ones would be Python's ints, of other digits."""
    return [float(number) for number in numbers]


# ---- tools against helpers: what JavaScript computes must be what Python computes


def drawn(generator: random.Random, n: int) -> list[float]:
    """Values of float32 with all that can go wrong: tiny, huge, zeros, ties, an outlier."""
    scale = 10 ** generator.uniform(-42, 36) if generator.random() < 0.3 else 10 ** generator.uniform(-3, 2)
    values = [generator.gauss(0, 1) * scale for _ in range(n)]
    for i in range(n):
        kind = generator.random()
        if kind < 0.05:
            values[i] = 0.0
        elif kind < 0.1:
            values[i] = scale * generator.randint(-14, 14) / 14
        elif kind < 0.12:
            values[i] = scale * 30
    if generator.random() < 0.05:
        values = [0.0] * n
    return [struct.unpack("f", struct.pack("f", value))[0] for value in values]


@pytest.mark.browser
def test_blocks_are_quantized_bit_for_bit(page):
    import torch

    page.show("quantize")
    generator, agreed = random.Random(1), 0
    questions = []
    for _ in range(400):
        scheme = generator.choice(["int4", "fp4", "nf4"])
        size = generator.choice([32, 64] if scheme == "nf4" else [8, 16, 32, 64])
        questions.append([scheme, drawn(generator, generator.choice([1, 7, 8, 33, 64])), size])
    told = page.evaluate(
        "all => all.map(([scheme, values, size]) => numbers.quantize(scheme, values, size))", questions
    )
    for (scheme, values, size), answer in zip(questions, told, strict=True):
        weights = torch.tensor(values)
        if scheme == "nf4":
            quantized = nf4.quantize(weights, size)
            restored, bits = nf4.dequantize(quantized), nf4.bits_per_parameter(size)
            assert answer["packed"] == quantized.codes.tolist() and answer["bytes"] == quantized.nbytes
            assert floats(answer["constants"]) == quantized.absmax.tolist()
            assert answer["codes"] == nf4.unpack(quantized.codes)[: len(values)].tolist()
        elif scheme == "int4":
            rounded = formats.quantize(weights, 4, size)
            restored, bits = formats.dequantize(rounded), formats.bits_per_parameter(4, size)
            assert answer["codes"] == rounded.codes.flatten()[: len(values)].tolist()
            assert floats(answer["constants"]) == rounded.scale.flatten().tolist()
        else:
            restored = formats.round_to_levels(weights, formats.fp4_levels(), size)
            bits = formats.bits_per_parameter(4, size)
        assert floats(answer["values"]) == restored.tolist() and answer["bits"] == bits  # -0 equals 0
        assert math.isclose(answer["mean"], (restored.double() - weights.double()).abs().mean().item(), rel_tol=1e-12)
        agreed += len(values)
    assert page.evaluate("numbers.NF4") == nf4.nf4_code().tolist()
    assert page.evaluate("numbers.FP4") == formats.fp4_levels().tolist()
    print(f"quantize: {len(questions)} tensors, {agreed} values agree")


@pytest.mark.browser
def test_bits_are_those_of_the_formats(page):
    import torch

    page.show("bits")
    generator = random.Random(2)
    numbers = [value for _ in range(40) for value in drawn(generator, 8)]
    numbers += [448, 464, 465, 57344, 61439, 61440, 65504, 65519, 65520, 2**-24, 2**-25, 2**-149, 1.5 * 2**-149, 3.4e38]
    numbers = [struct.unpack("f", struct.pack("f", number))[0] for number in numbers]
    for name, form in formats.FLOATS.items():
        told = page.evaluate("([all, name]) => all.map(one => numbers.fields(one, name))", [numbers, name])
        assert [tuple(fields) for fields in told] == [formats.fields(number, name) for number in numbers], name
        patterns = [f"{generator.getrandbits(form.bits):0{form.bits}b}" for _ in range(300)]
        parts = [[bits[0], bits[1 : 1 + form.exponent], bits[1 + form.exponent :]] for bits in patterns]
        back = page.evaluate("([all, name]) => all.map(one => String(numbers.fromFields(one, name)))", [parts, name])
        for fields, text in zip(parts, back, strict=True):
            value = formats.from_fields(*fields, name)
            assert float(text.replace("Infinity", "inf")) == value or math.isnan(value) and text == "NaN"
    for bits in (4, 8):
        pairs = [[number, abs(number) * generator.uniform(1, 9)] for number in numbers if 0 < abs(number) < 1e37]
        told = page.evaluate(
            "([all, top]) => all.map(pair => numbers.int(pair.map(Math.fround), top))", [pairs, 2 ** (bits - 1) - 1]
        )
        for pair, answer in zip(pairs, told, strict=True):
            rounded = formats.quantize(torch.tensor(pair), bits, "tensor")
            assert answer["codes"] == rounded.codes[0].tolist()
            assert floats(answer["values"]) == formats.dequantize(rounded).tolist()


@pytest.mark.browser
def test_an_update_is_merged_as_torch_does_it(page):
    import torch

    page.show("update")
    generator = random.Random(3)
    questions = [[drawn(generator, 8), [generator.uniform(-1, 1) for _ in range(8)], 10 ** generator.uniform(-3, 0)]]
    questions = [
        q for _ in range(300) if (q := [drawn(generator, 8), *questions[0][1:]]) and max(map(abs, q[0])) < 1e36
    ]
    told = page.evaluate("all => all.map(one => numbers.merge(...one))", questions)
    for (weights, update, size), answer in zip(questions, told, strict=True):
        base = nf4.dequantize(nf4.quantize(torch.tensor(weights)))
        whole = base + torch.tensor(size) * torch.tensor(update)
        assert floats(answer["base"]) == base.tolist() and floats(answer["whole"]) == whole.tolist()
        assert floats(answer["nf4"]) == nf4.dequantize(nf4.quantize(whole)).tolist()
        assert floats(answer["bf16"]) == formats.round_to(whole, "bf16").tolist()


def some_config(generator: random.Random) -> dict:
    """A configuration of the Llama or Mistral family, small, with whatever such a file may or may not hold."""
    kv, shared = generator.choice([1, 2, 3, 8]), generator.choice([1, 2, 4])
    config = {
        "model_type": generator.choice(["llama", "mistral"]),
        "hidden_size": kv * shared * generator.choice([16, 20, 64]),
        "intermediate_size": generator.randint(3, 700),
        "num_hidden_layers": generator.randint(1, 4),
        "num_attention_heads": kv * shared,
        "num_key_value_heads": kv,
        "vocab_size": generator.randint(50, 3000),
        "max_position_embeddings": 32768,
    }
    if generator.random() < 0.3:
        config["head_dim"] = generator.choice([8, 32, 128])
    if generator.random() < 0.5:
        config["tie_word_embeddings"] = generator.random() < 0.5
    if config["model_type"] == "mistral" and generator.random() < 0.7:
        config["sliding_window"] = generator.choice([None, 100, 4096])
    if config["model_type"] == "llama":
        config |= {key: True for key in ("attention_bias", "mlp_bias") if generator.random() < 0.3}
        if generator.random() < 0.3:
            del config["num_key_value_heads"]
    return config


def held_equal(page, seed: int, loads: int, prefills: int, trainings: int, presets: list[str]) -> None:
    """Ask page and helpers the same random questions: all parts, to the byte."""
    from transformers import AutoConfig

    from helpers import memory
    from helpers.schemes import SCHEMES

    page.show("fit")
    generator = random.Random(seed)
    for i in range(loads + prefills + trainings):
        scheme, shards, rank = generator.choice(SCHEMES), 1, 16
        stage = "load" if i < loads else "prefill" if i < loads + prefills else "train"
        preset = generator.choice(presets) if stage != "load" or generator.random() < 0.1 else None
        batch, context = generator.randint(1, 40), generator.choice([0, 1, 77, 5000, generator.randint(0, 10**6)])
        if stage != "load":
            batch, context = generator.choice(forecasts.BATCHES), generator.choice(forecasts.LENGTHS[stage])
        if stage == "train":
            shards, rank = generator.choice([1, 1, 2, 3, 8]), generator.choice(forecasts.RANKS)
        values = dict(forecasts.PRESETS[preset]) if preset else some_config(generator)
        asked = {"preset": preset, "scheme": scheme, "stage": stage, "batch": batch, "context": context}
        told = page.evaluate(
            "([asked, text]) => { const read = forecast.configOf(text); if (read.said) return read; "
            "return forecast.predict({...asked, config: read.config}); }",
            [{**asked, "rank": rank, "shards": shards}, json.dumps(values)],
        )
        assert "parts" in told and told["whole"], (told, values)
        config = forecasts.config_of(preset) if preset else AutoConfig.for_model(values.pop("model_type"), **values)
        changes = {"rank": rank, "shards": shards} if stage == "train" else {}
        budget = memory.predict(config, scheme, context=context, batch=batch, stage=stage, **changes)
        assert told["parts"] == budget.parts, (asked, values)
        assert told["total"] == budget.total_bytes


@pytest.mark.browser
def test_forecasts_are_those_of_the_helpers_to_the_byte(page):
    held_equal(page, 4, loads=20, prefills=2, trainings=1, presets=["SmolLM2-135M"])


@pytest.mark.browser
@pytest.mark.slow
def test_500_forecasts_are_those_of_the_helpers_to_the_byte(page):
    held_equal(page, 5, loads=350, prefills=100, trainings=50, presets=list(forecasts.PRESETS))


def test_the_table_of_forecasts_is_whole():
    content = json.loads(forecasts.TABLE.read_text("utf-8"))
    asked = [
        q for preset in forecasts.PRESETS for scheme in forecasts.SCHEMES for q in forecasts.questions(preset, scheme)
    ]
    assert set(content["table"]) == {forecasts.key(*question) for question in asked}
    assert content["presets"] == forecasts.PRESETS and content["names"] == forecasts.PARTS


def test_the_front_pages_figures_are_computed(site):
    from helpers import memory, models

    text = (site / "index.html").read_text("utf-8")
    sizes = [memory.predict(models.mistral_7b_config(), scheme).weight_bytes / 1e9 for scheme in ("bf16", "nf4-dq")]
    assert f"model of {sizes[0]:.1f}&nbsp;GB, stored in {sizes[1]:.1f}." in text


NONSENSE = [
    ("quantize", "values", "", "no number here yet"),
    ("quantize", "values", "0.3 NaN 1", "“NaN” is not a number"),
    ("quantize", "values", "0.3 Infinity", "“Infinity” is not a number"),
    ("quantize", "values", "0.3 1e39", "beyond 3.4e38"),
    ("quantize", "values", "0,31 -0,80", "write decimals with a point"),
    ("quantize", "values", "<b>x</b>", "is not a number"),
    ("quantize", "values", "1 " * 65, "These are 65 numbers"),
    ("bits", "number", "0,31", "write decimals with a point"),
    ("bits", "number", "abc", "is not a number"),
    ("bits", "number", "0x10", "is not a number"),
    ("bits", "number", "", "no number here yet"),
    ("bits", "number", "9", "can’t be in a block"),
    ("bits", "largest", "-1", "above zero"),
    ("update", "weights", "nan", "is not a number"),
    ("fit", "context", "", "The context is empty"),
    ("fit", "context", "1e3", "must be a whole number"),
    ("fit", "context", "99999999999", "from 0 to 10,000,000"),
    ("fit", "batch", "0", "from 1 to"),
    ("fit", "batch", "NaN", "must be a whole number"),
    ("fit", "size", "-4", "must be a number of GB above 0"),
    ("fit", "gpus", "2", "forecast for training"),
]
STRANGE = [
    ("{", "no JSON"),
    ("[1]", "no configuration"),
    ("null", "no configuration"),
    ({"model_type": "gpt2"}, "“gpt2”, and this page knows"),
    ({"model_type": None}, "not given, and this page knows"),
    ({"hidden_size": None}, "hidden_size is null"),
    ({"hidden_size": "4096"}, "must be a whole number"),
    ({"hidden_size": 1e300}, "must be a whole number"),
    ({"num_hidden_layers": -1}, "must be a whole number"),
    ({"num_attention_heads": 30}, "head_dim"),
    ({"num_key_value_heads": 7}, "can’t share"),
    ({"head_dim": 33}, "even one"),
    ({"sliding_window": "wide"}, "sliding_window"),
    ({"tie_word_embeddings": "yes"}, "must be true or false"),
    ({"rope_scaling": {"rope_type": "longrope"}}, "doesn’t know"),
]


@pytest.mark.browser
@pytest.mark.parametrize("tool", website.TOOLS)
def test_what_makes_no_sense_gets_a_sentence(page, tool):
    page.show(tool)
    for field, typed, said in [row[1:] for row in NONSENSE if row[0] == tool]:
        place = page.locator(f"#{tool} [name={field}]")
        before = place.input_value()
        place.fill(typed)
        assert said in page.inner_text(f"#{tool} .wrong")
        shown = page.locator(f"#{tool} :is(.finding, .verdict, .drawing, tbody)")  # and no number of before
        assert not any(shown.nth(i).is_visible() for i in range(shown.count())), typed
        if tool == "bits" and field == "number" and typed != "9":
            assert page.locator(".format").count() == 0
        place.fill(before)
        assert page.inner_text(f"#{tool} .wrong") == ""


@pytest.mark.browser
def test_a_configuration_that_is_not_known_gets_a_sentence(page):
    page.show("fit")
    page.select_option("[name=model]", label="your own: paste its config.json")
    assert "Paste the config.json" in page.inner_text("#fit .wrong")
    config = forecasts.PRESETS["Mistral-7B-v0.1"]
    page.fill("[name=config]", json.dumps(config))
    assert "It fits." in page.inner_text("#fit .verdict") and page.inner_text("#fit .wrong") == ""
    page.select_option("[name=stage]", "train")
    assert "can’t be said from here" in page.inner_text("#fit .verdict")
    assert "Activations follow no formula" in page.inner_text("#fit .missing")
    for change, said in STRANGE:
        page.fill("[name=config]", change if isinstance(change, str) else json.dumps(config | change))
        assert said in page.inner_text("#fit .wrong") and not page.locator("#fit .verdict").is_visible()
