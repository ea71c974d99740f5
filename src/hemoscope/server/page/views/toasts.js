// Messages in a corner, and a line that only a screen reader hears.

import { Fragment, html } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { dismiss, spoken, toasts } from "../state/toasts.js";
import { Icon } from "./icon.js";

export function Toasts() {
  return html`<${Fragment}>
    <div class="toasts" role="region" aria-label=${t("toasts.label")}>
      ${toasts.value.map((toast) => html`
        <div class=${`toast toast-${toast.kind}`} key=${toast.id} role=${toast.kind === "error" ? "alert" : "status"}>
          <span>${toast.text}</span>
          <button class="button quiet small" aria-label=${t("dismiss")} onClick=${() => dismiss(toast.id)}><${Icon} name="close" /></button>
        </div>`)}
    </div>
    <div class="unseen" aria-live="polite">${spoken.value}</div>
  <//>`;
}
