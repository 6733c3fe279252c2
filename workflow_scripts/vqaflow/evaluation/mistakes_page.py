"""The page of `mistakes`: its markup, style and script, which have no placeholders but those of `MARKUP`."""

_DARK = """
  color-scheme: dark; --page: #14171a; --card: #1e2226; --ink: #e8eaed; --soft: #9aa4ad; --line: #343a40;
  --bar: #35506b; --good: #57c785; --bad: #ff8a75; --mark: #274532; --focus: #8ab4f8;
"""

STYLE = (
    """
:root {
  color-scheme: light; --page: #f4f5f7; --card: #ffffff; --ink: #1c2126; --soft: #5b6670; --line: #d9dde1;
  --bar: #cfe0f1; --good: #0b7a3e; --bad: #b3261e; --mark: #d9f2e2; --focus: #0b57d0;
}
@media (prefers-color-scheme: dark) { :root:not([data-theme=light]) {"""
    + _DARK
    + "} }\n:root[data-theme=dark] {"
    + _DARK
    + """}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", NanumGothic, sans-serif;
}
header { position: sticky; top: 0; z-index: 1; background: var(--card); border-bottom: 1px solid var(--line); }
header, main, footer { padding: 12px max(12px, calc(50vw - 760px)); }
#note:empty { display: none; }
h1 { font-size: 18px; margin: 0 0 8px; }
.controls { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: end; }
.controls label { display: flex; flex-direction: column; font-size: 12px; color: var(--soft); }
select, input, button {
  font: inherit; font-size: 14px; color: var(--ink); background: var(--page); border: 1px solid var(--line);
  border-radius: 6px; padding: 4px 8px; min-height: 32px;
}
button:disabled { opacity: .45; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
#status, #note { margin: 8px 0 0; color: var(--soft); font-size: 13px; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 430px), 1fr)); gap: 12px; }
article {
  display: grid; grid-template-columns: 150px minmax(0, 1fr); gap: 4px 12px; align-items: start; padding: 12px;
  background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--good); border-radius: 8px;
  scroll-margin-top: 170px;
}
article.wrong { border-left-color: var(--bad); }
.picture { width: 150px; height: 150px; object-fit: contain; background: var(--page); border-radius: 4px; }
span.picture { display: grid; place-items: center; color: var(--soft); font-size: 12px; }
.facts { margin: 0; font-size: 12px; color: var(--soft); overflow-wrap: anywhere; }
.facts b { color: var(--good); }
.wrong .facts b { color: var(--bad); }
.question { margin: 2px 0 6px; font-weight: 600; overflow-wrap: anywhere; white-space: pre-wrap; }
ol { list-style: none; margin: 0; padding: 0; }
li { position: relative; display: flex; gap: 6px; padding: 2px 6px; border-radius: 4px; overflow: hidden; }
li + li { margin-top: 2px; }
li { isolation: isolate; outline-offset: -2px; }
.bar { position: absolute; inset: 0 auto 0 0; z-index: -1; background: var(--bar); }
li.answer { outline: 2px solid var(--good); }
li.chosen { font-weight: 600; }
.wrong li.chosen { outline: 2px solid var(--bad); }
.letter { flex: none; width: 2.6em; }
.text { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.share { flex: none; font-variant-numeric: tabular-nums; color: var(--soft); }
footer { display: flex; flex-wrap: wrap; gap: 8px 16px; align-items: center; color: var(--soft); font-size: 13px; }
kbd { border: 1px solid var(--line); border-radius: 4px; padding: 0 5px; background: var(--card); font-size: 12px; }
@media (max-width: 520px) {
  header { position: static; }
  .controls { display: grid; grid-template-columns: 1fr 1fr; }
  .controls label { min-width: 0; }
  article { grid-template-columns: minmax(0, 1fr); scroll-margin-top: 8px; }
  .picture { width: 100%; height: 176px; }
}
"""
)

SCRIPT = r"""
"use strict";
const FIELDS = ["id", "question", "choices", "qtype", "fold", "answer", "predicted", "shares", "picture"];
const SELECTS = ["type", "fold", "wrong", "sort"];
const PAGE_ROWS = 24;
const DEFAULTS = {type: "", fold: "", wrong: "1", sort: "confident", q: "", page: "1", theme: ""};
const WRONG = {"1": row => row.predicted !== row.answer, "0": row => row.predicted === row.answer, "all": () => true};
const SORTS = {
  confident: (x, y) => y.confidence - x.confidence, doubtful: (x, y) => x.confidence - y.confidence,
  loss: (x, y) => x.shares[x.answer] - y.shares[y.answer], id: () => 0,
};
const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows.map(values => {
  const row = Object.fromEntries(FIELDS.map((name, place) => [name, values[place]]));
  row.confidence = row.shares[row.predicted];
  row.words = [row.id, row.question, ...row.choices].join("\n").toLowerCase();
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
  if (!(state.wrong in WRONG)) state.wrong = DEFAULTS.wrong;
  if (!(state.sort in SORTS)) state.sort = DEFAULTS.sort;
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
    const item = make("li", (place === row.answer ? "answer " : "") + (place === row.predicted ? "chosen" : ""));
    const bar = make("span", "bar");
    bar.style.width = 100 * row.shares[place] + "%";
    const sign = place === row.answer ? " ✓" : place === row.predicted ? " ✗" : "";
    item.append(bar, make("span", "letter", data.letters[place] + sign), make("span", "text", text),
      make("span", "share", percent(row.shares[place])));
    list.append(item);
  });
  body.append(facts, make("p", "question", row.question), list);
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
"""

MARKUP = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>OOF answers, wrong ones first</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>Out-of-fold answers</h1>
<div class="controls">
<label>question type <select id="type"><option value="">all</option></select></label>
<label>fold <select id="fold"><option value="">all</option></select></label>
<label>answers <select id="wrong"><option value="1">wrong</option><option value="0">right</option>
<option value="all">all</option></select></label>
<label>order <select id="sort"><option value="confident">most confident first</option>
<option value="doubtful">least confident first</option>
<option value="loss">least probability on the right choice first</option><option value="id">id</option></select></label>
<label>search <input id="q" type="search" placeholder="id, question, choice" autocomplete="off"></label>
<button id="theme" type="button">light / dark</button>
</div>
<p id="status" role="status"></p>
<p id="note"></p>
</header>
<main id="cards"></main>
<footer>
<button id="previous" type="button">previous page</button>
<button id="next" type="button">next page</button>
<span><kbd>←</kbd> <kbd>→</kbd> page · <kbd>Home</kbd> <kbd>End</kbd> first, last page · <kbd>j</kbd> <kbd>k</kbd> row ·
<kbd>w</kbd> wrong, right, all · <kbd>/</kbd> search · <kbd>t</kbd> light, dark</span>
</footer>
<noscript>This page needs JavaScript; none of it comes from elsewhere.</noscript>
<script id="data" type="application/json">{data}</script>
<script>{script}</script>
</body>
</html>
"""
