// What is selected, and the ways to move it that need neither keys nor dragging.

import { html } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { confirm } from "../state/commands.js";
import { blind, signed } from "../state/slide.js";
import { clearSelection, menu, opened, selected } from "../state/wall.js";
import { Icon } from "./icon.js";

export function SelectionBar() {
  const cells = [...selected.value];
  if (!cells.length) return null;
  /** @param {MouseEvent} event */
  const ask = (event) => {
    const box = /** @type {HTMLElement} */ (event.currentTarget).getBoundingClientRect();
    menu.value = { x: box.left, y: box.top, cells };
  };
  return html`<div class="selection-bar" role="toolbar" aria-label=${t("selection.label")}>
    <strong>${t("selection.n", { n: cells.length })}</strong>
    ${!signed.value && html`<button class="button primary" aria-haspopup="menu" onClick=${ask}><${Icon} name="menu" />${t("selection.move")}</button>`}
    ${!signed.value && !blind.value && html`<button class="button" onClick=${() => { confirm(cells); clearSelection(); }}><${Icon} name="check" />${t("selection.confirm")}</button>`}
    ${cells.length === 1 && html`<button class="button" onClick=${() => { [opened.value] = cells; }}>${t("selection.open")}</button>`}
    <button class="button quiet icon-only" aria-label=${t("selection.clear")} title=${t("selection.clear")} onClick=${clearSelection}><${Icon} name="close" /></button>
  </div>`;
}
