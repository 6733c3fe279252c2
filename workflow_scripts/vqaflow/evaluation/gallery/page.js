"use strict";
const FIELDS = ["id", "question", "choices", "qtype", "fold", "answer", "predicted", "shares", "given", "picture", "notes"];
const SELECTS = ["type", "fold", "wrong", "sort"];
const PAGE_ROWS = 24;
const DEFAULTS = {type: "", fold: "", wrong: "1", sort: "confident", q: "", page: "1", theme: ""};
const THEMES = ["", "dark", "light"];
const WRONG = {"1": row => row.predicted !== row.answer, "0": row => row.predicted === row.answer, "all": () => true};
const SORTS = {
  confident: (x, y) => y.confidence - x.confidence, doubtful: (x, y) => x.confidence - y.confidence,
  loss: (x, y) => x.shares[x.answer] - y.shares[y.answer], id: () => 0,
};
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map(values => {
  const row = Object.fromEntries(FIELDS.map((name, place) => [name, values[place]]));
  row.confidence = row.shares[row.predicted];
  row.notes = row.notes || [];
  row.words = [row.id, row.question, ...row.choices, ...row.notes].join("\n").toLowerCase();
  return row;
});
rows.sort((x, y) => x.id < y.id ? -1 : x.id > y.id ? 1 : 0);
const element = id => document.getElementById(id);
let state = {...DEFAULTS}, found = [];

function make(tag, name, text) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  if (text !== undefined) node.textContent = text;
  return node;
}

function percent(share) { return (100 * share).toFixed(1) + "\u00a0%"; }

function readHash() {
  const given = new URLSearchParams(location.hash.slice(1));
  state = Object.fromEntries(Object.entries(DEFAULTS).map(([key, value]) => [key, given.get(key) ?? value]));
  for (const key of SELECTS) {
    const known = [...element(key).options].map(option => option.value);
    if (!known.includes(state[key])) state[key] = DEFAULTS[key];
  }
  if (!THEMES.includes(state.theme)) state.theme = DEFAULTS.theme;
}

function writeHash() {
  const changed = Object.entries(state).filter(([key, value]) => value !== DEFAULTS[key]);
  const hash = "#" + new URLSearchParams(changed);
  try { history.replaceState(null, "", hash); } catch { /* a frame without an address of its own */ }
}

function select() {
  const q = state.q.toLowerCase();
  found = rows.filter(row => WRONG[state.wrong](row) && (!state.type || row.qtype === state.type)
    && (!state.fold || String(row.fold) === state.fold) && (!q || row.words.includes(q)));
  found.sort(SORTS[state.sort]);
}

function pages() { return Math.max(1, Math.ceil(found.length / PAGE_ROWS)); }

function card(row) {
  const wrong = row.predicted !== row.answer;
  const node = make("article", wrong ? "wrong" : "right");
  node.tabIndex = -1;
  node.dataset.id = row.id;
  const image = make(row.picture < 0 ? "span" : "img", "picture");
  if (row.picture < 0) image.textContent = "no picture";
  else { image.src = "data:image/webp;base64," + data.pictures[row.picture]; image.alt = ""; }
  const body = make("div");
  const facts = make("p", "facts");
  facts.append(make("b", "", wrong ? "wrong" : "right"), ` · ${row.qtype} · fold ${row.fold} · confidence `
    + `${percent(row.confidence)}`, make("br"), row.id);
  const list = make("ol");
  row.choices.forEach((text, place) => {
    if (text === null) return;
    const item = make("li", (place === row.answer ? "answer " : "") + (place === row.predicted ? "chosen" : ""));
    const bar = make("span", "bar");
    bar.style.width = 100 * row.shares[place] + "%";
    const sign = place === row.answer ? " ✓" : place === row.predicted ? " ✗" : "";
    const people = row.given.length ? ` (${row.given[place]} of ${row.given.reduce((x, y) => x + y)} people)` : "";
    item.append(bar, make("span", "letter", data.letters[place] + sign), make("span", "text", text + people),
      make("span", "share", percent(row.shares[place])));
    list.append(item);
  });
  body.append(facts, make("p", "question", row.question), list, ...row.notes.map(text => make("p", "facts", text)));
  node.append(image, body);
  return node;
}

function show() {
  const page = Math.min(Math.max(1, parseInt(state.page) || 1), pages());
  state.page = String(page);
  for (const key of [...SELECTS, "q"]) if (element(key).value !== state[key]) element(key).value = state[key];
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  element("cards").replaceChildren(...found.slice((page - 1) * PAGE_ROWS, page * PAGE_ROWS).map(card));
  const count = n => n.toLocaleString("en");
  element("status").textContent = `${count(found.length)} of ${count(data.total)} rows (${count(data.wrong)} wrong), `
    + `page ${page} of ${pages()}`;
  element("note").textContent = data.note;
  element("previous").disabled = page === 1;
  element("next").disabled = page === pages();
  writeHash();
}

function change(values) {
  state = {...state, page: "1", ...values};
  select();
  show();
}

function turn(page) {
  change({page: String(page)});
  scrollTo(0, 0);
}

function step(by) {
  const cards = [...element("cards").children];
  const at = cards.indexOf(document.activeElement.closest("article"));
  const next = cards[at < 0 ? 0 : Math.min(Math.max(0, at + by), cards.length - 1)];
  if (next) { next.focus({preventScroll: true}); next.scrollIntoView({block: "nearest"}); }
}

function toggleTheme() {
  const dark = state.theme ? state.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  change({page: state.page, theme: dark ? "light" : "dark"});
}

const KEYS = {
  ArrowRight: () => turn(+state.page + 1), ArrowLeft: () => turn(+state.page - 1),
  Home: () => turn(1), End: () => turn(pages()), j: () => step(1), k: () => step(-1),
  w: () => change({wrong: {"1": "0", "0": "all", "all": "1"}[state.wrong]}),
  t: toggleTheme, "/": () => element("q").focus(),
};

function fill(id, values) {
  for (const value of [...new Set(values)].sort()) {
    const option = make("option", "", value);
    option.value = value;
    element(id).append(option);
  }
}

fill("type", rows.map(row => row.qtype));
fill("fold", rows.map(row => String(row.fold)));
for (const id of SELECTS) element(id).addEventListener("change", event => change({[id]: event.target.value}));
element("q").addEventListener("input", event => change({q: event.target.value}));
element("theme").addEventListener("click", toggleTheme);
element("previous").addEventListener("click", KEYS.ArrowLeft);
element("next").addEventListener("click", KEYS.ArrowRight);
addEventListener("hashchange", () => { readHash(); select(); show(); });
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) { if (event.key === "Escape") event.target.blur(); return; }
  if (Object.hasOwn(KEYS, event.key)) { event.preventDefault(); KEYS[event.key](); }
});
readHash();
select();
show();
