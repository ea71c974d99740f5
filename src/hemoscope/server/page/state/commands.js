// What a person does, in order, to the server's log. A move is seen at once and taken back with a message where the server refuses it.

import { batch, signal } from "../vendor/preact.js";
import { ApiError, CLIENT, post } from "../lib/api.js";
import { t } from "../lib/text.js";
import { session } from "./session.js";
import * as at from "./slide.js";
import { say, tell, tellError } from "./toasts.js";

/** @typedef {import("../types.d.ts").Command} Command */
/** @typedef {import("../types.d.ts").Entry} Entry */
/** @typedef {import("../types.d.ts").Reading} Reading */
/** @typedef {{slide: number, revision: number, reading: Reading, base: number, command: Command, as: string | null, touched: Set<number>, done: (ok: boolean) => void}} Pending */

/** What the server has not taken yet, of this slide or of one that was left meanwhile. @type {Pending[]} */
const pending = [];
/** Those who wait until nothing is pending. @type {(() => void)[]} */
const waitingForAll = [];
let running = false;
/** The last entry of our own that the server told, by slide and revision. @type {Map<string, number>} */
const told = new Map();
/** How long an answer may take. */
const PATIENCE_MS = 60_000;
/** Commands that the server has not answered yet. */
export const unsaved = signal(0);
/** The server does not take them now; they are sent again. */
export const waiting = signal(false);

/** @param {number[]} cells @param {(cell: number) => string | null} whereTo */
function show(cells, whereTo) {
  batch(() => {
    const places = new Map(at.places.value);
    const reviewed = new Set(at.reviewed.value);
    for (const cell of cells) {
      const to = whereTo(cell);
      if (to === null) continue;
      places.set(cell, to);
      reviewed.add(cell);
    }
    at.places.value = places;
    at.reviewed.value = reviewed;
    at.canUndo.value = true;
    at.canRedo.value = false;
  });
}

/** @param {Command} command */
function showCommand(command) {
  if (command.kind === "place") show(command.cells, () => command.to);
  else if (command.kind === "confirm") show(command.cells, (cell) =>
    (at.reviewed.value.has(cell) ? at.places.value.get(cell) : at.cells.value.get(cell)?.pred) ?? null);
  else if (command.kind === "note") at.notes.value = { ...at.notes.value, [command.cell]: command.text };
  else if (command.kind === "white_count") at.whiteCount.value = command.value;
}

/** @param {Command} command */
function touchedBy(command) {
  if (command.kind === "place" || command.kind === "confirm") return new Set(command.cells);
  return new Set(command.kind === "note" ? [command.cell] : []);
}

/**
 * Do a command. It is seen at once; the answer says whether the server took it.
 * @param {Command} command
 * @returns {Promise<boolean>}
 */
export function run(command) {
  if (at.signed.value) {
    tell(t("slide.signed.locked"));
    return Promise.resolve(false);
  }
  if (!at.slide.value) return Promise.resolve(false);
  const { id: slide, revision } = at.slide.value;
  showCommand(command);
  const touched = touchedBy(command);
  return new Promise((done) => {
    const as = session.value?.user ?? null;
    pending.push({ slide, revision, reading: at.reading.value, base: seenOf(touched), command, as, touched, done });
    unsaved.value = pending.length;
    pump();
  });
}

/** The last entry seen of some cells: those that a move on its way covers show no later ones. @param {Set<number>} touched */
function seenOf(touched) {
  const any = (/** @type {Pending} */ p) => !touched.size || !p.touched.size || [...touched].some((cell) => p.touched.has(cell));
  const over = pending.filter((p) => isHere(p) && any(p));
  return Math.min(at.seq.value, ...over.map((p) => p.base));
}

/** Resolves when the server has answered everything that was done so far. @returns {Promise<void>} */
export function allSaved() {
  return running ? new Promise((go) => { waitingForAll.push(go); }) : Promise.resolve();
}

globalThis.addEventListener("beforeunload", (event) => {
  if (pending.length) event.preventDefault();
});

/** A command belongs to what is open now. @param {Pending} p */
const isHere = (p) => p.slide === at.slide.value?.id && p.reading === at.reading.value;

async function pump() {
  if (running) return;
  running = true;
  while (pending.length) {
    const next = pending[0];
    try {
      const answer = await send(next);
      told.set(`${next.slide}/${next.revision}`, answer.seq);
      waiting.value = false;
      pending.shift();
      if (next.slide === at.slide.value?.id) await taken(next, answer);
      next.done(true);
    } catch (error) {
      waiting.value = false;
      pending.shift();
      await takeBack(next, error).catch(tellError);
      dropUndoing(next);
      next.done(false);
    }
    unsaved.value = pending.length;
  }
  running = false;
  for (const go of waitingForAll.splice(0)) go();
}

/** Show what the server says of a command that it took. @param {Pending} one @param {any} answer */
async function taken(one, answer) {
  const alone = answer.seq === at.seq.value + 1; // or others were first, or what is shown was loaded with it already in
  batch(() => {
    if (alone) at.seq.value = answer.seq; // what others did is seen with the state
    if (answer.differential && !pending.length && isHere(one) && !at.blind.value) at.differential.value = answer.differential;
  });
  if (at.slide.value?.readings === 2) at.loadMerged().catch(tellError);
  if (isHere(one) && (!alone || one.command.kind === "undo" || one.command.kind === "redo")) await at.loadState();
}

/**
 * Send a command until the server has it or refuses it. By `answered` it knows one that came before and whose answer was lost.
 * @param {Pending} one
 */
async function send({ slide, revision, reading, base, command, as }) {
  const path = `/slides/${encodeURIComponent(slide)}/commands`;
  const body = { revision, base, reading, command, client: CLIENT, answered: answered(slide, revision) };
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await post(path, body, { as, signal: AbortSignal.timeout(PATIENCE_MS) });
    } catch (error) {
      if (!(error instanceof ApiError) || !error.passes) throw error;
      if (!attempt && error.status >= 500) tellError(error); // the disk is full, the store is away
      waiting.value = true;
      await new Promise((again) => setTimeout(again, Math.min(5000, 300 * 2 ** attempt)));
    }
  }
}

/** The last entry of our own in a log. @param {number | undefined} slide @param {number} revision */
const answered = (slide, revision) => told.get(`${slide}/${revision}`) ?? 0;

/** Leave out undo and redo that wait behind a refused command: they meant it, and would take back what was done before. @param {Pending} refused */
function dropUndoing({ slide, revision, reading }) {
  for (const one of [...pending]) {
    const there = one.slide === slide && one.revision === revision && one.reading === reading;
    if (!there || (one.command.kind !== "undo" && one.command.kind !== "redo")) continue;
    pending.splice(pending.indexOf(one), 1);
    one.done(false);
  }
}

at.onTop.since = (revision) => answered(at.slide.value?.id, revision);
at.onTop.show = () => {
  for (const one of pending) if (isHere(one)) showCommand(one.command);
};

/** @param {Pending} one @param {unknown} error */
async function takeBack(one, error) {
  if (error instanceof ApiError && error.status === 409) {
    const others = [...new Set((error.body?.entries ?? []).map((/** @type {Entry} */ entry) => entry.reader))];
    tell(others.length ? t("command.conflict", { who: others.join(", ") }) : error.message, "error");
  } else tellError(error);
  if (!isHere(one)) return;
  await at.loadState();
  await at.loadDifferential();
}

/** What somebody else did, or this person in another window. What is more than a next move comes with the state. @param {Entry} entry */
export function onEntry(entry) {
  if (entry.seq <= at.seq.value) return;
  const here = entry.reading === at.reading.value;
  if (!here && at.slide.value?.readings === 2) at.loadMerged().catch(tellError);
  if (entry.client === CLIENT) return;
  const { command, changes = [] } = entry;
  const moves = here && (command?.kind === "place" || command?.kind === "confirm") && entry.reader !== session.value?.user;
  if (moves && entry.seq === at.seq.value + 1) {
    const own = new Set(pending.filter(isHere).flatMap((p) => [...p.touched]));
    const changed = new Map(changes.map(([cell, , to]) => [cell, to]));
    const { canUndo, canRedo } = { canUndo: at.canUndo.value, canRedo: at.canRedo.value };
    show([...changed.keys()].filter((cell) => !own.has(cell)), (cell) => changed.get(cell) ?? null);
    batch(() => { at.canUndo.value = canUndo; at.canRedo.value = canRedo; });
    at.seq.value = entry.seq;
  } else at.loadState().catch(tellError); // also where this window has missed the entry before
  if (here) at.loadDifferential().catch(tellError);
}

/** @param {string} place @returns {string} */
export function placeLabel(place) {
  const shown = place === "review" && at.blind.value ? "to_read" : place;
  return at.classOf(place)?.label ?? t(`place.${shown}`);
}

/** @param {number[]} cells @param {string} to */
export function place(cells, to) {
  if (!cells.length) return Promise.resolve(false);
  say(t("said.moved", { n: cells.length, place: placeLabel(to) }));
  return run({ kind: "place", cells, to });
}

/** Say that the model is right about cells; of what it does not know nothing can be confirmed. @param {number[]} cells */
export function confirm(cells) {
  const known = cells.filter((cell) => at.places.value.get(cell) !== "unidentified");
  if (!known.length || at.blind.value) {
    if (cells.length) tell(t(at.blind.value ? "confirm.blind" : "confirm.unidentified"));
    return Promise.resolve(false);
  }
  say(t("said.confirmed", { n: known.length }));
  return run({ kind: "confirm", cells: known });
}

export function undo() {
  if (at.canUndo.value || pending.length) return run({ kind: "undo" });
  return Promise.resolve(false);
}

export function redo() {
  if (at.canRedo.value) return run({ kind: "redo" });
  return Promise.resolve(false);
}
