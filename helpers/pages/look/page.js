// What every page can do: turn dark or light, open its menu on a small screen, copy code, keep a guess, search.
"use strict";

{
  const root = document.documentElement;
  const kept = (() => { try { return localStorage; } catch { return {}; } })(); // some browsers refuse it to local files
  root.style.colorScheme = kept.theme ?? "";
  document.getElementById("theme").addEventListener("click", () => {
    const dark = (root.style.colorScheme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) == "dark";
    kept.theme = root.style.colorScheme = dark ? "light" : "dark";
  });

  const menu = document.getElementById("menu"), places = document.getElementById("places");
  menu.addEventListener("click", () => menu.setAttribute("aria-expanded", places.classList.toggle("open")));

  if (navigator.clipboard) {
    for (const code of document.querySelectorAll(".cell > .code")) {
      const button = document.createElement("button");
      button.className = "copy";
      button.textContent = "Copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      });
      code.after(button);
    }
  }

  for (const guess of document.querySelectorAll(".guess")) {
    for (const button of guess.querySelectorAll("button")) {
      button.addEventListener("click", () => {
        for (const other of guess.querySelectorAll("button")) other.setAttribute("aria-pressed", other == button);
        guess.querySelector("[role=status]").textContent = `Your guess is ${button.textContent}. Read on to see.`;
      });
    }
  }

  // The search. Its index is a script, not data to fetch, so that it works on a page opened from a disk, too.
  const box = document.getElementById("find"), list = document.getElementById("found");

  function load() {
    return window.COURSE_INDEX ?? (load.coming ??= new Promise((done) => {
      const script = document.createElement("script");
      script.src = box.dataset.index;
      script.onload = () => done(window.COURSE_INDEX);
      document.head.append(script);
    }));
  }

  // Sections that have all the words; one that has them side by side, or in its heading, comes before the others.
  function find(index, query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (query.trim().length < 2) return [];
    const phrase = words.join(" ");
    const hits = [];
    for (const [page, title, anchor, heading, text] of index) {
      const low = text.toLowerCase(), top = `${title} ${heading}`.toLowerCase();
      if (!words.every((word) => low.includes(word) || top.includes(word))) continue;
      const score = 20 * top.includes(phrase) + 8 * low.includes(phrase) + words.filter((word) => top.includes(word)).length
        + Math.min(5, low.split(phrase).length - 1);
      hits.push({ page, title, anchor, heading, text, score, at: Math.max(0, low.indexOf(low.includes(phrase) ? phrase : words[0])) });
    }
    return hits.sort((a, b) => b.score - a.score).slice(0, 20);
  }

  function shown(hit, words) {
    const link = document.createElement("a");
    link.href = hit.page + (hit.anchor ? "#" + hit.anchor : "");
    const name = document.createElement("b"), piece = document.createElement("small");
    name.textContent = hit.heading == hit.title ? hit.title : `${hit.title} › ${hit.heading}`;
    const start = Math.max(0, hit.at - 60);
    const text = (start ? "… " : "") + hit.text.slice(start, start + 170) + " …";
    let rest = text;
    while (rest) { // the words are put in as text, never as markup
      const low = rest.toLowerCase();
      const next = words.map((word) => [low.indexOf(word), word.length]).filter(([at]) => at >= 0).sort((a, b) => a[0] - b[0])[0];
      if (!next) break;
      const mark = document.createElement("mark");
      mark.textContent = rest.slice(next[0], next[0] + next[1]);
      piece.append(rest.slice(0, next[0]), mark);
      rest = rest.slice(next[0] + next[1]);
    }
    piece.append(rest);
    link.append(name, piece);
    return link;
  }

  async function search() {
    const query = box.value, index = await load();
    if (query != box.value) return; // somebody typed on meanwhile
    const hits = find(index, query), words = query.toLowerCase().split(/\s+/).filter(Boolean);
    list.replaceChildren(...hits.map((hit) => shown(hit, words)));
    if (!hits.length && query.trim().length > 1) {
      const nothing = document.createElement("p");
      nothing.textContent = `Nothing in the course has ${words.length > 1 ? "all these words" : "this word"}.`;
      list.append(nothing);
    }
  }

  if (box) {
    box.addEventListener("input", search);
    box.addEventListener("focus", load, { once: true });
    document.addEventListener("keydown", (event) => {
      if (event.key == "Escape") { list.replaceChildren(); places.classList.remove("open"); }
      if (event.key == "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) { box.focus(); event.preventDefault(); }
      if (event.key == "ArrowDown" && document.activeElement == box) { list.querySelector("a")?.focus(); event.preventDefault(); }
    });
    document.addEventListener("click", (event) => { if (!event.target.closest(".find")) list.replaceChildren(); });
  }
}
