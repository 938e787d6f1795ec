// The second tool: the bits of a number in seven formats, each bit a button.
"use strict";

{
  const tool = document.getElementById("bits");
  const number = tool.querySelector("[name=number]"), largest = tool.querySelector("[name=largest]");
  const NAMES = { fp32: "FP32", fp16: "FP16", bf16: "BF16", "fp8 e4m3": "FP8 E4M3", "fp8 e5m2": "FP8 E5M2", int8: "INT8", int4: "INT4" };
  const INTS = { int8: 8, int4: 4 };
  let own = null; // {name, bits} while a row shows bits that somebody set, and no longer the number above

  // Whole numbers are stored as two's complement: below zero they count up from the far end
  const toBits = (code, count) => (code < 0 ? code + 2 ** count : code).toString(2).padStart(count, "0");
  const fromBits = (bits) => { const code = parseInt(bits, 2); return bits[0] == "1" ? code - 2 ** bits.length : code; };

  function row(name, value, most) {
    if (own?.name == name) return read(name, own.bits, most);
    if (INTS[name]) {
      const code = numbers.int([numbers.f(value), numbers.f(most)], 2 ** (INTS[name] - 1) - 1).codes[0];
      return read(name, toBits(code, INTS[name]), most);
    }
    return read(name, numbers.fields(value, name).join(""), most);
  }

  // What bits stand for: their fields, the value, and how it comes about
  function read(name, bits, most) {
    if (INTS[name]) {
      const code = fromBits(bits), scale = numbers.int([numbers.f(most)], 2 ** (INTS[name] - 1) - 1).constant;
      return { bits, kinds: ["sign", ...Array(bits.length - 1).fill("mantissa")], value: numbers.f(code * scale),
        how: `code ${minused(code)} × step ${numbers.short(scale)}` };
    }
    const { exponent, mantissa, finite } = numbers.FLOATS[name];
    const parts = [bits[0], bits.slice(1, 1 + exponent), bits.slice(1 + exponent)];
    const value = numbers.fromFields(parts, name), power = parseInt(parts[1], 2), bias = 2 ** (exponent - 1) - 1;
    const fraction = parseInt(parts[2], 2) / 2 ** mantissa;
    const minus = parts[0] == "1" ? "−" : "";
    const special = Number.isNaN(value) || Math.abs(value) == Infinity;
    const how = special ? `all ones in the exponent${finite ? " and mantissa" : ""}`
      : power == 0 ? `${minus}${(+fraction.toPrecision(6))} × 2<sup>${minused(1 - bias)}</sup> (no leading one: subnormal)`
      : `${minus}${+(1 + fraction).toPrecision(8)} × 2<sup>${minused(power - bias)}</sup>`;
    return { bits, kinds: ["sign", ...Array(exponent).fill("exponent"), ...Array(mantissa).fill("mantissa")], value, how };
  }

  const minused = (whole) => String(whole).replace("-", "−");
  const said = (value) => Number.isNaN(value) ? "not a number" : Math.abs(value) == Infinity ? (value < 0 ? "−∞" : "∞")
    : String(+value.toPrecision(9)).replace(/-/g, "−");

  function update() {
    const one = numbers.parse(number.value, 1), most = numbers.parse(largest.value, 1);
    let wrong = one.said ?? most.said ?? "";
    if (!wrong && !(most.values[0] > 0)) wrong = "The largest of a block is a size, so it is above zero: write 0.80, for example.";
    if (!wrong && Math.abs(one.values[0]) > most.values[0]) {
      wrong = `${number.value.trim()} is larger than ${largest.value.trim()}, so it can’t be in a block whose largest is that: INT8 and INT4 are left out.`;
    }
    tool.querySelector(".wrong").textContent = wrong;
    const out = one.said !== undefined; // without a number there is nothing to show
    const names = Object.keys(NAMES).filter((name) => !out && !(wrong && INTS[name]));
    tool.querySelector(".rows").replaceChildren(...names.map((name) => line(name, one.values[0], most.values?.[0])));
  }

  function line(name, value, most) {
    const { bits, kinds, value: stored, how } = row(name, value, most);
    const box = document.createElement("div"), head = document.createElement("p"), cells = document.createElement("p");
    box.className = "format";
    box.dataset.name = name;
    const off = Math.abs(stored - value);
    const far = own?.name == name ? "bits that you set" : Number.isFinite(stored) ? (off ? `off by ${numbers.short(off)}` : "exact") : "too large";
    head.innerHTML = `<b>${NAMES[name]}</b> <output>${said(stored)}</output> <span>${how} · ${far}</span>`;
    cells.className = "cells";
    [...bits].forEach((bit, i) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = bit;
      button.className = `${kinds[i]}${i && kinds[i] != kinds[i - 1] ? " first" : ""}`;
      button.setAttribute("aria-label", `${NAMES[name]}, ${INTS[name] && i ? "digit" : kinds[i]}, bit ${i + 1} of ${bits.length}: ${bit}`);
      button.addEventListener("click", () => flip(name, bits, i));
      cells.append(button);
    });
    box.append(head, cells);
    return box;
  }

  // A bit of a floating-point number makes a new number for all formats; one of a row that cannot be typed stays there.
  function flip(name, bits, i) {
    const turned = bits.slice(0, i) + (bits[i] == "1" ? "0" : "1") + bits.slice(i + 1);
    own = { name, bits: turned };
    const value = read(name, turned, numbers.parse(largest.value, 1).values?.[0] ?? 1).value;
    if (!INTS[name] && Number.isFinite(value)) { // INT rows keep their own bits: the step depends on the block
      number.value = String(+value.toPrecision(17));
      own = null;
    }
    update();
    tool.querySelector(`[data-name="${name}"]`)?.querySelectorAll("button")[i].focus();
  }

  for (const field of [number, largest]) field.addEventListener("input", () => { own = null; update(); });
  update();
}
