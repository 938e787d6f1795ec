"""What decides on the result of a fine-tuning: targets, rank and learning rate, on Mini-Mistral; prints JSON.

    python -m benchmarks.finetune_sweep [--steps 100] [result.json]

One thing is changed at a time, everything else and the seed are those of the first row. `python -m helpers.record
--only sweep` records it; it takes about five minutes on two cores, and a GPU is not needed.
"""

import argparse
import time
from dataclasses import replace

from benchmarks import common
from helpers import finetune, models, results

HELD_OUT = 120


def recipes(steps: int) -> dict[str, finetune.Recipe]:
    base = finetune.Recipe(steps=steps, fused=True)
    layers = models.linear_layers(models.load("mini", "nf4-dq", device="cpu")[0])
    edges = {name: layer.in_features + layer.out_features for name, layer in layers.items()}
    few = sum(size for name, size in edges.items() if name.endswith(("q_proj", "v_proj")))
    equal = round(base.rank * sum(edges.values()) / few)  # the rank that gives q and v as many parameters
    named = {"all-linear, r=16, 5e-4": base}
    named[f"q, v, r={base.rank}"] = replace(base, target_modules="q_proj,v_proj")
    named[f"q, v, r={equal}"] = replace(base, target_modules="q_proj,v_proj", rank=equal, alpha=equal)
    named |= {f"r={rank}": replace(base, rank=rank, alpha=rank) for rank in (2, 64)}
    return named | {f"rate {rate:g}": replace(base, learning_rate=rate) for rate in (5e-5, 2e-3, 2e-2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    parser.add_argument("--steps", type=int, default=100)
    options = parser.parse_args()
    report = {"environment": results.environment(), "steps": options.steps, "held_out": HELD_OUT, "rows": []}
    for name, recipe in recipes(options.steps).items():
        model, tokenizer = models.load("mini", "nf4-dq", device="cpu")
        pairs, kept = finetune.questions(recipe.steps * recipe.batch, HELD_OUT, recipe.seed)
        begun = time.perf_counter()
        model, losses = finetune.train(model, tokenizer, pairs, recipe)
        row = {"name": name, "targets": recipe.target_modules, "rank": recipe.rank, "rate": recipe.learning_rate}
        row["parameters"] = sum(p.numel() for p in model.parameters() if p.requires_grad)
        row |= {"seconds": round(time.perf_counter() - begun, 1), "losses": [round(loss, 4) for loss in losses]}
        row["exact_match"] = finetune.exact_match(finetune.answers(model, tokenizer, kept), kept)
        report["rows"].append(row)
        print(
            f"{name:<24} {row['parameters']:>9,} {losses[-1]:.3f} {row['exact_match']:.0%} {row['seconds']} s",
            flush=True,
        )
        common.write(options.output, report)


if __name__ == "__main__":
    main()
