// Name and password, where the server asks for them.

import { html, useState } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { signIn } from "../state/session.js";
import { Brand } from "./frame.js";

export function SignIn() {
  const [refused, setRefused] = useState("");
  const [busy, setBusy] = useState(false);
  /** @param {SubmitEvent} event */
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    setBusy(true);
    try {
      await signIn(String(form.get("name")), String(form.get("password")));
    } catch (error) {
      setRefused(error instanceof Error ? error.message : String(error));
    }
    setBusy(false);
  };
  return html`<main class="sign-in">
    <form class="card" onSubmit=${send}>
      <${Brand} />
      <h1>${t("sign_in.title")}</h1>
      <label class="field"><span>${t("sign_in.name")}</span><input name="name" autocomplete="username" required autofocus /></label>
      <label class="field"><span>${t("sign_in.word")}</span><input name="password" type="password" autocomplete="current-password" required /></label>
      ${refused && html`<p class="refused" role="alert">${refused}</p>`}
      <button class="button primary" disabled=${busy}>${t("sign_in.go")}</button>
      <p class="quiet-text">${t("research_only.long")}</p>
    </form>
  </main>`;
}
