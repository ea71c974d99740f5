// Files on their way to slides, whichever view is open.

import { signal } from "../vendor/preact.js";
import { post } from "../lib/api.js";
import { t } from "../lib/text.js";
import { sendAll } from "../lib/upload.js";
import { tell, tellError } from "./toasts.js";

/** @typedef {import("../lib/upload.js").UploadProgress & {waiting: string, finished: boolean}} Sending */

/** @type {{value: Record<string, Sending>}} by slide */
export const sending = signal({});

/** @param {string} slide @param {import("../lib/dropped.js").Item[]} items */
export async function addFiles(slide, items) {
  if (!items.length) {
    tell(t("drop.nothing"), "error");
    return;
  }
  const progress = await sendAll(slide, items, (now) => {
    sending.value = { ...sending.value, [slide]: { ...now, finished: false } };
  });
  sending.value = { ...sending.value, [slide]: { ...progress, waiting: "", finished: true } };
}

/**
 * Make a slide of what was dropped and open it.
 * @param {{title: string, white_count?: number | null, readings?: number, blind?: boolean}} about
 * @param {import("../lib/dropped.js").Item[]} items
 */
export async function newSlide(about, items) {
  try {
    const slide = await post("/slides", about);
    if (items.length) addFiles(slide.id, items).catch(tellError);
    location.hash = `#/slides/${encodeURIComponent(slide.id)}`;
  } catch (error) {
    tellError(error);
  }
}

globalThis.addEventListener("beforeunload", (event) => {
  if (Object.values(sending.value).some((s) => !s.finished)) event.preventDefault();
});
