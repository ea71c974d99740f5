// Where files, folders and archives are let fall or chosen.

import { html, useRef, useState } from "../vendor/preact.js";
import { chosen, dropped } from "../lib/dropped.js";
import { t } from "../lib/text.js";
import { tellError } from "../state/toasts.js";
import { Icon } from "./icon.js";

/** @param {{onItems: (items: import("../lib/dropped.js").Item[], title: string) => void, small?: boolean}} props */
export function DropZone({ onItems, small = false }) {
  const [over, setOver] = useState(false);
  const files = useRef(/** @type {HTMLInputElement | null} */ (null));
  const folder = useRef(/** @type {HTMLInputElement | null} */ (null));
  /** @param {DragEvent} event */
  const onDrop = (event) => {
    event.preventDefault();
    setOver(false);
    if (event.dataTransfer) dropped(event.dataTransfer).then(({ items, title }) => onItems(items, title)).catch(tellError);
  };
  /** @param {Event} event */
  const onChoose = (event) => {
    const input = /** @type {HTMLInputElement} */ (event.target);
    const items = chosen(input.files);
    const whole = items[0]?.name.includes("/") ? items[0].name.split("/")[0] : items.length === 1 ? items[0].name.replace(/\.\w+$/, "") : "";
    if (items.length) onItems(items, whole);
    input.value = "";
  };
  return html`<div class=${`drop-zone ${over ? "over" : ""} ${small ? "small" : ""}`}
    onDragOver=${(/** @type {DragEvent} */ event) => { event.preventDefault(); setOver(true); }}
    onDragLeave=${() => setOver(false)} onDrop=${onDrop}>
    <${Icon} name="drop" />
    <div class="drop-words"><strong>${t("drop.here")}</strong>${!small && html`<span>${t("drop.what")}</span>`}</div>
    <div class="drop-buttons">
      <button type="button" class="button" onClick=${() => files.current?.click()}>${t("drop.files")}</button>
      <button type="button" class="button" onClick=${() => folder.current?.click()}>${t("drop.folder")}</button>
    </div>
    <input ref=${files} class="drop-input" type="file" multiple hidden aria-label=${t("drop.files")} accept="image/*,.zip,.tif,.tiff,.bmp,.webp" onChange=${onChoose} />
    <input ref=${folder} type="file" webkitdirectory hidden aria-label=${t("drop.folder")} onChange=${onChoose} />
  </div>`;
}
