// The first tool: weights as dots that can be dragged, and where 4 bits put them.
"use strict";

{
  const tool = document.getElementById("quantize");
  const part = (selector) => tool.querySelector(selector);
  const field = part("[name=values]"), size = part("[name=size]"), drawing = part(".drawing");
  const HEIGHT = 300, EDGE = 16, LEFT = 44;
  let values = [], state = null, range = 1; // what is drawn now; `range` is the value at the upper edge

  const scheme = () => part("[name=scheme]:checked").value;
  const NAMES = { int4: "INT4", fp4: "FP4", nf4: "NF4" };

  function offer() { // the block sizes that the scheme has
    const sizes = numbers.SIZES[scheme()], before = +size.value || 64;
    size.replaceChildren(...sizes.map((count) => new Option(count, count)));
    size.value = sizes.includes(before) ? before : 64;
  }

  function update(grow = true) {
    const read = numbers.parse(field.value, 64);
    part(".wrong").textContent = read.said ?? "";
    tool.classList.toggle("off", !read.values); // never a picture beside a text that it does not show
    if (!read.values) return;
    values = read.values;
    state = numbers.quantize(scheme(), values, +size.value);
    const most = Math.max(...state.blocks.flatMap((block) => block.levels.map(Math.abs)), 1e-30);
    if (grow || most > range) range = 1.08 * most;
    draw();
    tell();
  }

  const y = (value) => EDGE + (HEIGHT - 2 * EDGE) * (0.5 - value / range / 2);

  function draw() {
    const width = Math.max(300, drawing.clientWidth || 700), slot = (width - LEFT) / values.length;
    const x = (i) => LEFT + slot * (i + 0.5);
    const parts = [`<svg viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" role="group" aria-label="Weights and their levels">`];
    for (const block of state.blocks) {
      const from = LEFT + slot * block.start, to = Math.min(width, from + slot * block.codes.length);
      for (const level of block.levels) {
        parts.push(`<line class="level" x1="${from + 2}" x2="${to - 2}" y1="${y(level)}" y2="${y(level)}"/>`);
      }
    }
    for (const value of [range / 1.08, 0, -range / 1.08]) {
      parts.push(`<text class="axis" x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${label(value)}</text>`);
    }
    const radius = Math.min(9, Math.max(4.5, slot / 3));
    state.values.forEach((value, i) => {
      const half = Math.min(16, slot * 0.42);
      parts.push(`<line class="move" x1="${x(i)}" x2="${x(i)}" y1="${y(values[i])}" y2="${y(value)}"/>`);
      parts.push(`<line class="becomes" x1="${x(i) - half}" x2="${x(i) + half}" y1="${y(value)}" y2="${y(value)}"/>`);
      parts.push(`<circle class="dot" data-i="${i}" cx="${x(i)}" cy="${y(values[i])}" r="${radius}" tabindex="0" role="slider" `
        + `aria-label="Weight ${i + 1}" aria-orientation="vertical" aria-valuemin="${-range}" aria-valuemax="${range}" `
        + `aria-valuenow="${values[i]}" aria-valuetext="${numbers.short(values[i])}, becomes ${numbers.short(value)}"/>`);
    });
    const focused = document.activeElement?.dataset?.i; // the dot that is moved by keys stays in focus
    drawing.innerHTML = parts.join("") + "</svg>";
    if (focused !== undefined) dot(focused).focus();
  }

  const dot = (i) => drawing.querySelector(`[data-i="${i}"]`);
  const label = (value) => (value == 0 ? "0" : Math.abs(value) >= 0.01 && Math.abs(value) < 1000 ? numbers.shown(value, 2) : value.toExponential(0).replace(/-/g, "−"));

  function tell() {
    const bits = state.bits.toLocaleString("en", { maximumFractionDigits: 3 });
    const exact = state.errors.filter((error) => error == 0).length;
    const one = values.length == 1;
    part(".finding").innerHTML = `<b>${values.length}</b> ${one ? "weight" : "weights"} in <b>${state.bytes}</b> bytes, in ${NAMES[scheme()]}. `
      + `In full blocks of ${size.value} that is <b>${bits}</b> bits per weight. The mean error is <b>${numbers.short(state.mean)}</b>`
      + (exact && !one ? `; ${exact} of them ${exact == 1 ? "is" : "are"} met exactly.` : ".");
    part(".packed").textContent = state.packed
      ? `Packed, two codes a byte: ${state.packed.map((byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ")}. `
        + `Largest of each block: ${state.constants.map(numbers.short).join(", ")}.`
      : `${scheme() == "int4" ? "Step" : "Largest"} of each block: ${state.constants.map(numbers.short).join(", ")}.`;
    part("tbody").innerHTML = values.map((value, i) => `<tr>${[numbers.short(value), String(state.codes[i]).replace("-", "−"),
      numbers.short(state.values[i]), numbers.short(state.errors[i])].map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  }

  function set(all, grow) {
    field.value = all.map((value) => +value.toPrecision(6)).join(" ");
    update(grow);
  }

  function move(i, value) {
    const all = [...values];
    all[i] = Math.abs(value) < 1e30 ? value : values[i];
    set(all, false);
  }

  drawing.addEventListener("pointerdown", (event) => {
    const i = event.target.dataset?.i;
    if (i === undefined) return;
    event.preventDefault();
    const begin = event.clientY, was = values[i], scale = 2 * range / (HEIGHT - 2 * EDGE);
    const drag = (to) => move(i, Math.round((was + (begin - to.clientY) * scale) / range * 200) * range / 200);
    const end = () => { removeEventListener("pointermove", drag); removeEventListener("pointerup", end); removeEventListener("pointercancel", end); update(); };
    addEventListener("pointermove", drag);
    addEventListener("pointerup", end);
    addEventListener("pointercancel", end);
    dot(i).focus();
  });
  drawing.addEventListener("keydown", (event) => {
    const way = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1 }[event.key], i = event.target.dataset?.i;
    if (i === undefined || !way) return;
    event.preventDefault();
    move(i, values[i] + way * range * (event.shiftKey ? 0.1 : 0.01));
  });

  // A bell: two even random numbers make a normal one (Box and Muller)
  const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
  const bell = () => Array.from({ length: 64 }, () => +(0.02 * normal()).toFixed(4));
  const on = (name, act) => part(`[name=${name}]`).addEventListener("click", act);
  on("eight", () => set([0.31, -0.8, 0.02, 0.5, -0.11, 0.07, -0.45, 0.23], true));
  on("bell", () => set(bell(), true));
  on("outlier", () => { const all = bell(); all[20] = 0.2; set(all, true); });
  field.addEventListener("input", () => update());
  size.addEventListener("change", () => update());
  for (const choice of tool.querySelectorAll("[name=scheme]")) choice.addEventListener("change", () => { offer(); update(); });
  addEventListener("resize", () => state && draw());

  offer();
  update();
}
