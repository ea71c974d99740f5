// Files to a slide, a few at a time, in chunks. A broken connection goes on from the server's offset; so does the same file dropped again later.

import { ApiError, drawName, post, request } from "./api.js";
import { t } from "./text.js";

const CHUNK = 4 * 1024 * 1024;
const AT_ONCE = 4;
/** Which upload a file is, until all that was dropped with it is there. */
const REMEMBER = "hemoscope.upload";

/** @typedef {{total: number, done: number, bytes: number, sent: number, failed: {name: string, reason: string}[]}} UploadProgress */

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {string} slide @param {{name: string, file: File}} item */
const markOf = (slide, { name, file }) => `${REMEMBER}/${slide}/${name}/${file.size}/${file.lastModified}`;

/** The upload that a file was begun as; null forgets it. @param {string} mark @param {string | null} upload */
function remember(mark, upload) {
  try {
    if (upload === null) localStorage.removeItem(mark);
    else localStorage.setItem(mark, upload);
  } catch {
    // no room, or not allowed: should this break off, the file is sent again
  }
}

/** @param {string} mark */
function recall(mark) {
  try {
    return localStorage.getItem(mark);
  } catch {
    return null;
  }
}

/**
 * @param {() => Promise<any>} work
 * @param {(why: string) => void} onWait
 */
async function patiently(work, onWait) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const result = await work();
      onWait("");
      return result;
    } catch (error) {
      if (!(error instanceof ApiError && error.passes)) throw error;
      onWait(error.status ? error.message : t("arriving.away"));
      await pause(error.body?.wait ? 1000 * error.body.wait : Math.min(8000, 250 * 2 ** attempt));
    }
  }
}

/** How far an upload has come, or null if the server has not heard of it. @param {string} upload @param {(why: string) => void} onWait */
async function begunBefore(upload, onWait) {
  try {
    return await patiently(() => request("GET", `/uploads/${upload}`), onWait);
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  }
}

/** Read before it is sent: a request whose file is gone looks like one whose server is. @param {File} file @param {number} offset */
async function read(file, offset) {
  try {
    return new Blob([await file.slice(offset, offset + CHUNK).arrayBuffer()]);
  } catch {
    throw new Error(t("arriving.unreadable"));
  }
}

/** @param {string} slide @param {{name: string, file: File}} item @param {string | null} as @param {(bytes: number) => void} onBytes @param {(why: string) => void} onWait */
async function sendOne(slide, { name, file }, as, onBytes, onWait) {
  const mark = markOf(slide, { name, file });
  let upload = recall(mark);
  let begun = upload && (await begunBefore(upload, onWait));
  if (begun?.done && begun.offset < file.size) {
    upload = null; // it was given up when the slide was signed
    begun = null;
  }
  if (!begun) {
    // The name is kept before it is sent: if no answer comes, the file is still found again under it.
    upload ??= drawName();
    remember(mark, upload);
    begun = await patiently(() => post(`/slides/${slide}/uploads`, { name, bytes: file.size, upload }, { as }), onWait);
  }
  let { offset } = begun;
  onBytes(offset);
  for (let { done } = begun; !done; ) {
    const from = offset;
    const piece = await read(file, offset);
    const answer = await patiently(async () => {
      try {
        return await request("PUT", `/uploads/${upload}?offset=${offset}`, piece, { as });
      } catch (error) {
        if (error instanceof ApiError && (error.status === 0 || error.status === 409)) {
          const there = await request("GET", `/uploads/${upload}`);
          if (there.offset !== offset || there.done) return there;
        }
        throw error;
      }
    }, onWait);
    offset = answer.offset;
    done = answer.done ?? offset >= file.size;
    if (done && offset < file.size) throw new Error(t("arriving.given_up"));
    onBytes(offset - from);
  }
}

/**
 * Send files to a slide.
 * @param {string} slide
 * @param {{name: string, file: File}[]} items
 * @param {string | null} as who sends them
 * @param {(progress: UploadProgress & {waiting: string}) => void} onProgress
 */
export async function sendAll(slide, items, as, onProgress) {
  /** @type {UploadProgress & {waiting: string}} */
  const progress = { total: items.length, done: 0, bytes: items.reduce((sum, i) => sum + i.file.size, 0), sent: 0, failed: [], waiting: "" };
  const queue = [...items];
  const tell = () => onProgress({ ...progress });
  const line = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) {
      try {
        await sendOne(
          slide,
          item,
          as,
          (bytes) => { progress.sent += bytes; tell(); },
          (why) => { progress.waiting = why; tell(); },
        );
      } catch (error) {
        progress.failed.push({ name: item.name, reason: error instanceof Error ? error.message : String(error) });
      }
      progress.done += 1;
      tell();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, line));
  if (!progress.failed.length) for (const item of items) remember(markOf(slide, item), null);
  return progress;
}
