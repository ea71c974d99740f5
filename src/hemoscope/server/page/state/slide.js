// One slide as the server tells it: its cells, their places, the count. Commands are in commands.js.

import { batch, computed, signal } from "../vendor/preact.js";
import { ApiError, apiUrl, get } from "../lib/api.js";
import { t } from "../lib/text.js";
import { model, session } from "./session.js";
import { tell, tellError } from "./toasts.js";

/** @typedef {import("../types.d.ts").Cell} Cell */
/** @typedef {import("../types.d.ts").Slide} Slide */
/** @typedef {import("../types.d.ts").Place} Place */
/** @typedef {{place: Place, cells: Cell[], unreviewed: number}} Section */

/** @type {{value: Slide | null}} */
export const slide = signal(null);
/** @type {{value: Map<number, Cell>}} */
export const cells = signal(new Map());
/** @type {{value: Map<number, Place>}} */
export const places = signal(new Map());
/** @type {{value: Set<number>}} */
export const reviewed = signal(new Set());
/** @type {{value: Record<string, string>}} */
export const notes = signal({});
/** @type {{value: any}} */
export const differential = signal(null);
/** @type {{value: import("../types.d.ts").Reading}} */
export const reading = signal(1);
export const orderBy = signal(/** @type {"doubt" | "influence"} */ ("doubt"));
/** @type {{value: Map<number, number>}} */
export const rank = signal(new Map());
/** @type {{value: Map<number, [Place, Place]>}} what two readers said of the cells they differ on */
export const differing = signal(new Map());
export const seq = signal(0);
/** The revision whose log `seq` counts in; each begins anew. */
let revision = 0;
export const canUndo = signal(false);
export const canRedo = signal(false);
/** @type {{value: number | null}} */
export const whiteCount = signal(null);
export const connected = signal(true);
/** The wall can be drawn. */
export const ready = signal(false);

/** The classes of the model that read the slide, which may be another than the one that is served. */
export const classes = computed(() => slide.value?.classes ?? model.value?.classes ?? []);

/** @param {string} name */
export const classOf = (name) => classes.value.find((c) => c.name === name);
/** @param {string} name */
export const labelOf = (name) => classOf(name)?.label ?? name;

export const signed = computed(() => slide.value?.status === "signed");
/** Two have read this slide to its end: what counts is what both came to. */
export const merged = computed(() => slide.value?.readings === 2 && Boolean(slide.value.complete));
/** What the model says is hidden. */
export const blind = computed(() => reading.value === "audit" || reading.value === "settle" || Boolean(slide.value?.blind));

/** Sections of the wall in their order: what is open first, then the classes as the laboratory lists them. */
export const sections = computed(() => {
  /** @type {Map<Place, Cell[]>} */
  const by = new Map([["review", []], ["unidentified", []]]);
  for (const c of classes.value) by.set(c.name, []);
  by.set("not_classed", []);
  for (const [number, place] of places.value) {
    const cell = cells.value.get(number);
    if (cell) (by.get(place) ?? by.get("review"))?.push(cell);
  }
  const seen = reviewed.value;
  const at = rank.value;
  const last = at.size;
  /** @param {Cell} a @param {Cell} b */
  const compare = (a, b) =>
    Number(seen.has(a.cell)) - Number(seen.has(b.cell)) ||
    (at.get(a.cell) ?? last + a.cell) - (at.get(b.cell) ?? last + b.cell);
  return [...by].map(([place, own]) => ({
    place,
    cells: own.sort(compare),
    unreviewed: own.reduce((n, cell) => n + (seen.has(cell.cell) ? 0 : 1), 0),
  }));
});

/** Cells that stand in the way of a signature: where one person reads as they lie here, otherwise as the server said last. */
export const openCells = computed(() => {
  if (reading.value !== 1 || slide.value?.readings === 2) return slide.value?.open ?? 0;
  return sections.value.reduce((n, s) => n + (s.place === "review" || s.place === "unidentified" ? s.cells.length : 0), 0);
});

const AGAIN_MS = 3000;
/** Without a word for so long, three times what the server lets pass between two, a stream is taken for dead. */
const SILENT_MS = 45_000;
/** @type {EventSource | null} */
let events = null;
/** Listen anew to the slide that is open. */
let listenAgain = () => {};

/** The slide that is open, or on its way. @type {number | string | null} */
let current = null;
/** @param {number | string} id */
const path = (id = current ?? "") => `/slides/${encodeURIComponent(id)}`;

const ofReading = (sign = "?") => `${sign}reading=${reading.value}`;

/** How often each thing was asked for, and the latest asking whose answer is shown. @type {Record<string, {asked: number, shown: number}>} */
const turns = {};

/**
 * Ask the server, and show the answer unless another slide or reading is open by then, or a later question was answered before.
 * @template T
 * @param {string} what
 * @param {() => Promise<T>} ask
 * @param {(found: T) => void} put
 */
async function latest(what, ask, put) {
  const [slideThen, readingThen] = [current, reading.value];
  if (slideThen === null) return;
  const turn = (turns[what] ??= { asked: 0, shown: 0 });
  const mine = (turn.asked += 1);
  const found = await ask();
  if (slideThen !== current || readingThen !== reading.value || mine < turn.shown) return;
  turn.shown = mine;
  put(found);
}

/** What is shown on top of the server's state: commands on their way to it. `since`: the last that it has answered. */
export const onTop = { show: () => {}, since: (/** @type {number} */ _revision) => 0 };

/** @typedef {{revision: number, seq: number}} Point how far a log has come */
/** @param {Point} state @param {Point} than */
const older = (state, than) => state.revision < than.revision || (state.revision === than.revision && state.seq < than.seq);
/** The last entry that this window has heard of. @returns {Point} */
const newest = () => ({ revision, seq: Math.max(seq.value, onTop.since(revision)) });

export async function loadState() {
  const before = newest();
  let overtaken = false;
  await latest("state", () => get(`${path()}/state${ofReading()}`), (state) => {
    const lost = older(state, before); // known before it was asked for: the server was restored from a backup
    overtaken = !lost && older(state, newest());
    if (overtaken) return;
    if (lost && older(state, { revision, seq: seq.value })) tell(t("slide.went_back"), "error");
    batch(() => {
      const all = Object.entries(state.places).map(([n, place]) => /** @type {[number, Place]} */ ([Number(n), place]));
      places.value = new Map(reading.value === "settle" ? all.filter(([cell]) => differing.value.has(cell)) : all);
      reviewed.value = new Set(state.reviewed.filter((/** @type {number} */ cell) => places.value.has(cell)));
      notes.value = state.notes;
      revision = state.revision;
      seq.value = state.seq;
      canUndo.value = state.can_undo;
      canRedo.value = state.can_redo;
      whiteCount.value = state.white_count;
      onTop.show();
    });
  });
  if (overtaken) await loadState(); // by what has been answered meanwhile
}

/** The cells that have come since; all of them where the reading is another one, or two readers have a sample, which each new cell draws anew. */
export function loadCells(anew = false) {
  const whole = anew || slide.value?.readings === 2;
  const since = cells.value.size && !whole ? Math.max(...cells.value.keys()) + 1 : 0;
  return latest(whole ? "all cells" : "cells", () => get(`${path()}/cells?since=${since}${ofReading("&")}`), ({ cells: found }) => {
    if (!found.length && !whole) return;
    const all = whole ? new Map() : new Map(cells.value);
    for (const cell of found) all.set(cell.cell, cell);
    cells.value = all;
  });
}

export function loadDifferential() {
  const asked = () => (blind.value && !merged.value ? Promise.resolve(null) : get(`${path()}/differential${merged.value ? "" : ofReading()}`));
  return latest("differential", asked, (found) => { differential.value = found; });
}

export function loadOrder() {
  return latest("order", () => get(`${path()}/order?by=${orderBy.value}${ofReading("&")}`), (found) => {
    rank.value = new Map(found.cells.map((/** @type {number} */ cell, /** @type {number} */ i) => [cell, i]));
  });
}

/**
 * The reading a slide is opened in: one's own, else the first that nobody has begun; a third person sees what the two came to.
 * @param {Slide} found
 * @returns {import("../types.d.ts").Reading}
 */
function firstSeen({ readings, readers = {}, complete }) {
  if (readings === 1) return 1;
  const own = [1, 2].find((each) => readers[each] === session.value?.user);
  return own ?? (complete ? 1 : ([1, 2].find((each) => !readers[each]) ?? "settle"));
}

export function loadSlide() {
  return latest("slide", () => get(path()), (found) => {
    batch(() => {
      if (!slide.value) reading.value = firstSeen(found);
      slide.value = found;
    });
  });
}

/** Everything that follows from new cells. The wall does not wait for the count. */
export async function refresh() {
  const about = loadSlide();
  if (!slide.value) await about; // it says which reading is one's own
  const counted = about.then(loadDifferential); // which readings are blind is known by then
  counted.catch(() => {}); // told below, if nothing else was told before
  await Promise.all([about, loadCells(), loadOrder(), loadState()]);
  ready.value = current !== null;
  await counted;
}

/** What both readers came to, after either has done something. */
export async function loadMerged() {
  await loadSlide();
  await loadDifferential();
}

function loadDiffering() {
  return latest("differing", () => get(`${path()}/agreement`), (found) => {
    const differ = /** @type {import("../types.d.ts").Agreement} */ (found.agreement)?.differ ?? [];
    differing.value = new Map(differ.map(([cell, first, second]) => [cell, [first, second]]));
  });
}

/** @param {import("../types.d.ts").Reading} wanted */
export async function switchReading(wanted) {
  batch(() => {
    reading.value = wanted;
    places.value = new Map();
    differing.value = new Map();
    if (blind.value) differential.value = null;
  });
  if (wanted === "settle") await loadDiffering().catch(tellError);
  const all = loadCells(true).then(() => loadCells()); // and those that came meanwhile
  await Promise.all([loadMerged(), all, loadState(), loadOrder()]).catch(tellError);
}

/**
 * Open a slide and listen to what happens on it. While nobody answers it is asked for again.
 * @param {string} id
 * @param {(entry: import("../types.d.ts").Entry) => void} onEntry
 * @throws {ApiError} where it is refused
 */
export async function openSlide(id, onEntry) {
  closeSlide();
  current = id;
  revision = 0;
  batch(() => {
    reading.value = 1;
    seq.value = 0;
  });
  listen(id, onEntry);
  for (let told = false; ; told = true) {
    try {
      await refresh();
      return;
    } catch (error) {
      if (current !== id) return;
      if (ready.value || !(error instanceof ApiError && error.passes)) throw error;
      if (!told) tellError(error);
      await new Promise((again) => setTimeout(again, AGAIN_MS));
      if (current !== id || ready.value) return; // another slide, or the news has had it loaded
    }
  }
}

/**
 * Hear what happens on a slide while its window is seen; after a break, load what was missed.
 * @param {string | number} id
 * @param {(entry: import("../types.d.ts").Entry) => void} onEntry
 */
function listen(id, onEntry) {
  events?.close();
  events = null;
  listenAgain = () => listen(id, onEntry);
  if (document.hidden) return; // six connections to a host are all that a browser has, for all its windows
  const stream = new EventSource(apiUrl(`${path(id)}/events`));
  events = stream;
  let silent = 0;
  const heard = () => {
    clearTimeout(silent);
    silent = window.setTimeout(() => {
      if (events !== stream) return;
      connected.value = false; // so that what was missed is loaded
      listenAgain();
    }, SILENT_MS);
  };
  heard();
  for (const kind of ["open", "alive", "progress", "cells", "entry", "signed", "revised"]) stream.addEventListener(kind, heard);
  stream.addEventListener("open", () => {
    if (!connected.value) refresh().catch(tellError);
    else if (slide.value) loadState().catch(tellError); // what happened before anybody listened
    connected.value = true;
  });
  stream.addEventListener("error", () => {
    connected.value = false;
    if (stream.readyState !== EventSource.CLOSED) return; // it tries again by itself
    get(path(id)).catch(() => {}); // a stream does not say why; where the session has ended, this refusal leads to signing in
    setTimeout(() => { if (events === stream) listenAgain(); }, AGAIN_MS);
  });
  stream.addEventListener("progress", (event) => {
    if (slide.value) slide.value = { ...slide.value, progress: JSON.parse(event.data) };
  });
  let due = 0;
  stream.addEventListener("cells", () => {
    clearTimeout(due);
    due = window.setTimeout(() => refresh().catch(tellError), 120);
  });
  stream.addEventListener("entry", (event) => onEntry(JSON.parse(event.data)));
  stream.addEventListener("signed", () => loadSlide().catch(tellError));
  stream.addEventListener("revised", () => refresh().catch(tellError));
}

document.addEventListener("visibilitychange", () => {
  if (current === null) return;
  listenAgain();
  if (!document.hidden && ready.value) refresh().catch(tellError); // what happened unseen
});

export function closeSlide() {
  events?.close();
  events = null;
  current = null;
  batch(() => {
    slide.value = null;
    cells.value = new Map();
    places.value = new Map();
    reviewed.value = new Set();
    notes.value = {};
    differential.value = null;
    rank.value = new Map();
    differing.value = new Map();
    orderBy.value = "doubt";
    ready.value = false;
    connected.value = true;
  });
}
