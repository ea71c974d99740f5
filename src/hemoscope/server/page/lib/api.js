// Requests to the server. A refusal becomes an ApiError with the server's own message.

import { refusal, t } from "./text.js";

const PREFIX = "/api/v1";
let csrf = "";
/** This window, so that the log can tell it from another of the same reader. */
export const CLIENT = crypto.randomUUID?.() ?? String(Math.random()).slice(2);

/** @param {string} token */
export function useCsrf(token) {
  csrf = token;
}

export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} [body] */
  constructor(status, code, message, body) {
    super(message);
    this.status = status;
    this.code = code;
    this.body = body;
  }

  /** Whether the same request can be tried again later: nobody answers, or not now. */
  get passes() {
    return [0, 429, 502, 503, 504, 507].includes(this.status);
  }
}

/** Told where the server wants to know again who is here. */
export const signedOut = { tell: () => {} };

/**
 * @param {"GET" | "POST" | "PUT" | "DELETE"} method
 * @param {string} path below the prefix
 * @param {unknown} [body] sent as JSON, or as it is if a Blob
 * @param {{signal?: AbortSignal, again?: boolean}} [options] again: with a token that was just renewed
 * @returns {Promise<any>}
 * @throws {ApiError} status 0 where the server was not reached
 */
export async function request(method, path, body, options = {}) {
  /** @type {Record<string, string>} */
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-Token"] = csrf;
  let payload;
  if (body instanceof Blob) {
    headers["Content-Type"] = "application/octet-stream";
    payload = body;
  } else if (body !== undefined) {
    headers["Content-Type"] = "application/json";
    payload = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(PREFIX + path, { method, headers, body: payload, signal: options.signal, credentials: "same-origin" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(0, "unreachable", t("error.unreachable"));
  }
  const text = await response.text();
  let answer;
  try {
    answer = text ? JSON.parse(text) : null;
  } catch {
    answer = null;
  }
  if (response.ok) return answer;
  if (answer?.error?.code === "csrf" && !options.again) {
    csrf = (await request("GET", "/session")).csrf;
    return request(method, path, body, { ...options, again: true });
  }
  if (answer?.error?.code === "sign_in") signedOut.tell();
  const wait = response.status === 429 ? Number(response.headers.get("Retry-After") ?? 1) : undefined;
  const message = refusal(answer?.error, t("error.status", { status: String(response.status) }));
  throw new ApiError(response.status, answer?.error?.code ?? "error", message, { ...answer, wait });
}

/** @param {string} path */
export const get = (path, options = {}) => request("GET", path, undefined, options);
/** @param {string} path @param {unknown} [body] */
export const post = (path, body) => request("POST", path, body ?? {});

/** @param {string} digest @param {number} [px] a thumbnail of this side; without it the whole image */
export const imageUrl = (digest, px) => `${PREFIX}/images/${digest}${px ? `?px=${px}` : ""}`;
/** @param {string} path */
export const apiUrl = (path) => PREFIX + path;
