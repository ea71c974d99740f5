// Which key does what; each can be changed, all can be switched off.

import { html, useState } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { placeLabel } from "../state/commands.js";
import { actions, CONFIRM, keys } from "../state/keys.js";
import { change, settings } from "../state/settings.js";
import { Dialog } from "./dialog.js";

const FIXED = ["enter", "space", "arrows", "shift_arrows", "select_all", "undo", "redo", "escape", "menu", "help"];

/** @param {{onClose: () => void}} props */
export function KeysDialog({ onClose }) {
  const [problem, setProblem] = useState("");
  /** @param {string} action @param {KeyboardEvent} event */
  const keyed = (action, event) => {
    if (["Tab", "Escape", "Shift"].includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const key = event.key.toLowerCase();
    if ([...key].length !== 1 || key === " " || key === "?") {
      setProblem(t("keys.single"));
      return;
    }
    const taken = actions.value.find((other) => other !== action && keys.value[other] === key);
    if (taken) {
      setProblem(t("keys.taken", { key, action: taken === CONFIRM ? t("action.confirm") : placeLabel(taken) }));
      return;
    }
    setProblem("");
    change({ keys: { ...keys.value, [action]: key } });
  };
  return html`<${Dialog} title=${t("keys.title")} onClose=${onClose}>
    <label class="tick"><input type="checkbox" checked=${settings.value.keysOn} onChange=${(/** @type {Event} */ e) => change({ keysOn: /** @type {HTMLInputElement} */ (e.target).checked })} /><span>${t("keys.on")}</span></label>
    <p class="quiet-text">${t("keys.how")}</p>
    <div class="keys-columns">
      <ul class="keys-list">${actions.value.map((action) => html`<li key=${action}><label><span>${action === CONFIRM ? t("action.confirm") : placeLabel(action)}</span>
        <input class="key-input" readonly value=${keys.value[action]} disabled=${!settings.value.keysOn} aria-describedby="keys-problem"
          onKeyDown=${(/** @type {KeyboardEvent} */ event) => keyed(action, event)} /></label></li>`)}</ul>
      <ul class="keys-list fixed">${FIXED.map((name) => html`<li key=${name}><span>${t(`keys.${name}.what`)}</span><kbd>${t(`keys.${name}.key`)}</kbd></li>`)}</ul>
    </div>
    <p id="keys-problem" class="refused" role="status">${problem}</p>
    <button class="button" onClick=${() => { setProblem(""); change({ keys: {} }); }}>${t("keys.usual")}</button>
  <//>`;
}
