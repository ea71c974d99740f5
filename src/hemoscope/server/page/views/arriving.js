// Files on their way: how far they are, and those that became no cells.

import { html, useState } from "../vendor/preact.js";
import { dropped } from "../lib/dropped.js";
import { t } from "../lib/text.js";
import { signed, slide } from "../state/slide.js";
import { addFiles, sending } from "../state/uploads.js";
import { tell, tellError } from "../state/toasts.js";

/** @param {DragEvent | import("../lib/dropped.js").Item[]} what @param {string} id */
export function addMore(what, id) {
  if (!Array.isArray(what)) {
    if (!what.dataTransfer?.types.includes("Files")) return;
    what.preventDefault();
  }
  if (signed.value) {
    tell(t("slide.signed.locked"));
    return;
  }
  if (Array.isArray(what)) addFiles(id, what).catch(tellError);
  else if (what.dataTransfer) dropped(what.dataTransfer).then(({ items }) => addFiles(id, items)).catch(tellError);
}

/** @param {{id: string}} props */
export function Arriving({ id }) {
  const [open, setOpen] = useState(false);
  const now = sending.value[id];
  const found = slide.value;
  const progress = found?.progress;
  const waiting = progress ? Math.max(0, progress.total - progress.predicted - progress.rejected) : (found?.waiting ?? 0);
  const refused = [...(Array.isArray(found?.rejected) ? found.rejected : []), ...(now?.failed ?? [])];
  const busy = now && !now.finished;
  if (!busy && !waiting && !refused.length) return null;
  return html`<div class="arriving">
    ${busy && html`<div class="arriving-line"><progress class="meter" max=${now.bytes || 1} value=${now.sent} aria-label=${t("arriving.sending")}></progress>
      <span>${now.waiting ? t("arriving.paused", { why: now.waiting }) : t("arriving.sent", { done: now.done, total: now.total })}</span></div>`}
    ${waiting > 0 && progress && html`<div class="arriving-line"><progress class="meter" max=${progress.total || 1} value=${progress.predicted + progress.rejected} aria-label=${t("arriving.recognising")}></progress>
      <span>${t("arriving.predicted", { done: progress.predicted, total: progress.total })}</span></div>`}
    ${refused.length > 0 && html`<div class="refused-files">
      <button class="link" aria-expanded=${open} onClick=${() => setOpen(!open)}>${t("arriving.refused", { n: refused.length })}</button>
      ${open && html`<ul>${refused.map((file) => html`<li><strong>${file.name}</strong> <span>${file.reason}</span></li>`)}</ul>`}
    </div>`}
  </div>`;
}
