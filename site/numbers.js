// Numbers as the course's Python computes them, bit for bit: helpers/nf4.py and helpers/formats.py in JavaScript.
// JavaScript computes in 64 bits. One operation on two 32-bit floats, rounded at once by Math.fround, gives exactly what
// 32-bit hardware gives, so every step below is wrapped in it. tests/test_site.py holds the two equal on random input.
"use strict";

const numbers = (() => {
  const f = Math.fround;

  // The levels of NF4 and FP4, ascending, as 32-bit floats
  const NF4 = [-1, -0.6961928, -0.52507305, -0.3949175, -0.28444138, -0.18477343, -0.091050036, 0, 0.0795803, 0.1609302,
    0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1].map(f);
  const HALF = [0.0625, 2, 3, 4, 6, 8, 12].map((value) => f(value / 12));
  const FP4 = [...HALF.map((value) => -value).reverse(), 0, ...HALF];
  const between = (levels) => levels.slice(1).map((level, i) => f(f(levels[i] + level) / 2));
  const MIDPOINTS = { nf4: between(NF4), fp4: between(FP4) };
  const TINY = f(1e-38); // stands in for the largest of a block of zeros, so that nothing is divided by zero

  // How many midpoints lie below a value: the place of the nearest level, the lower one for a tie
  const nearest = (value, midpoints) => midpoints.filter((midpoint) => value > midpoint).length;

  function roundEven(x) { // as torch.round: a half goes to the even neighbor
    const low = Math.floor(x), rest = x - low;
    return rest > 0.5 || (rest == 0.5 && low % 2 != 0) ? low + 1 : low;
  }

  const largest = (block) => block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);

  // One block in NF4. A full block is multiplied by 1 / absmax and an incomplete one divided by it, as bitsandbytes does
  // (the last bit can differ).
  function nf4(block, full) {
    const absmax = full ? largest(block) : Math.max(largest(block), TINY);
    const inverse = f(1 / Math.max(absmax, TINY));
    const codes = block.map((value) => nearest(full ? f(value * inverse) : f(value / absmax), MIDPOINTS.nf4));
    return { codes, constant: absmax, values: codes.map((code) => f(NF4[code] * absmax)), levels: NF4.map((level) => f(level * absmax)) };
  }

  // One block in FP4, as helpers.formats rounds it: codes are places among the 15 levels
  function fp4(block) {
    const absmax = largest(block);
    const codes = block.map((value) => nearest(f(value / (absmax || 1)), MIDPOINTS.fp4));
    return { codes, constant: absmax, values: codes.map((code) => f(FP4[code] * absmax)), levels: FP4.map((level) => f(level * absmax)) };
  }

  // One block as whole numbers from -top to top, with the largest at the end: INT4 (top 7) and INT8 (top 127)
  function int(block, top) {
    const scale = f(largest(block) / top);
    const codes = block.map((value) => Math.max(-top, Math.min(top, roundEven(f(value / (scale || 1))))));
    const steps = Array.from({ length: 2 * top + 1 }, (_, i) => i - top);
    return { codes, constant: scale, values: codes.map((code) => f(code * scale)), levels: steps.map((step) => f(step * scale)) };
  }

  const SCHEMES = { int4: (block) => int(block, 7), fp4, nf4 };
  const SIZES = { int4: [8, 16, 32, 64], fp4: [8, 16, 32, 64], nf4: [32, 64] }; // the sizes offered; NF4's are bitsandbytes'

  // Quantize any number of values in blocks. Everything that the page shows is in the answer.
  function quantize(scheme, given, size) {
    const original = given.map(f), blocks = [];
    for (let start = 0; start < original.length; start += size) {
      const block = original.slice(start, start + size);
      blocks.push({ start, ...SCHEMES[scheme](block, block.length == size) });
    }
    const codes = blocks.flatMap((block) => block.codes), values = blocks.flatMap((block) => block.values);
    const errors = values.map((value, i) => value - original[i]);
    return {
      blocks, codes, values, errors,
      constants: blocks.map((block) => block.constant),
      packed: scheme == "nf4" ? pack(codes) : null,
      bytes: Math.ceil(codes.length / 2) + 4 * blocks.length,
      bits: 4 + 32 / size,
      mean: errors.reduce((sum, error) => sum + Math.abs(error), 0) / errors.length,
    };
  }

  // Two codes in a byte, the first in the high half; an odd last one gets 7, the code of zero
  function pack(codes) {
    const bytes = [];
    for (let i = 0; i < codes.length; i += 2) bytes.push(codes[i] << 4 | (codes[i + 1] ?? 7));
    return bytes;
  }

  // Floating-point formats: bits of the exponent and of the mantissa. E4M3 has no infinity and stops at 448.
  const FLOATS = {
    fp32: { exponent: 8, mantissa: 23 }, fp16: { exponent: 5, mantissa: 10 }, bf16: { exponent: 8, mantissa: 7 },
    "fp8 e4m3": { exponent: 4, mantissa: 3, finite: 448 }, "fp8 e5m2": { exponent: 5, mantissa: 2 },
  };
  const bias = (form) => 2 ** (form.exponent - 1) - 1;

  // The nearest number of a format, ties to even, starting from 32 bits as PyTorch does
  function roundTo(given, name) {
    const form = FLOATS[name], value = f(given), size = Math.abs(value);
    if (name == "fp32" || size == 0 || Number.isNaN(value)) return value;
    let power = 1 - bias(form); // of the smallest normal number; below it steps stay as they are
    while (size >= 2 ** (power + 1) && power <= 200) power += 1;
    const step = 2 ** (power - form.mantissa);
    const rounded = size == Infinity ? size : roundEven(size / step) * step;
    const most = form.finite ?? (2 - 2 ** -form.mantissa) * 2 ** bias(form);
    return Math.sign(value) * (rounded > most ? form.finite ?? Infinity : rounded);
  }

  // An update is added to weights that were in NF4, and what comes out is stored: in BF16, and in NF4 again
  function merge(weights, update, size) {
    const before = quantize("nf4", weights, 64), base = before.values;
    const wanted = update.map((one) => f(f(size) * f(one)));
    const whole = base.map((weight, i) => f(weight + wanted[i]));
    const after = quantize("nf4", whole, 64);
    const moved = after.codes.map((code, i) => code != before.codes[i]);
    return { base, wanted, whole, bf16: whole.map((weight) => roundTo(weight, "bf16")), nf4: after.values, levels: after.blocks[0].levels, moved };
  }

  const bitsOf = (number, count) => number.toString(2).padStart(count, "0");

  // Sign, exponent and mantissa of a number in a format, as texts of 0 and 1
  function fields(given, name) {
    const form = FLOATS[name], value = roundTo(given, name), size = Math.abs(value);
    const sign = value < 0 || Object.is(value, -0) ? "1" : "0";
    if (size == Infinity) return [sign, "1".repeat(form.exponent), "0".repeat(form.mantissa)];
    let power = 1 - bias(form);
    while (size >= 2 ** (power + 1)) power += 1;
    const whole = size / 2 ** (power - form.mantissa); // the mantissa with its leading one, if it has it
    const normal = whole >= 2 ** form.mantissa;
    return [sign, bitsOf(normal ? power + bias(form) : 0, form.exponent),
      bitsOf(normal ? whole - 2 ** form.mantissa : whole, form.mantissa)];
  }

  // The number that bits stand for; the inverse of `fields`
  function fromFields([sign, exponent, mantissa], name) {
    const form = FLOATS[name], power = parseInt(exponent, 2), fraction = parseInt(mantissa, 2) / 2 ** form.mantissa;
    const factor = sign == "1" ? -1 : 1;
    if (!exponent.includes("0") && !form.finite) return fraction ? NaN : factor * Infinity;
    if (!(exponent + mantissa).includes("0")) return NaN;
    if (power == 0) return factor * fraction * 2 ** (1 - bias(form));
    return factor * (1 + fraction) * 2 ** (power - bias(form));
  }

  // Read what somebody typed: numbers, or a sentence on what is wrong with it
  function parse(text, most) {
    const words = text.replace(/[−–]/g, "-").split(/[\s,;[\]()]+/).filter(Boolean);
    if (!words.length) return { said: "There is no number here yet: type some, with spaces or commas between them." };
    if (/\d,\d/.test(text) && (most == 1 || /\d\s+[-+.\d]/.test(text))) {
      return { said: "A comma stands inside a number: write decimals with a point, as in 0.31." };
    }
    if (words.length > most) return { said: `These are ${words.length} numbers, and there is room for ${most}: take some out.` };
    const values = words.map(Number);
    const wrong = words.findIndex((word, i) => Number.isNaN(values[i]) || /^[+-]?(0[xob]|infinity)/i.test(word));
    if (wrong >= 0) return { said: `“${words[wrong].slice(0, 20)}” is not a number that can be rounded: write 0.31, for example.` };
    const beyond = words.findIndex((word, i) => Math.abs(f(values[i])) == Infinity);
    if (beyond >= 0) return { said: `${words[beyond].slice(0, 20)} is beyond 3.4e38, the largest number of FP32.` };
    return { values };
  }

  // A number with so many digits and a real minus sign
  const shown = (value, digits = 4) => (Object.is(value, -0) ? 0 : value).toFixed(digits).replace("-", "−");
  const short = (value) => (Math.abs(value) >= 1e-3 && Math.abs(value) < 1e5) || value == 0
    ? shown(value, 4) : value.toExponential(3).replace(/-/g, "−");

  return { NF4, FP4, SIZES, FLOATS, quantize, int, pack, merge, roundTo, fields, fromFields, parse, shown, short, f };
})();
