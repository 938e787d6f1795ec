"""How fast Mistral-7B's shapes decode in 4 bits, in 16 and in 32, by turns and in several processes: prints JSON.

    python -m benchmarks.decode_bench [result.json]

What notebook 10 measures of whatever model it is run with, of the 7B shapes: `helpers.claims.measure.decoding`.
"""

import argparse
import json

from benchmarks import common
from helpers import models, results
from helpers.claims import measure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", nargs="?", help="file to write the JSON to")
    options = parser.parse_args()
    environment = results.environment()
    if not environment["gpu"]:
        parser.error("no CUDA GPU was found: this measures what only a GPU can show.")
    report = {"environment": environment, "speed": measure.decoding(models.resolve("mistral-7b-shape"), "bf16")}
    common.write(options.output, report)
    print(json.dumps(report["speed"], indent=1))


if __name__ == "__main__":
    main()
