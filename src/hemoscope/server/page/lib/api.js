// Requests to the server. A refusal becomes an ApiError with the server's own message.

import { refusal, t } from "./text.js";

const PREFIX = "/api/v1";
/** Who writes from this window. @type {{user: string | null, csrf: string}} */
let writer = { user: null, csrf: "" };

/** A name that nobody else draws; `randomUUID` is not there without TLS. */
export const drawName = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
/** This window, so that the log can tell it from another of the same reader. */
export const CLIENT = drawName();

/** @param {{user: string | null, csrf: string}} session */
export function writeAs(session) {
  writer = session;
}

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} [body] */
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }

  /** Whether the same request can be tried again later: nobody answers, or not now, or not before somebody signs in. */
  get passes() {
    return [0, 429, 502, 503, 504, 507].includes(this.status) || this.code === "sign_in";
  }
}

/** Told where the server wants to know again who is here, and where somebody else is. */
export const signedOut = { tell: () => {} };

/**
 * @param {"GET" | "POST" | "PUT" | "DELETE"} method
 * @param {string} path below the prefix
 * @param {unknown} [body] sent as JSON, or as it is if a Blob
 * @param {{signal?: AbortSignal, as?: string | null, again?: boolean}} [options] as: whose doing it is, where that may be somebody who
 *   has left meanwhile; again: with a token that was just renewed
 * @returns {Promise<any>}
 * @throws {ApiError} status 0 where the server was not reached, or its answer did not come whole
 */
export async function request(method, path, body, options = {}) {
  if (options.as !== undefined && options.as !== writer.user) throw elsewhere(writer.user);
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = writer.csrf;
  let payload;
  if (body instanceof Blob) {
    headers["Content-Type"] = "application/octet-stream";
    payload = body;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    payload = JSON.stringify(body);
  }
  let response;
  let text;
  try {
    response = await fetch(PREFIX + path, { method, headers, body: payload, signal: options.signal, credentials: "same-origin" });
    text = await response.text();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw unreachable();
  }
  let answer;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw unreachable(); // cut on its way
    answer = null;
  }
  if (response.ok) return answer;
  if (answer?.error?.code === "csrf" && !options.again) {
    const now = await request("GET", "/session");
    if (now.user !== writer.user) {
      signedOut.tell();
      throw elsewhere(now.user);
    }
    writer = now;
    return request(method, path, body, { ...options, again: true });
  }
  if (answer?.error?.code === "sign_in") signedOut.tell();
  const wait = response.status === 429 ? Number(response.headers.get("Retry-After") ?? 1) : undefined;
  const message = refusal(answer?.error, t("error.status", { status: String(response.status) }));
  throw new ApiError(response.status, answer?.error?.code ?? "error", message, { ...answer, wait });
}

const unreachable = () => new ApiError(0, "unreachable", t("error.unreachable"));

/** What somebody did is not written as somebody else's. @param {string | null} who is here now */
const elsewhere = (who) =>
  who === null ? new ApiError(401, "sign_in", t("error.signed_out")) : new ApiError(403, "other_person", t("error.other_person", { who }));

/** @param {string} path */
export const get = (path, options = {}) => request("GET", path, undefined, options);
/** @param {string} path @param {unknown} [body] @param {{signal?: AbortSignal, as?: string | null}} [options] */
export const post = (path, body, options) => request("POST", path, body ?? {}, options);

/** @param {string} digest @param {number} [px] a thumbnail of this side; without it the whole image */
export const imageUrl = (digest, px) => `${PREFIX}/images/${digest}${px ? `?px=${px}` : ""}`;
/** @param {string} path */
export const apiUrl = (path) => PREFIX + path;
