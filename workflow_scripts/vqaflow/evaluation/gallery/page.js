"use strict";
const FIELDS = ["id", "question", "choices", "qtype", "fold", "answer", "predicted", "shares", "given", "picture",
  "votes", "label", "notes"];
const PAGE_ROWS = 24;
const data = JSON.parse(document.getElementById("data").textContent);
const OOF = data.kind === "oof";
for (const node of document.querySelectorAll("[data-for]")) if (node.dataset.for !== data.kind) node.remove();
const SELECTS = ["type", "fold", "wrong", "votes", "sort"].filter(id => document.getElementById(id));
const DEFAULTS = {
  type: "", fold: "", wrong: OOF ? "1" : "all", votes: "", sort: OOF ? "confident" : "doubtful", q: "", page: "1", theme: "",
};
const THEMES = ["", "dark", "light"];
const WRONG = {"1": row => row.predicted !== row.answer, "0": row => row.predicted === row.answer, "all": () => true};
const VOTES = {"": () => true, differ: row => row.dissent > 0, alike: row => row.dissent === 0};
const SORTS = {
  confident: (x, y) => y.confidence - x.confidence, doubtful: (x, y) => x.confidence - y.confidence,
  loss: (x, y) => x.shares[x.answer] - y.shares[y.answer],
  dissent: (x, y) => y.dissent - x.dissent || x.confidence - y.confidence, id: () => 0,
};
const rows = data.rows.map(values => {
  const row = Object.fromEntries(FIELDS.map((name, place) => [name, values[place]]));
  row.confidence = row.shares[row.predicted];
  row.dissent = row.votes.filter(vote => vote >= 0 && vote !== row.predicted).length;
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
  for (const key of ["fold", "wrong", "votes"]) if (!SELECTS.includes(key)) state[key] = DEFAULTS[key];
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
  found = rows.filter(row => WRONG[state.wrong](row) && VOTES[state.votes](row) && (!state.type || row.qtype === state.type)
    && (!state.fold || String(row.fold) === state.fold) && (!q || row.words.includes(q)));
  found.sort(SORTS[state.sort]);
}

function pages() { return Math.max(1, Math.ceil(found.length / PAGE_ROWS)); }

function verdict(row) {
  if (OOF) return row.predicted === row.answer ? "right" : "wrong";
  return `answer ${row.label}`;
}

function voteLine(row) {
  const named = row.votes.map((vote, place) => `${data.voters[place]} ${vote < 0 ? "–" : data.letters[vote]}`);
  return `${row.votes.filter(vote => vote >= 0).length - row.dissent} of ${named.length} votes for it: ${named.join(", ")}`;
}

function choiceList(row) {
  const list = make("ol");
  row.choices.forEach((text, place) => {
    if (text === null) return;
    const isAnswer = place === row.answer, isChosen = place === row.predicted;
    const item = make("li", (isAnswer ? "answer " : "") + (isChosen ? "chosen" : ""));
    const bar = make("span", "bar");
    bar.style.width = 100 * row.shares[place] + "%";
    const sign = isAnswer ? " ✓" : isChosen ? (OOF ? " ✗" : " ●") : "";
    const said = [isAnswer ? "right choice" : "", isChosen ? "given answer" : ""].filter(Boolean).join(", ");
    const letter = make("span", "letter");
    const shown = make("span", "", data.letters[place] + sign);
    if (said) { shown.ariaHidden = "true"; letter.append(make("span", "hidden", `${data.letters[place]}, ${said}: `)); }
    letter.append(shown);
    const people = row.given.length ? ` (${row.given[place]} of ${row.given.reduce((x, y) => x + y)} people)` : "";
    item.append(bar, letter, make("span", "text", text + people), make("span", "share", percent(row.shares[place])));
    list.append(item);
  });
  return list;
}

function remarks(row) {
  return [...(row.votes.length ? [voteLine(row)] : []), ...row.notes].map(text => make("p", "facts", text));
}

function pictureOf(row) {
  const image = make("img", "picture");
  image.src = "data:image/webp;base64," + data.pictures[row.picture];
  image.alt = `picture of ${row.id}`;
  return image;
}

function pictureButton(row) {
  const button = make("button", "enlarge");
  button.type = "button";
  button.ariaLabel = `Enlarge the picture of ${row.id}`;
  button.append(pictureOf(row));
  button.addEventListener("click", () => enlarge(row));
  return button;
}

function card(row) {
  const node = make("article", OOF ? verdict(row) : row.dissent ? "test dissent" : "test");
  node.tabIndex = -1;
  node.dataset.id = row.id;
  node.ariaLabel = `${row.id}, ${verdict(row)}`;
  const body = make("div");
  const facts = make("p", "facts");
  facts.append(make("b", "", verdict(row)), ` · ${row.qtype} · ` + (OOF ? `fold ${row.fold} · ` : "")
    + `confidence ${percent(row.confidence)}`, make("br"), row.id);
  body.append(facts, make("h2", "question", row.question), choiceList(row));
  body.append(...remarks(row));
  node.append(row.picture < 0 ? make("span", "picture", "no picture") : pictureButton(row), body);
  return node;
}

let enlarged = null;

function enlarge(row) {
  const dialog = element("large"), stage = element("stage"), at = found.indexOf(row);
  enlarged = row;
  zoom(false);
  if (row.picture < 0) stage.replaceChildren(make("p", "facts", "This page has no picture of this row."));
  else stage.replaceChildren(pictureOf(row));
  const [width, height, fullWidth, fullHeight] = data.sizes[row.picture] || [];
  const copy = row.picture < 0 ? "no picture" : width < fullWidth || height < fullHeight
    ? `a copy of ${width} × ${height} of ${fullWidth} × ${fullHeight} pixels` : `${width} × ${height} pixels`;
  element("large-title").textContent = `${row.id} · ${verdict(row)} · row ${at + 1} of ${found.length} · ${copy}`;
  element("large-text").replaceChildren(make("h2", "question", row.question), choiceList(row), ...remarks(row));
  element("large-text").className = OOF ? verdict(row) : "test";
  element("large-previous").disabled = at <= 0;
  element("large-next").disabled = at >= found.length - 1;
  if (!dialog.open) dialog.showModal();
}

function enlargeNext(by) {
  const next = found[found.indexOf(enlarged) + by];
  if (next) enlarge(next);
}

function zoom(on) {
  const stage = element("stage");
  stage.classList.toggle("zoomed", on);
  element("large-zoom").ariaPressed = String(on);
  if (on) stage.scrollTo((stage.scrollWidth - stage.clientWidth) / 2, (stage.scrollHeight - stage.clientHeight) / 2);
}

function toggleZoom() { zoom(!element("stage").classList.contains("zoomed")); }

function closed() {
  const at = found.indexOf(enlarged), page = Math.floor(Math.max(0, at) / PAGE_ROWS) + 1;
  if (page !== +state.page) change({page: String(page)});
  const node = element("cards").children[Math.max(0, at) % PAGE_ROWS];
  element("stage").replaceChildren();
  if (node) { (node.querySelector("button") || node).focus({preventScroll: true}); node.scrollIntoView({block: "nearest"}); }
}

function enlargeFocused() {
  const focused = document.activeElement.closest("article");
  const row = focused ? found.find(one => one.id === focused.dataset.id) : found[(+state.page - 1) * PAGE_ROWS];
  if (row) enlarge(row);
}

function show() {
  const page = Math.min(Math.max(1, parseInt(state.page) || 1), pages());
  state.page = String(page);
  for (const key of [...SELECTS, "q"]) if (element(key).value !== state[key]) element(key).value = state[key];
  if (state.theme) document.documentElement.dataset.theme = state.theme;
  else delete document.documentElement.dataset.theme;
  element("cards").replaceChildren(...found.slice((page - 1) * PAGE_ROWS, page * PAGE_ROWS).map(card));
  const count = n => n.toLocaleString("en");
  element("status").textContent = `${count(found.length)} of ${count(data.total)} rows`
    + (OOF ? ` (${count(data.wrong)} wrong)` : "") + `, page ${page} of ${pages()}`;
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
  t: toggleTheme, "/": () => element("q").focus(), e: enlargeFocused,
};
if (OOF) KEYS.w = () => change({wrong: {"1": "0", "0": "all", "all": "1"}[state.wrong]});
else KEYS.v = () => change({votes: {"": "differ", "differ": "alike", "alike": ""}[state.votes]});
const LARGE_KEYS = {ArrowRight: () => enlargeNext(1), ArrowLeft: () => enlargeNext(-1), z: toggleZoom};

function fill(id, values) {
  for (const value of [...new Set(values)].sort()) {
    const option = make("option", "", value);
    option.value = value;
    element(id).append(option);
  }
}

fill("type", rows.map(row => row.qtype));
if (OOF) fill("fold", rows.map(row => String(row.fold)));
for (const id of SELECTS) element(id).addEventListener("change", event => change({[id]: event.target.value}));
element("q").addEventListener("input", event => change({q: event.target.value}));
element("theme").addEventListener("click", toggleTheme);
element("previous").addEventListener("click", KEYS.ArrowLeft);
element("next").addEventListener("click", KEYS.ArrowRight);
element("large-previous").addEventListener("click", LARGE_KEYS.ArrowLeft);
element("large-next").addEventListener("click", LARGE_KEYS.ArrowRight);
element("large-zoom").addEventListener("click", toggleZoom);
element("stage").addEventListener("click", toggleZoom);
element("large-close").addEventListener("click", () => element("large").close());
element("large").addEventListener("close", closed);
addEventListener("hashchange", () => { readHash(); select(); show(); });
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (element("large").open) {
    const scrolls = element("stage").classList.contains("zoomed") && document.activeElement === element("stage");
    if (Object.hasOwn(LARGE_KEYS, event.key) && !(scrolls && event.key !== "z")) {
      event.preventDefault();
      LARGE_KEYS[event.key]();
    }
    return;
  }
  if (event.target.matches("input, select")) { if (event.key === "Escape") event.target.blur(); return; }
  if (Object.hasOwn(KEYS, event.key)) { event.preventDefault(); KEYS[event.key](); }
});
readHash();
select();
show();
