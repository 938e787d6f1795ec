// The fourth tool: an update that is smaller than the gaps between levels, on its way into 4 bits.
"use strict";

{
  const tool = document.getElementById("update");
  const part = (selector) => tool.querySelector(selector);
  const slider = part("[name=size]"), field = part("[name=weights]"), drawing = part(".drawing");
  const HEIGHT = 300, EDGE = 16, LEFT = 44;
  let update = [0.4, 0.9, -0.7, -0.5, 0.8, 0.6, -0.9, 0.3, ...Array.from({ length: 56 }, (_, i) => Math.sin(7 * i))];

  const size = () => numbers.f(10 ** (+slider.value / 10)); // from a thousandth to one

  function run() {
    const read = numbers.parse(field.value, 64);
    part(".wrong").textContent = read.said ?? "";
    tool.classList.toggle("off", !read.values);
    part("output").textContent = `±${size().toPrecision(2)}`;
    slider.setAttribute("aria-valuetext", size().toPrecision(2));
    if (read.values) show(numbers.merge(read.values, update.slice(0, read.values.length), size()));
  }

  function show({ base, wanted, whole, bf16, nf4, levels, moved }) {
    const width = Math.max(300, drawing.clientWidth || 700), slot = (width - LEFT) / base.length;
    const range = 1.08 * Math.max(...[...base, ...whole, ...levels].map(Math.abs), 1e-30);
    const y = (value) => EDGE + (HEIGHT - 2 * EDGE) * (0.5 - value / range / 2);
    const parts = [`<svg viewBox="0 0 ${width} ${HEIGHT}" width="${width}" height="${HEIGHT}" role="img" aria-label="Weights before and after the update, on the levels of NF4">`];
    for (const level of levels) parts.push(`<line class="level" x1="${LEFT}" x2="${width}" y1="${y(level)}" y2="${y(level)}"/>`);
    for (const value of [range / 1.08, 0, -range / 1.08]) parts.push(`<text class="axis" x="${LEFT - 6}" y="${y(value) + 4}" text-anchor="end">${numbers.shown(value, 2)}</text>`);
    base.forEach((weight, i) => {
      const x = LEFT + slot * (i + 0.5), half = Math.min(20, slot * 0.42);
      parts.push(`<line class="was" x1="${x - half}" x2="${x + half}" y1="${y(weight)}" y2="${y(weight)}"/>`);
      parts.push(`<line class="move" x1="${x}" x2="${x}" y1="${y(weight)}" y2="${y(whole[i])}"/>`);
      parts.push(`<circle class="dot" cx="${x}" cy="${y(whole[i])}" r="${Math.min(6, Math.max(3, slot / 3))}"/>`);
      parts.push(`<line class="becomes ${moved[i] ? "jumped" : ""}" x1="${x - half}" x2="${x + half}" y1="${y(nf4[i])}" y2="${y(nf4[i])}"/>`);
    });
    drawing.innerHTML = parts.join("") + "</svg>";

    // how far what was stored is from what was wanted, as a share of what was wanted
    const off = (stored) => stored.reduce((sum, one, i) => sum + Math.abs(one - whole[i]), 0) / wanted.reduce((sum, one) => sum + Math.abs(one), 0);
    const percent = (share) => `${share < 0.1 ? (100 * share).toFixed(1) : Math.round(100 * share).toLocaleString("en")}%`;
    const count = moved.filter(Boolean).length;
    part(".finding").innerHTML = `In NF4, <b>${count} of ${base.length}</b> ${base.length == 1 ? "weight" : "weights"} went to another level, and on average a weight `
      + `misses its goal by <b>${percent(off(nf4))}</b> of the update. In BF16 it misses by <b>${percent(off(bf16))}</b>.`;
  }

  slider.addEventListener("input", run);
  field.addEventListener("input", run);
  part("[name=another]").addEventListener("click", () => { update = update.map(() => 2 * Math.random() - 1); run(); });
  addEventListener("resize", run);
  run();
}
