// Files to a slide, a few at a time, in chunks. A broken connection goes on from the server's offset; so does the same file dropped again later.

import { ApiError, post, request } from "./api.js";

const CHUNK = 4 * 1024 * 1024;
const AT_ONCE = 4;
const TRIES = 8;
const REMEMBER = "hemoscope.uploads";

/** @typedef {{total: number, done: number, bytes: number, sent: number, failed: {name: string, reason: string}[]}} UploadProgress */

/** @param {number} ms */
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @returns {Record<string, string>} */
function remembered() {
  try {
    return JSON.parse(localStorage.getItem(REMEMBER) ?? "{}");
  } catch {
    return {};
  }
}

/** @param {string} key @param {string | null} upload */
function remember(key, upload) {
  const all = remembered();
  if (upload) all[key] = upload;
  else delete all[key];
  localStorage.setItem(REMEMBER, JSON.stringify(all));
}

/**
 * @param {() => Promise<any>} work
 * @param {(waiting: boolean) => void} onWait
 */
async function patiently(work, onWait) {
  for (let attempt = 0; ; attempt += 1) {
    try {
      const result = await work();
      onWait(false);
      return result;
    } catch (error) {
      const passing = error instanceof ApiError && (error.status === 0 || error.status === 429 || error.status >= 500);
      if (!passing || (error.status !== 429 && attempt >= TRIES)) throw error;
      onWait(true);
      await pause(error.body?.wait ? 1000 * error.body.wait : Math.min(8000, 250 * 2 ** attempt));
    }
  }
}

/** @param {string} slide @param {{name: string, file: File}} item @param {(bytes: number) => void} onBytes @param {(w: boolean) => void} onWait */
async function sendOne(slide, { name, file }, onBytes, onWait) {
  const key = `${slide}/${name}/${file.size}/${file.lastModified}`;
  let upload = remembered()[key];
  let offset = 0;
  if (upload) {
    try {
      offset = (await request("GET", `/uploads/${upload}`)).offset;
    } catch {
      upload = "";
    }
  }
  if (!upload) {
    const begun = await patiently(() => post(`/slides/${slide}/uploads`, { name, bytes: file.size }), onWait);
    ({ upload, offset } = begun);
    if (file.size > CHUNK) remember(key, upload);
  }
  onBytes(offset);
  for (let done = false; !done; ) {
    const from = offset;
    const answer = await patiently(async () => {
      try {
        return await request("PUT", `/uploads/${upload}?offset=${offset}`, file.slice(offset, offset + CHUNK));
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
    onBytes(offset - from);
  }
  remember(key, null);
}

/**
 * Send files to a slide.
 * @param {string} slide
 * @param {{name: string, file: File}[]} items
 * @param {(progress: UploadProgress & {waiting: boolean}) => void} onProgress
 */
export async function sendAll(slide, items, onProgress) {
  /** @type {UploadProgress & {waiting: boolean}} */
  const progress = { total: items.length, done: 0, bytes: items.reduce((sum, i) => sum + i.file.size, 0), sent: 0, failed: [], waiting: false };
  const queue = [...items];
  const tell = () => onProgress({ ...progress });
  const line = async () => {
    for (let item = queue.shift(); item; item = queue.shift()) {
      try {
        await sendOne(
          slide,
          item,
          (bytes) => { progress.sent += bytes; tell(); },
          (waiting) => { progress.waiting = waiting; tell(); },
        );
      } catch (error) {
        progress.failed.push({ name: item.name, reason: error instanceof Error ? error.message : String(error) });
      }
      progress.done += 1;
      tell();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, line));
  return progress;
}
