// Who is here and which model answers.

import { signal } from "../vendor/preact.js";
import { get, post, request, signedOut, writeAs } from "../lib/api.js";

/** @type {{value: import("../types.d.ts").Session | null}} */
export const session = signal(null);
/** @type {{value: import("../types.d.ts").Model | null}} */
export const model = signal(null);

export async function loadSession() {
  const asked = get("/model").catch(() => null); // refused where nobody is signed in
  const found = await get("/session");
  writeAs(found);
  session.value = found;
  if (!found.sign_in || found.user) model.value = (await asked) ?? (await get("/model"));
}

let asking = false;
signedOut.tell = () => {
  if (asking || !session.value?.user) return;
  asking = true; // what is asked then may be refused likewise
  loadSession().catch(() => {}).finally(() => { asking = false; });
};

/** @param {string} name @param {string} password */
export async function signIn(name, password) {
  await post("/session", { name, password });
  await loadSession();
}

export async function signOut() {
  await request("DELETE", "/session");
  model.value = null;
  await loadSession();
}
