"""What decides on the result of a fine-tuning? Recipes, each at its own best learning rate, over seeds; prints JSON.

    python -m benchmarks.finetune_sweep [--steps 100] [--workers N] [result.json]

A recipe is compared at its best learning rate, since each has another: the rates are doubled from 5e-4, and further, up
or down, as long as the last one is the best. Runs with three seeds choose the rate; what is reported comes from twelve
others at that rate, because the best of several is flattered by chance. A seed draws the questions, their order and the
adapters. On Mini-Mistral and CPUs, one run a core: about an hour on two cores. `python -m helpers.record --only sweep`
records it.
"""

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import fmean

import torch

from benchmarks import common
from helpers import finetune, models, results
from helpers.errors import CourseError

HELD_OUT = 200
RATES = (5e-4, 1e-3, 2e-3, 4e-3, 8e-3)
FURTHER = (1.6e-2, 3.2e-2)  # tried one after the other while the last rate is the best,
LESS = (2.5e-4, 1.25e-4)  # and these while the first one is
CHOOSING, REPORTED = (0, 1, 2), tuple(range(3, 15))  # seeds


def recipes(steps: int) -> dict[str, finetune.Recipe]:
    base = finetune.Recipe(steps=steps, fused=True)
    layers = models.linear_layers(models.load("mini", "nf4-dq", device="cpu")[0])
    edges = {name: layer.in_features + layer.out_features for name, layer in layers.items()}
    few = sum(size for name, size in edges.items() if name.endswith(("q_proj", "v_proj")))
    equal = round(base.rank * sum(edges.values()) / few)  # the rank that gives q and v as many parameters
    named = {f"all layers, r={rank}": replace(base, rank=rank, alpha=rank) for rank in (2, base.rank, 64)}
    few = replace(base, target_modules="q_proj,v_proj")
    return named | {f"q and v, r={rank}": replace(few, rank=rank, alpha=rank) for rank in (base.rank, equal)}


def one_run(name: str, recipe: finetune.Recipe) -> dict:
    """Train and ask; everything but the recipe is fixed."""
    torch.set_num_threads(1)
    model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
    pairs, kept = finetune.questions(recipe.steps * recipe.batch, HELD_OUT, recipe.seed)
    begun = time.perf_counter()
    row = {"recipe": name, "rate": recipe.learning_rate, "seed": recipe.seed}
    try:
        model, losses = finetune.train(model, tokenizer, pairs, recipe)
    except CourseError:  # a loss that is not a number: the rate is too high, and nothing is learned
        return row | {"exact_match": 0.0, "loss": None, "parameters": None}
    row["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
    row |= {"seconds": round(time.perf_counter() - begun, 1), "loss": round(fmean(losses[-10:]), 4)}
    return row | {"exact_match": finetune.exact_match(finetune.answers(model, tokenizer, kept), kept)}


def best_rate(runs: list[dict], name: str) -> float:
    """The rate with the best mean over the seeds that choose."""
    mine = [run for run in runs if run["recipe"] == name and run["seed"] in CHOOSING]
    means = {rate: fmean(r["exact_match"] for r in mine if r["rate"] == rate) for rate in {r["rate"] for r in mine}}
    return max(means, key=means.get)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=results.cores())
    options = parser.parse_args()
    named = recipes(options.steps)
    report = {"environment": results.environment(), "steps": options.steps, "held_out": HELD_OUT}
    report |= {"choosing": CHOOSING, "reported": REPORTED, "runs": []}
    runs = report["runs"]
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(options.workers, multiprocessing.get_context("spawn")) as pool:

        def make(wanted: list[tuple[str, float, tuple[int, ...]]]) -> None:
            """Runs of (recipe, rate, seeds), as many at a time as there are workers."""
            tasks = [
                pool.submit(one_run, name, replace(named[name], learning_rate=rate, seed=seed))
                for name, rate, seeds in wanted
                for seed in seeds
            ]
            for task in tasks:
                runs.append(task.result())
                print(runs[-1], flush=True)
                common.write(options.output, report)

        make([(name, rate, CHOOSING) for rate in RATES for name in named])
        for edge, beyond in ((RATES[-1], FURTHER), (RATES[0], LESS)):
            for last, rate in zip((edge, *beyond), beyond, strict=False):
                make([(name, rate, CHOOSING) for name in named if best_rate(runs, name) == last])
        make([(name, best_rate(runs, name), REPORTED) for name in named])


if __name__ == "__main__":
    main()
