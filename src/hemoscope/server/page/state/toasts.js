// Messages that come and stay until read, and what a screen reader is told in passing.

import { signal } from "../vendor/preact.js";

/** @typedef {{id: number, kind: "error" | "info", text: string}} Toast */

/** @type {{value: Toast[]}} */
export const toasts = signal([]);
export const spoken = signal("");
let next = 0;

/** @param {number} id */
export function dismiss(id) {
  toasts.value = toasts.value.filter((toast) => toast.id !== id);
}

/** @param {string} text @param {"error" | "info"} [kind] an error stays until dismissed */
export function tell(text, kind = "info") {
  const id = (next += 1);
  toasts.value = [...toasts.value.filter((toast) => toast.text !== text).slice(-3), { id, kind, text }];
  if (kind === "info") setTimeout(() => dismiss(id), 6000);
}

/** @param {unknown} error */
export function tellError(error) {
  tell(error instanceof Error ? error.message : String(error), "error");
}

/** @param {string} text */
export function say(text) {
  spoken.value = spoken.value === text ? `${text}\u00a0` : text;
}
