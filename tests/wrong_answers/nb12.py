"""The likely wrong answers to each exercise of notebook 12, and a part of the hint that each must get."""

SHARE = "lengths = [len(finetune.encode(tokenizer, pair)['input_ids']) for pair in pairs]\n\n\n"
FORECAST = (
    "def forecast_gb(length):\n"
    "    ways = {'fused': True, 'chunked': True, 'offload': True, 'upcast': False}\n"
    "    found = memory.predict(mistral, 'nf4-dq', stage='train', context=length, batch=8, **ways)\n"
    "    return found.allocator_bytes / 1e9\n\n\n"
)

WRONG = {
    "12-1": [
        (
            "all_gb = 4 * 2048 * 128_256 * 4 / 1e9\npiece_gb = 1024 * 128_256 * 4 / 1e9\n"
            'exercises.check("12-1", [all_gb, piece_gb])',
            "there are three",
        ),
        (
            "all_gb = 2048 * 128_256 * 12 / 1e9\npiece_gb = 1024 * 128_256 * 12 / 1e9\n"
            'exercises.check("12-1", [all_gb, piece_gb])',
            "four texts",
        ),
        (
            "all_gb = 4 * 2048 * 32_000 * 12 / 1e9\npiece_gb = 1024 * 32_000 * 12 / 1e9\n"
            'exercises.check("12-1", [all_gb, piece_gb])',
            "Llama 3 has 128,256",
        ),
        (
            "all_gb = 4 * 2048 * 128_256 * 12 / 1e9\npiece_gb = all_gb / 4\n"
            'exercises.check("12-1", [all_gb, piece_gb])',
            "same product for 1,024 tokens",
        ),
    ],
    "12-2": [
        (
            SHARE + "def padding_share(lengths, batch):\n"
            "    return 1 - sum(lengths) / (max(lengths) * len(lengths))\n\n\n"
            'exercises.check("12-2", padding_share, lengths=lengths)',
            "its own longest turn",
        ),
        (
            SHARE + "def padding_share(lengths, batch):\n"
            "    groups = [lengths[i : i + batch] for i in range(0, len(lengths), batch)]\n"
            "    return sum(lengths) / sum(max(group) * len(group) for group in groups)\n\n\n"
            'exercises.check("12-2", padding_share, lengths=lengths)',
            "not padding",
        ),
    ],
    "12-3": [
        (FORECAST + 'longest = 8192\nexercises.check("12-3", longest, forecast=forecast_gb)', "more than the 15.3"),
        (
            FORECAST + 'longest = 512\nexercises.check("12-3", longest, forecast=forecast_gb)',
            "512 tokens more would fit",
        ),
    ],
    "12-4": [
        (
            'helps = {"A": "loss in pieces", "B": "CUDA graph", "C": "offloading", "D": "packing"}\n'
            'exercises.check("12-4", helps)',
            "that nobody needs",
        ),
        (
            'helps = {"A": "packing", "B": "offloading", "C": "CUDA graph", "D": "loss in pieces"}\n'
            'exercises.check("12-4", helps)',
            "waiting for",
        ),
        (
            'helps = {"A": "packing", "B": "CUDA graph", "C": "loss in pieces", "D": "offloading"}\n'
            'exercises.check("12-4", helps)',
            "each of many blocks",
        ),
    ],
}
