"use strict";
// The table of episodes: sorting, searching, keeping, and the view of the frame under the cursor.

const about = JSON.parse(document.querySelector("script.about").textContent);
const films = [...document.querySelectorAll("script.episode")].map((script) => {
  const data = JSON.parse(script.textContent);
  script.remove();
  data.cut = new Set(about.keep.cut ? data.lapses.keys() : []);
  return new Film(data, { move: choose, toggle, ready: (film) => { if (film === current) view(); } });
});
const element = (name) => document.getElementById(name);
const table = document.querySelector("#data table");
let current = null;
let sorted = { key: "number", rising: true };
let player = null;

const shown = {
  number: (data) => data.number,
  instruction: (data) => data.instruction,
  style: (data) => data.style,
  success: (data) => (data.success === null ? null : data.success ? "success" : "failure"),
  final: (data) => data.final,
  lapses: (data) => data.lapses.length,
  stall: (data) => data.stall,
  seconds: (data) => data.frames / data.fps,
};
const written = {
  final: (value) => value.toFixed(2),
  stall: (value) => `${value.toFixed(1)} s`,
  seconds: (value) => `${value.toFixed(1)} s`,
};

function row(film) {
  const body = document.createElement("tbody");
  body.className = "episode";
  body.dataset.number = film.data.number;
  const numbers = body.insertRow();
  const box = document.createElement("input");
  box.type = "checkbox";
  box.title = "keep";
  box.addEventListener("change", () => { film.data.keep = box.checked; refresh(); });
  numbers.insertCell().append(box);
  for (const [key, of] of Object.entries(shown)) {
    const cell = numbers.insertCell();
    const value = of(film.data);
    const unknown = value === null || value === "";
    cell.textContent = unknown ? "unknown" : key in written ? written[key](value) : value;
    cell.title = cell.textContent;
    if (["instruction", "style", "success"].includes(key)) cell.className = "text";
  }
  const below = body.insertRow().insertCell();
  below.colSpan = 9;
  below.append(film.element);
  body.addEventListener("pointerdown", () => choose(film, film.frame));
  film.body = body;
  film.box = box;
  return body;
}

function sort(key, rising) {
  sorted = { key, rising };
  const of = shown[key];
  const order = (one, other) => {
    const [a, b] = [of(one.data), of(other.data)];
    if (a === null || b === null) return (a === null) - (b === null); // what is unknown comes last
    const less = typeof a === "string" ? a.localeCompare(b) : a - b;
    return (rising ? less : -less) || one.data.number - other.data.number;
  };
  films.sort(order).forEach((film) => table.append(film.body));
  for (const head of table.querySelectorAll("th[data-key]")) {
    head.removeAttribute("aria-sort");
    if (head.dataset.key === key) head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  }
}

function search() {
  const wanted = element("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const film of films) {
    const text = film.data.instruction.toLowerCase();
    film.body.hidden = !wanted.every((word) => text.includes(word));
  }
  refresh();
}

function refresh() {
  for (const film of films) {
    film.box.checked = film.data.keep;
    film.body.classList.toggle("dropped", !film.data.keep);
  }
  const here = films.filter((film) => !film.body.hidden).length;
  const keeping = films.filter((film) => film.data.keep).length;
  element("count").textContent = `${here} of ${films.length} shown, ${keeping} kept`;
}

function apply() {
  const number = (name, none) => (element(name).value === "" ? none : Number(element(name).value));
  about.keep = {
    final: number("least", 0),
    lapses: number("most", -1),
    stall: number("longest", 0),
    failures: element("failures").checked,
    cut: element("cut").checked,
  };
  for (const { data } of films) {
    data.keep = takes(about.keep, data);
    data.cut = new Set(about.keep.cut ? data.lapses.keys() : []);
  }
  films.forEach((film) => { if (film.picture || film.curve.width) film.drawCurve(); });
  refresh();
}

function toggle(film, lapse) {
  if (!film.data.cut.delete(lapse)) film.data.cut.add(lapse);
  film.drawCurve();
}

function choose(film, frame) {
  if (current && current !== film) {
    current.body.classList.remove("chosen");
    current.cursor.hidden = true;
  }
  current = film;
  film.body.classList.add("chosen");
  film.moveTo(frame);
  view();
}

function view() {
  const { data, frame, picture } = current;
  const value = current.value(frame);
  element("caption").textContent = `episode ${data.number}, frame ${frame} of ${data.frames}, `
    + `${(frame / data.fps).toFixed(1)} s, value ${value === null ? "unknown" : value.toFixed(2)}`;
  const box = element("views");
  const cameras = data.sheet ? data.sheet.cameras : [];
  while (box.children.length > cameras.length) box.lastChild.remove();
  cameras.forEach((camera, number) => {
    if (!box.children[number]) {
      const figure = document.createElement("figure");
      figure.append(canvas("view"), document.createElement("figcaption"));
      box.append(figure);
    }
    const [target, text] = box.children[number].children;
    text.textContent = camera.name;
    box.children[number].className = number === Math.min(current.camera, cameras.length - 1) ? "large" : "";
    target.style.aspectRatio = `${camera.width} / ${camera.height}`;
    if (!picture || !picture.naturalWidth) return;
    const { context, width, height } = pen(target);
    context.imageSmoothingQuality = "high";
    context.drawImage(picture, ...current.tile(number, frame), 0, 0, width, height);
  });
}

function step(by) {
  if (!current) return;
  const frames = current.data.sheet ? current.data.sheet.frames : [0, 1];
  const length = Math.max(1, Math.round(current.data.frames / frames.length));
  choose(current, current.frame + by * length);
}

function play() {
  clearInterval(player);
  const stop = player !== null || !current;
  player = null;
  element("play").textContent = stop ? "Play" : "Pause";
  if (stop) return;
  if (current.frame >= current.data.frames - 1) choose(current, 0);
  const [film, began, from] = [current, performance.now(), current.frame];
  player = setInterval(() => {
    const frame = from + Math.round(((performance.now() - began) / 1000) * film.data.fps);
    choose(film, frame);
    if (frame >= film.data.frames) play();
  }, 40);
}

function other(by) {
  const here = films.filter((film) => !film.body.hidden);
  const next = here[Math.min(Math.max(here.indexOf(current) + by, 0), here.length - 1)];
  if (!next) return;
  choose(next, 0);
  next.body.scrollIntoView({ block: "nearest" });
}

const keys = {
  ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => other(-1), ArrowDown: () => other(1),
  " ": play,
  x: () => { if (current) { current.data.keep = !current.data.keep; refresh(); } },
};

function begin() {
  element("data").hidden = false;
  films.forEach((film) => table.append(row(film)));
  const names = [...new Set(films.flatMap((film) => (film.data.sheet ? film.data.sheet.cameras.map((one) => one.name) : [])))];
  names.forEach((name) => element("camera").append(new Option(name, name)));
  element("camera").addEventListener("change", () => films.forEach((film) => {
    film.camera = Math.max(names.indexOf(element("camera").value), 0);
    if (film.picture) film.drawStrip();
    if (film === current) view();
  }));
  element("least").value = about.keep.final || "";
  element("most").value = about.keep.lapses < 0 ? "" : about.keep.lapses;
  element("longest").value = about.keep.stall || "";
  element("failures").checked = about.keep.failures;
  element("cut").checked = about.keep.cut;
  element("tools").addEventListener("submit", (event) => { event.preventDefault(); apply(); });
  element("search").addEventListener("input", search);
  element("play").addEventListener("click", play);
  element("export").addEventListener("click", () => exportKept(about, films.map((film) => film.data)));
  element("copy").addEventListener("click", copy);
  element("download").addEventListener("click", download);
  element("close").addEventListener("click", () => element("exported").close());
  table.tHead.addEventListener("click", (event) => {
    const { key } = event.target.dataset;
    if (key) sort(key, sorted.key === key ? !sorted.rising : true);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea, dialog, button") || !(event.key in keys)) return;
    event.preventDefault();
    keys[event.key]();
  });
  const filmOf = new Map(films.map((film) => [film.body, film]));
  const sight = new IntersectionObserver((entries) => entries.forEach((entry) => {
    const film = filmOf.get(entry.target);
    if (entry.isIntersecting) film.show();
    else film.hide();
  }), { rootMargin: "600px" });
  films.forEach((film) => sight.observe(film.body));
  window.addEventListener("resize", () => films.forEach((film) => { if (film.picture) film.draw(); }));
  new ResizeObserver(() => document.documentElement.style.setProperty("--tools", `${element("tools").offsetHeight}px`))
    .observe(element("tools"));
  sort("number", true);
  refresh();
  if (films.length) choose(films[0], 0);
}

element("facts").textContent = about.facts;
if (films.length) begin();
