// What is selected, focused and pointed at on the wall, and which cells a key press means.

import { computed, effect, signal } from "../vendor/preact.js";
import { places, reading, sections } from "./slide.js";

/** @type {{value: Set<number>}} */
export const selected = signal(new Set());
/** @type {{value: number | null}} */
export const focused = signal(null);
/** @type {{value: number | null}} the cell looked at closely */
export const opened = signal(null);
export const lassoMode = signal(false);
/** @type {{value: {x: number, y: number, cells: number[]} | null}} */
export const menu = signal(null);
/** @type {{value: string | null}} a place to scroll to */
export const goTo = signal(null);

/** Every cell of the wall in the order it is seen. */
export const flat = computed(() => sections.value.flatMap((section) => section.cells.map((cell) => cell.cell)));

/** @type {"pointer" | "keyboard"} */
let last = "pointer";
let x = -1;
let y = -1;

/** @param {PointerEvent | MouseEvent} event */
export function pointed(event) {
  if (event.clientX === x && event.clientY === y) return; // the wall moved under a pointer that did not
  ({ clientX: x, clientY: y } = event);
  last = "pointer";
}

export function left() {
  x = y = -1;
}

/** @param {Element | null | undefined} element */
export function cellOf(element) {
  const found = element?.closest?.("[data-cell]");
  return found instanceof HTMLElement ? Number(found.dataset.cell) : null;
}

export const hovered = () => (x < 0 ? null : cellOf(document.elementFromPoint(x, y)));

/** The place whose section is pointed at, or holds the focus. */
export function currentPlace() {
  const at = last === "pointer" && x >= 0 ? document.elementFromPoint(x, y)?.closest("[data-place]") : null;
  if (at instanceof HTMLElement) return at.dataset.place ?? null;
  return focused.value === null ? null : (places.value.get(focused.value) ?? null);
}

/** The cells that a key means: those selected; else the one under the pointer; else the one with the focus. */
export function meant() {
  if (selected.value.size) return [...selected.value];
  const cell = last === "pointer" ? (hovered() ?? focusedOnWall()) : focusedOnWall();
  return cell === null ? [] : [cell];
}

function focusedOnWall() {
  return cellOf(document.activeElement) === focused.value ? focused.value : null;
}

/** From now on keys mean the cell with the focus, until the pointer moves. */
export function byKeyboard() {
  last = "keyboard";
}

export const isKeyboard = () => last === "keyboard";

let wanting = false;
export const wantsFocus = () => wanting;
export function focusGiven() {
  wanting = false;
}

/** @param {number | null} cell */
export function focusCell(cell) {
  byKeyboard();
  wanting = true;
  focused.value = cell;
}

/** The cell that will take the focus once `leaving` are gone from their section. @param {number[]} leaving */
export function successor(leaving) {
  const gone = new Set(leaving);
  const start = focused.value;
  if (start === null || !gone.has(start)) return start;
  const place = places.value.get(start);
  const own = sections.value.find((section) => section.place === place)?.cells.map((cell) => cell.cell) ?? [];
  const here = own.indexOf(start);
  return own.slice(here + 1).find((cell) => !gone.has(cell)) ?? own.slice(0, here).reverse().find((cell) => !gone.has(cell)) ?? null;
}

export function clearSelection() {
  if (selected.value.size) selected.value = new Set();
}

/** @param {number} cell */
export function toggle(cell) {
  const next = new Set(selected.value);
  if (!next.delete(cell)) next.add(cell);
  selected.value = next;
}

/** @type {number | null} */
let anchor = null;

/** Select from the last cell chosen to this one, as they follow each other on the wall. @param {number} cell */
export function extendTo(cell) {
  const all = flat.value;
  const from = all.indexOf(anchor ?? cell);
  const to = all.indexOf(cell);
  if (from < 0 || to < 0) return chooseOnly(cell);
  selected.value = new Set([...selected.value, ...all.slice(Math.min(from, to), Math.max(from, to) + 1)]);
}

/** @param {number | null} cell */
export function setAnchor(cell) {
  anchor = cell;
}

/** @param {number} cell */
export function chooseOnly(cell) {
  anchor = cell;
  selected.value = new Set([cell]);
}

/** Forget what was chosen on a slide or in a reading that is left: the next has other cells. */
export function forget() {
  selected.value = new Set();
  anchor = null;
  focused.value = null;
  opened.value = null;
  menu.value = null;
}

effect(() => {
  if (reading.value) forget();
});

/** All of the section in question; a second time, or where there is none, all there are. */
export function selectAll() {
  const place = currentPlace();
  const own = sections.value.find((section) => section.place === place)?.cells.map((cell) => cell.cell) ?? [];
  const whole = own.length > 0 && own.every((cell) => selected.value.has(cell));
  selected.value = new Set(own.length && !whole ? own : flat.value);
}
