// The third tool: does a model fit on a card, part by part.
"use strict";

{
  const tool = document.getElementById("fit");
  const part = (selector) => tool.querySelector(selector);
  const field = (name) => part(`[name=${name}]`);
  const OWN = "your own: paste its config.json";
  // the colors of the same groups in the notebooks
  const COLORS = ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442", "var(--ink)", "#8c959f"];
  const group = Object.fromEntries(Object.entries(FORECASTS.groups).flatMap(([name, parts], i) => parts.map((one) => [one, { name, color: COLORS[i] }])));

  field("model").append(...[...Object.keys(FORECASTS.presets), OWN].map((name) => new Option(name, name)));
  field("model").value = "Mistral-7B-v0.1";

  // A whole number between two bounds, or a sentence
  function count(name, words, least, most) {
    const text = field(name).value.trim().replace(/[,_ ](?=\d{3}\b)/g, ""), value = Number(text);
    if (text == "") throw `${words} is empty: write a whole number, such as ${Math.max(least, 1)}.`;
    if (!/^\d+$/.test(text) || value < least || value > most) {
      throw `${words} is “${text.slice(0, 20)}”, and must be a whole number from ${least.toLocaleString("en")} to ${most.toLocaleString("en")}.`;
    }
    return value;
  }

  function question() {
    const asked = { scheme: field("scheme").value, stage: field("stage").value };
    if (field("model").value != OWN) asked.preset = field("model").value;
    else {
      const read = forecast.configOf(field("config").value);
      if (!field("config").value.trim()) throw "Paste the config.json of a model of the Llama or Mistral family.";
      if (read.said) throw read.said;
      asked.config = read.config;
    }
    const least = asked.stage == "load" ? 0 : 2;
    asked.context = count("context", "The context", least, 10_000_000);
    asked.batch = count("batch", "The batch", 1, 100_000);
    asked.rank = asked.stage == "train" ? count("rank", "The rank", 1, 4096) : 16;
    asked.shards = count("gpus", "The number of GPUs", 1, 1024);
    if (asked.shards > 1 && asked.stage != "train") {
      throw "Several GPUs are forecast for training, where FSDP divides the model by a rule. Set GPUs to 1, or choose “train an adapter”.";
    }
    asked.size = Number(field("size").value.trim());
    if (!(asked.size > 0 && asked.size <= 10_000)) throw `The size of a GPU is “${field("size").value.slice(0, 20)}”, and must be a number of GB above 0, such as 8 or 24.`;
    return asked;
  }

  const bytes = (n) => n.toLocaleString("en");
  const gb = (n) => n >= 1e8 ? `${(n / 1e9).toFixed(2)} GB` : `${(n / 1e6).toFixed(1)} MB`;

  function update() {
    part(".own").hidden = field("model").value != OWN;
    part(".train").hidden = field("stage").value != "train";
    let answer, asked, wrong = "";
    try {
      asked = question();
      answer = forecast.predict(asked);
      wrong = answer.parts ? "" : answer.said;
    } catch (sentence) {
      if (typeof sentence != "string") throw sentence; // a fault of ours, for the console
      wrong = sentence;
    }
    part(".wrong").textContent = wrong;
    tool.classList.toggle("off", Boolean(wrong));
    if (!wrong) tell(answer, asked);
  }

  function tell({ parts, total, whole, said }, { size, shards }) {
    const card = size * 2 ** 30, fits = total <= card, each = shards > 1 ? " on each GPU" : "";
    const room = `a card of ${size} GB (${gb(card)})`;
    const verdict = part(".verdict");
    verdict.className = `verdict ${fits ? (whole ? "yes" : "open") : "no"}`;
    verdict.innerHTML = whole
      ? `<b>${fits ? "It fits." : "It doesn’t fit."}</b> ${gb(total)}${each}, on ${room}: ${gb(Math.abs(card - total))} ${fits ? "to spare" : "too much"}.`
      : fits ? `<b>That can’t be said from here.</b> ${gb(total)}${each} without activations, on ${room}.`
      : `<b>It doesn’t fit.</b> ${gb(total)}${each} even without activations, on ${room}.`;
    part(".missing").textContent = said;

    const groups = new Map();
    for (const [name, size] of Object.entries(parts)) {
      const own = group[name];
      groups.set(own.name, { color: own.color, size: (groups.get(own.name)?.size ?? 0) + size });
    }
    const wide = Math.max(total, card);
    const bar = part(".bar");
    bar.innerHTML = [...groups].map(([name, { color, size }]) => `<i style="width:${100 * size / wide}%;background:${color}" title="${name}: ${gb(size)}"></i>`).join("")
      + `<u style="left:${100 * card / wide}%"></u>`;
    bar.setAttribute("aria-label", `${[...groups].map(([name, { size }]) => `${name} ${gb(size)}`).join(", ")}; the card ends at ${gb(card)}.`);
    part(".legend").innerHTML = [...groups].map(([name, { color, size }]) => `<span><i style="background:${color}"></i>${name} ${gb(size)}</span>`).join(" ");
    const rows = Object.entries(parts).map(([name, size]) => [FORECASTS.names[name], bytes(size), `${(100 * size / total).toFixed(2)}%`]);
    rows.push([whole ? "total" : "total of these", bytes(total), "100.00%"]);
    part("tbody").innerHTML = rows.map((row) => `<tr>${row.map((cell) => `<td>${cell}</td>`).join("")}</tr>`).join("");
  }

  tool.addEventListener("input", update);
  update();
}
