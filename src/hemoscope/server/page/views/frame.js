// What every view has at its top: the name, who is here, the theme, and what the program is for.

import { Fragment, html } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { unsaved } from "../state/commands.js";
import { model, session, signOut } from "../state/session.js";
import { change, settings } from "../state/settings.js";
import { tellError } from "../state/toasts.js";
import { isSending } from "../state/uploads.js";
import { Icon } from "./icon.js";

const THEMES = /** @type {const} */ (["auto", "light", "dark"]);

function leave() {
  if ((unsaved.value || isSending()) && !confirm(t("sign_out.unsaved"))) return;
  signOut().catch(tellError);
}

export function Brand() {
  return html`<span class="brand"><img src="/static/icon.svg" alt="" width="26" height="26" /><span>hemoscope</span></span>`;
}

export function ResearchOnly() {
  return html`<span class="tag research" title=${t("research_only.long")}>${t("research_only")}</span>`;
}

function ThemeButton() {
  const { theme } = settings.value;
  const next = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
  const icon = { auto: "auto", light: "sun", dark: "moon" }[theme];
  return html`<button class="button quiet icon-only" title=${t(`theme.${theme}`)} aria-label=${t(`theme.${theme}`)}
    onClick=${() => change({ theme: next })}><${Icon} name=${icon} /></button>`;
}

/** Who is here, and how the page looks. */
export function Person() {
  const { user, sign_in } = session.value ?? {};
  return html`<${Fragment}>
    <${ThemeButton} />
    ${user && html`<span class="person" title=${t("person.title")}>${user}</span>`}
    ${sign_in && html`<button class="button quiet small" onClick=${leave}>${t("sign_out")}</button>`}
  <//>`;
}

/** The line that says which model answers, and that its cells are drawn where they are. */
export function ModelLine() {
  const { name, digest, n_val, demo } = model.value ?? {};
  if (!name) return null;
  return html`<p class="model-line">
    ${demo && html`<strong class="tag demo">${t("demo.tag")}</strong>`}
    <span>${t("model.line", { name, digest: (digest ?? "").slice(0, 12) })}, ${n_val ? t("model.n_val", { n: n_val }) : t("model.untried")}</span>
    ${demo && html`<span>${t("demo.long")}</span>`}
  </p>`;
}
