// Which key does what. Every key of a single letter can be changed and all of them switched off (WCAG 2.1.4).

import { computed } from "../vendor/preact.js";
import { settings } from "./settings.js";
import { classes } from "./slide.js";

export const CONFIRM = "confirm";
export const NOT_CLASSED = "not_classed";
const SPARE = "cvykoqzw1234567890";

/** Actions in the order they are shown: the classes, not classed, confirm. */
export const actions = computed(() => [...classes.value.map((c) => c.name), NOT_CLASSED, CONFIRM]);

/** The key of every action, with those changed here. */
export const keys = computed(() => {
  /** @type {Record<string, string>} */
  const found = {};
  const own = settings.value.keys;
  const used = new Set(Object.values(own));
  /** @type {Record<string, string>} */
  const usual = { [NOT_CLASSED]: "x", [CONFIRM]: "c" };
  for (const c of classes.value) usual[c.name] = c.key;
  for (const action of actions.value) {
    const wanted = own[action] ?? usual[action];
    const free = own[action] ? wanted : [wanted, ...SPARE].find((k) => k && !used.has(k));
    found[action] = free ?? "";
    used.add(found[action]);
  }
  return found;
});

const byKey = computed(() => new Map(Object.entries(keys.value).map(([action, key]) => [key, action])));

/** @param {EventTarget | null} target */
function typesText(target) {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return !["range", "checkbox", "radio", "button", "submit"].includes(target.type);
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}

/** Whether this press is no command: a held key, an input method at work, a field being typed into. @param {KeyboardEvent} event */
export function isTyping(event) {
  return event.repeat || event.isComposing || event.keyCode === 229 || typesText(event.target);
}

/** What a key press writes; where that is a letter of another script, the Latin one on the same key. @param {KeyboardEvent} event */
export function letterOf(event) {
  const foreign = /^\p{L}$/u.test(event.key) && !/^\p{Script=Latin}$/u.test(event.key);
  return (foreign && /^Key([A-Z])$/.exec(event.code)?.[1] || event.key).toLowerCase();
}

/** The action of a key press, or undefined. @param {KeyboardEvent} event */
export function actionOf(event) {
  if (!settings.value.keysOn || isTyping(event) || event.ctrlKey || event.altKey || event.metaKey) return undefined;
  return byKey.value.get(event.key.toLowerCase()) ?? byKey.value.get(letterOf(event));
}
