"""The words of the guide that make each claim, letter by letter; " … " stands for words of the guide left out.

Only the guide's bold type and its list marks are dropped; a bar is a border in its table. The guide itself is not in
the repository, so tests hold these to its lines, as received.
"""

__all__ = ["QUOTES"]

QUOTES = {
    "intro": "FP32: 32 bits per value = 16GB for 7B model … FP16: 16 bits per value = 8GB for 7B model",
    "range": "4-bit: 4 bits per value = 2-4GB for 7B model",
    "table": "FP32 | 28GB … FP16 | 14GB … 8-bit | 7GB … 4-bit | 3.5GB",
    "linear": "Loads model weights in 4-bit precision",
    "saves": "Reduces memory by ~75%",
    "dq-bits": "bnb_4bit_use_double_quant … Additional ~0.4 bits saved per parameter",
    "fewer": "Fewer parameters to load",
    "int4": "NF4 … Maintains better precision than regular INT4",
    "recommended": "NF4 … Recommended for language models",
    "compute": "Computation still happens in FP16",
    "fp16": "Maintains numerical precision",
    "storage": "Only storage is quantized",
    "faster": "typically 2-3x faster",
    "bandwidth": "Reduced memory bandwidth",
    "simplified": "Simplified matrix operations",
    "long": "Token Generation: Slightly slower than FP16 for very long sequences",
    "loss": "Negligible quality loss",
    "dq-loss": "bnb_4bit_use_double_quant … More memory savings with minimal impact",
    "mmlu": "on MMLU … FP32: 61.3% accuracy … FP16: 61.2% accuracy … 4-bit: 60.9% accuracy",
    "conclusion": "Minimal quality loss for significant speed/memory gains",
    "2gb": "fine-tuning 7B model with <2GB VRAM",
    "targets": 'LoRA for efficient fine-tuning … target_modules=["q_proj", "v_proj"]',
    "inference": "Inference Only: For training, use QLoRA method",
    "hardware": "Needs NVIDIA GPU with compute capability 7.0+",
}
