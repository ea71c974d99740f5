// The line of tools above the wall: taking back, order, size, lasso, keys, and which reading this is.

import { html } from "../vendor/preact.js";
import { number, t } from "../lib/text.js";
import { redo, undo } from "../state/commands.js";
import { change, settings } from "../state/settings.js";
import * as at from "../state/slide.js";
import { lassoMode } from "../state/wall.js";
import { tellError } from "../state/toasts.js";
import { Icon } from "./icon.js";

function Progress() {
  const of = at.places.value.size;
  const done = at.reviewed.value.size;
  const open = at.sections.value.filter((s) => s.place === "review" || s.place === "unidentified").reduce((n, s) => n + s.cells.length, 0);
  return html`<div class="review-progress">
    <progress class="meter" max=${of || 1} value=${done} aria-label=${t("tools.progress")}></progress>
    <span class="number">${t("tools.reviewed", { done: number(done), of: number(of) })}</span>
    <span class=${`tag ${open ? "state-open" : "state-ready"}`}>${open ? t("tools.open", { n: open }) : t("tools.none_open")}</span>
  </div>`;
}

/** @param {{onKeys: () => void}} props */
export function Tools({ onKeys }) {
  const order = at.orderBy.value;
  /** @param {Event} event */
  const ordered = (event) => {
    at.orderBy.value = /** @type {"doubt" | "influence"} */ (/** @type {HTMLSelectElement} */ (event.target).value);
    at.loadOrder().catch(tellError);
  };
  const locked = at.signed.value;
  return html`<div class="tools" role="toolbar" aria-label=${t("tools.label")}>
    <${Progress} />
    <span class="grow"></span>
    <span class="tool-group">
      <button class="button quiet icon-only" disabled=${!at.canUndo.value || locked} onClick=${undo} title=${t("tools.undo")} aria-label=${t("tools.undo")}><${Icon} name="undo" /></button>
      <button class="button quiet icon-only" disabled=${!at.canRedo.value || locked} onClick=${redo} title=${t("tools.redo")} aria-label=${t("tools.redo")}><${Icon} name="redo" /></button>
    </span>
    <label class="tool-field"><span class="wide-only">${t("tools.order")}</span>
      <select value=${order} onChange=${ordered} aria-label=${t("tools.order")}>
        <option value="doubt">${t("order.doubt")}</option><option value="influence">${t("order.influence")}</option>
      </select></label>
    <label class="tool-field size"><span class="unseen">${t("tools.size")}</span>
      <span class="size-sign small" aria-hidden="true"></span>
      <input type="range" min="40" max="200" step="4" value=${settings.value.size} aria-label=${t("tools.size")}
        onInput=${(/** @type {Event} */ event) => change({ size: Number(/** @type {HTMLInputElement} */ (event.target).value) })} />
      <span class="size-sign" aria-hidden="true"></span></label>
    <button class=${`button quiet icon-only mouse-only ${lassoMode.value ? "on" : ""}`} aria-pressed=${lassoMode.value} title=${t("tools.lasso")} aria-label=${t("tools.lasso")}
      onClick=${() => { lassoMode.value = !lassoMode.value; }}><${Icon} name="lasso" /></button>
    <button class="button quiet icon-only" title=${t("tools.keys")} aria-label=${t("tools.keys")} onClick=${onKeys}><${Icon} name="keys" /></button>
  </div>`;
}
