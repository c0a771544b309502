"use strict";
// Sorting, finding and details. Everything that tables and charts tell is there without it.
const live = document.documentElement.dataset.live === "yes";
const one = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const overview = one("#overview"), details = one("#unit");
let scrolled = 0, asked = 0;

// --- light and dark ---
const theme = one("#theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

// --- sorting ---
const compareTexts = new Intl.Collator(undefined, { numeric: true }).compare;
const numberOf = (text) => Number.parseFloat(text);
for (const table of all("table.sorts")) {
  all("thead th", table).forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of all("th", table.tHead)) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0], sign = up ? 1 : -1;
      const keyed = [...body.rows].map((row) => [row.cells[column].dataset.n ?? row.cells[column].textContent.trim(), row]);
      const numbers = heading.classList.contains("n");
      keyed.sort(([a], [b]) => {
        if (!numbers) return sign * compareTexts(a, b);
        const x = numberOf(a), y = numberOf(b);
        if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) - Number.isNaN(y);
        return sign * (x - y);
      });
      body.append(...keyed.map(([, row]) => row));
    });
  });
}

// --- finding ---
for (const form of all("form.filter")) {
  form.hidden = false;
  const rows = [...one(`#tasks-${form.dataset.table}`).tBodies[0].rows];
  const words = one("input", form), kind = one("select", form), count = one("output", form);
  const apply = () => {
    const wanted = words.value.trim().toLowerCase(), only = kind.value;
    let shown = 0;
    for (const row of rows) {
      const fits = only === "" || row.dataset.solved === only || row.dataset.kind === only ||
        (row.dataset.kind === "both" && (only === "gained" || only === "lost"));
      row.hidden = !(fits && row.cells[0].textContent.toLowerCase().includes(wanted));
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} tasks`;
  };
  form.addEventListener("submit", (event) => event.preventDefault());
  words.addEventListener("input", apply);
  kind.addEventListener("change", apply);
  apply();
}

// --- details ---
async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}
async function fetched(number) {
  if (live) {
    const answer = await fetch(`unit/${number}`);
    return answer.ok ? answer.text() : null;
  }
  const packed = one(`#d${number}`);
  return packed ? unpacked(packed.textContent) : null;
}
function button(text, hash) {
  const link = document.createElement("a");
  link.href = hash;
  link.textContent = text;
  return link;
}
const units = all("table.tasks td a");
function beside(number, step) {
  const at = units.findIndex((link) => link.hash === `#u${number}`);
  return units[at + step]?.hash;
}
async function route() {
  const match = /^#u(\d+)$/.exec(location.hash);
  const turn = ++asked;
  if (!match) {
    if (!overview.hidden) return;
    details.hidden = true;
    overview.hidden = false;
    scrollTo(0, scrolled);
    return;
  }
  if (!overview.hidden) scrolled = scrollY;
  let text = null;
  try { text = await fetched(match[1]); } catch (error) { console.error(error); }
  if (turn !== asked) return; // another one was asked for meanwhile
  // Escaped where it was made, and the page's policy lets no script in it run.
  const told = new DOMParser().parseFromString(text ?? "", "text/html");
  const nav = document.createElement("nav");
  nav.append(button("← all tasks", "#"));
  for (const [name, step] of [["previous", -1], ["next", 1]]) {
    const hash = beside(match[1], step);
    if (hash) nav.append(button(name, hash));
  }
  details.replaceChildren(nav, ...told.body.childNodes);
  const opener = one("button.all", details);
  if (opener) {
    opener.hidden = false;
    opener.addEventListener("click", () => {
      const steps = all(".step > details", details), open = steps.some((step) => !step.open);
      for (const step of steps) step.open = open;
      opener.textContent = open ? "close all" : "open all";
    });
  }
  if (text === null) details.append("The details of this result are not in this file; egcfg view has them.");
  overview.hidden = true;
  details.hidden = false;
  scrollTo(0, 0);
  details.focus({ preventScroll: true });
}
addEventListener("hashchange", route);

// --- keys ---
one("#keys").hidden = false;
let here = null;
function move(step) {
  const rows = all("table.tasks tbody tr").filter((row) => !row.hidden);
  if (!rows.length) return;
  const at = rows.indexOf(here);
  here?.classList.remove("here");
  here = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
  here.classList.add("here");
  here.scrollIntoView({ block: "nearest" });
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("input, select, textarea");
  if (event.key === "Escape") {
    if (typing) event.target.blur();
    else if (overview.hidden) location.hash = "";
    return;
  }
  if (typing) return;
  const opened = /^#u(\d+)$/.exec(location.hash);
  if (opened && (event.key === "n" || event.key === "p")) {
    const hash = beside(opened[1], event.key === "n" ? 1 : -1);
    if (hash) location.hash = hash;
  } else if (!opened && event.key === "/") {
    event.preventDefault();
    one("form.filter input")?.focus();
  } else if (!opened && (event.key === "j" || event.key === "k")) {
    move(event.key === "j" ? 1 : -1);
  } else if (!opened && event.key === "Enter" && here && event.target === document.body) {
    const links = all("td a", here);
    // What is recorded tells most.
    (links.find((link) => one("sup", link)) ?? links[0])?.click();
  }
});
route();
