// What a key press on a slide does. Letters mean the cells selected, pointed at or focused; the rest moves about.

import { confirm, place, redo, undo } from "../state/commands.js";
import { actionOf, CONFIRM, isTyping, letterOf } from "../state/keys.js";
import { settings } from "../state/settings.js";
import { signed } from "../state/slide.js";
import * as wall from "../state/wall.js";
import { current } from "./wall.js";
import { stepFrom } from "./wall_layout.js";

const STEPS = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", "PageUp", "PageDown"];

/** Put the cells that a key means where its action says. @param {string} action @param {number[]} cells */
export function act(action, cells) {
  if (!cells.length) return;
  const next = wall.isKeyboard() ? wall.successor(cells) : wall.focused.value;
  if (action === CONFIRM) confirm(cells);
  else place(cells, action);
  wall.clearSelection();
  if (next !== wall.focused.value) wall.focusCell(next);
}

/** @param {KeyboardEvent} event @param {() => void} showKeys */
export function pressed(event, showKeys) {
  if (document.querySelector("dialog[open]") || wall.menu.value) return;
  const control = event.ctrlKey || event.metaKey;
  if (control && !event.altKey && letterOf(event) === "z" && !isTyping(event)) {
    event.preventDefault();
    if (event.shiftKey) redo();
    else undo();
  } else if (control && letterOf(event) === "y" && !isTyping(event)) {
    event.preventDefault();
    redo();
  } else if (control && letterOf(event) === "a" && !isTyping(event)) {
    event.preventDefault();
    wall.selectAll();
  } else if (event.key === "Tab") wall.byKeyboard();
  else if (event.key === "Escape") wall.clearSelection();
  else if (event.key === "?" && settings.value.keysOn && !isTyping(event)) showKeys();
  else if (!control && !event.altKey) letterOrStep(event);
}

/** @param {KeyboardEvent} event */
function letterOrStep(event) {
  const action = actionOf(event);
  if (action) {
    event.preventDefault();
    if (!signed.value) act(action, wall.meant());
    return;
  }
  const target = /** @type {Element} */ (event.target);
  const onWall = wall.cellOf(target) !== null;
  const nowhere = target === document.body || target.classList.contains("wall");
  if (!onWall && !nowhere) return;
  if (event.key === "Enter") {
    const [cell] = wall.meant();
    if (cell !== undefined) {
      event.preventDefault();
      wall.opened.value = cell;
    }
  } else if (event.key === " ") {
    event.preventDefault();
    const cell = onWall && !event.repeat ? wall.cellOf(target) : wall.hovered();
    if (cell !== null && !event.repeat) {
      wall.toggle(cell);
      wall.setAnchor(cell);
    }
  } else if (event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
    event.preventDefault();
    const box = target.getBoundingClientRect();
    const cells = wall.meant();
    if (cells.length && !signed.value) wall.menu.value = { x: box.left + box.width / 2, y: box.top + box.height / 2, cells };
  } else if (STEPS.includes(event.key)) {
    event.preventDefault();
    const from = wall.focused.value;
    if (event.shiftKey && wall.selected.value.size === 0) wall.setAnchor(from);
    const next = stepFrom(current, from, event.key);
    wall.focusCell(next);
    if (event.shiftKey && next !== null) wall.extendTo(next);
  }
}
