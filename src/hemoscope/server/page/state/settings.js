// What this browser remembers of how its person likes the page.

import { effect, signal } from "../vendor/preact.js";

const STORE = "hemoscope.settings";

/** @typedef {{theme: "auto" | "light" | "dark", size: number, keysOn: boolean, keys: Record<string, string>}} Settings */

/** @returns {Settings} */
function stored() {
  const wide = globalThis.innerWidth >= 2200;
  const narrow = globalThis.innerWidth < 700;
  /** @type {Settings} */
  const usual = { theme: "auto", size: wide ? 112 : narrow ? 76 : 92, keysOn: true, keys: {} };
  try {
    return { ...usual, ...JSON.parse(localStorage.getItem(STORE) ?? "{}") };
  } catch {
    return usual;
  }
}

export const settings = signal(stored());

/** @param {Partial<Settings>} some */
export function change(some) {
  settings.value = { ...settings.value, ...some };
}

effect(() => {
  try {
    localStorage.setItem(STORE, JSON.stringify(settings.value));
  } catch {
    // no room, or not allowed: they are remembered as long as the window is open
  }
  const { theme } = settings.value;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
});
