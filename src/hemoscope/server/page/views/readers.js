// Second reader and automation bias: which reading this window is in, how readers agree, and what is left to settle.

import { Fragment, html, useEffect, useState } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { number, percent, t } from "../lib/text.js";
import { placeLabel } from "../state/commands.js";
import * as at from "../state/slide.js";
import { Dot } from "./dot.js";
import { Icon } from "./icon.js";

/** @typedef {import("../types.d.ts").Readers} Found */
/** @typedef {import("../types.d.ts").Agreement} Agreement */
/** @typedef {import("../types.d.ts").Reading} Reading */

/** How many cells of a reading are read, and how many it has. @param {Found} found @param {Reading} reading @returns {[number, number]} */
function progressOf(found, reading) {
  if (reading === "audit") return [found.audit.read, found.audit.cells.length];
  if (reading === "settle") return [Object.keys(found.agreement?.settled ?? {}).length, found.agreement?.differ.length ?? 0];
  return found.readings === 2 ? [found.read?.[String(reading)] ?? 0, found.cells?.length ?? 0] : [at.slide.value?.reviewed ?? 0, at.slide.value?.cells ?? 0];
}

/** @param {{reading: Reading, found: Found}} props */
function Choice({ reading, found }) {
  const here = at.reading.value === reading;
  const [done, of] = progressOf(found, reading);
  return html`<button class=${`reading ${here ? "on" : ""}`} aria-pressed=${here} disabled=${!of && !here} onClick=${() => at.switchReading(reading)}>
    <strong>${t(reading === 1 && found.readings === 1 ? "reading.alone" : `reading.${reading}`)}</strong><span>${found.readers[String(reading)] ?? ""}</span><span class="number">${t("slides.reviewed_of", { reviewed: done, cells: of })}</span></button>`;
}

/** @param {{found: Agreement}} props */
function Agreed({ found }) {
  const { kappa, both, agreed, differ } = found;
  const open = differ.filter(([cell]) => !(String(cell) in found.settled)).length;
  const classes = Object.keys(found.merged);
  return html`<section class="finish-block">
    <h3>${t("agreement.title")}</h3>
    <div class="summary">
      <div class="figure"><strong>${kappa && Number.isFinite(kappa.value ?? NaN) ? number(/** @type {number} */ (kappa.value), 2) : "–"}</strong>
        <span>${kappa && kappa.low !== null && kappa.high !== null ? t("agreement.kappa", { low: number(kappa.low, 2), high: number(kappa.high, 2) }) : t("agreement.kappa_none")}</span></div>
      <div class="figure"><strong>${both ? percent(agreed / both, 1) : "–"}</strong><span>${t("agreement.agreed", { agreed: number(agreed), both: number(both) })}</span></div>
      <div class=${`figure ${open ? "warn" : ""}`}><strong>${number(open)}</strong><span>${t("agreement.open")}</span></div>
    </div>
    <table class="plain"><caption class="unseen">${t("agreement.counts")}</caption><thead><tr><th scope="col">${t("cell.class")}</th><th scope="col">${t("reading.1")}</th><th scope="col">${t("reading.2")}</th><th scope="col">${t("agreement.merged")}</th></tr></thead>
      <tbody>${classes.map((name) => html`<tr key=${name}><th scope="row">${at.labelOf(name)}</th><td>${number(found.first[name])}</td><td>${number(found.second[name])}</td><td><strong>${number(found.merged[name])}</strong></td></tr>`)}</tbody></table>
    ${differ.length > 0 && html`<${Fragment}><h3>${t("agreement.differ")}</h3><ul class="differ">${differ.slice(0, 60).map(([cell, first, second]) => html`<li key=${cell}>
      <span>${t("cell.name", { cell: String(cell + 1) })}</span><span><${Dot} place=${first} /> ${placeLabel(first)}</span><span><${Dot} place=${second} /> ${placeLabel(second)}</span>
      <span>${found.settled[String(cell)] ? html`<${Icon} name="check" /> ${placeLabel(found.settled[String(cell)])}` : t("agreement.unsettled")}</span></li>`)}</ul><//>`}
  </section>`;
}

/** @param {{bias: Found["bias"]}} props */
function Bias({ bias }) {
  const readers = Object.entries(bias);
  return html`<section class="finish-block">
    <h3>${t("bias.title")}</h3>
    <p class="quiet-text">${t("bias.why")}</p>
    ${readers.length === 0 && html`<p class="quiet-text">${t("bias.none")}</p>`}
    ${readers.map(([reader, f]) => html`<div class="bias" key=${reader}><strong>${reader}</strong>
      <span>${f.wrong ? t("bias.followed", { followed: f.followed, n: f.wrong, rate: percent(f.rate ?? NaN, 0), low: number(100 * (f.interval[0] ?? 0), 0), high: number(100 * (f.interval[1] ?? 1), 0) }) : t("bias.no_wrong", { n: f.audited })}</span>
      ${f.right > 0 && html`<span class="quiet-text">${t("bias.overturned", { overturned: f.overturned, n: f.right })}</span>`}</div>`)}
  </section>`;
}

export function ReadersPanel() {
  const [found, setFound] = useState(/** @type {Found | null} */ (null));
  const [problem, setProblem] = useState("");
  useEffect(() => {
    let latest = true; // an older answer may come after a newer one
    get(`/slides/${at.slide.value?.id}/agreement`).then((answer) => { if (latest) { setFound(answer); setProblem(""); } })
      .catch((error) => { if (latest) setProblem(error.message); });
    return () => { latest = false; };
  }, [at.seq.value, at.reading.value, at.slide.value]);
  if (!found) return html`<p class="quiet-text">${problem || t("loading")}</p>`;
  const two = at.slide.value?.readings === 2;
  /** @type {Reading[]} */
  const readings = two ? [1, 2, "settle"] : [1, "audit"];
  return html`<div class="readers">
    <section class="finish-block"><h3>${t("readers.which")}</h3><p class="quiet-text">${t(two ? "readers.pair" : "readers.single")}</p>
      <div class="readings" role="group" aria-label=${t("readers.which")}>${readings.map((reading) => html`<${Choice} key=${reading} reading=${reading} found=${found} />`)}</div></section>
    ${two && found.agreement && html`<${Agreed} found=${found.agreement} />`}
    <${Bias} bias=${found.bias} />
  </div>`;
}

/** Above the wall, where this is not the ordinary review: which reading it is. */
export function ReadingBanner() {
  const reading = at.reading.value;
  const two = at.slide.value?.readings === 2;
  if (reading === 1 && !two) return null;
  const done = at.reviewed.value.size;
  return html`<div class="reading-banner" role="status"><${Icon} name="people" /><strong>${t(`reading.${reading}`)}</strong>
    <span>${t(reading === "settle" ? "reading.open" : "reading.blind", { done: number(done), of: number(at.places.value.size) })}</span>
    <span class="grow"></span>${!two && html`<button class="button small" onClick=${() => at.switchReading(1)}>${t("reading.back")}</button>`}</div>`;
}
