// Files on their way to slides, whichever view is open.

import { signal } from "../vendor/preact.js";
import { post } from "../lib/api.js";
import { t } from "../lib/text.js";
import { sendAll } from "../lib/upload.js";
import { session } from "./session.js";
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
  const again = new Set(items.map(({ name }) => name));
  const before = (sending.value[slide]?.failed ?? []).filter(({ name }) => !again.has(name));
  /** @param {import("../lib/upload.js").UploadProgress & {waiting: string}} now @param {boolean} finished */
  const show = (now, finished) => {
    sending.value = { ...sending.value, [slide]: { ...now, failed: [...before, ...now.failed], finished } };
  };
  const progress = await sendAll(slide, items, session.value?.user ?? null, (now) => show(now, false));
  show({ ...progress, waiting: "" }, true);
}

/** Whether files are on their way. */
export const isSending = () => Object.values(sending.value).some((s) => !s.finished);

/**
 * Make a slide of what was dropped and open it.
 * @param {{title: string, white_count?: number | null, readings?: number, blind?: boolean, once: string}} about
 * @param {import("../lib/dropped.js").Item[]} items
 * @returns {Promise<boolean>} whether it was made
 */
export async function newSlide(about, items) {
  try {
    const slide = await post("/slides", about);
    if (items.length) addFiles(slide.id, items).catch(tellError);
    location.hash = `#/slides/${encodeURIComponent(slide.id)}`;
    return true;
  } catch (error) {
    tellError(error);
    return false;
  }
}

globalThis.addEventListener("beforeunload", (event) => {
  if (isSending()) event.preventDefault();
});
