// The differential as the server counts it: before and after review, both intervals, flags, and whether more review would change anything.

import { html, useState } from "../vendor/preact.js";
import { number, t } from "../lib/text.js";
import { run } from "../state/commands.js";
import { model } from "../state/session.js";
import * as at from "../state/slide.js";
import { Dot } from "./dot.js";
import { Icon } from "./icon.js";
import { intervalText, shareText } from "./shares.js";

/** @typedef {import("../types.d.ts").Share} Share */
/** @typedef {import("../types.d.ts").Differential} Differential */

const WIDTH = 200;

/** @param {{finding: string}} props */
function Flag({ finding }) {
  if (!finding) return null;
  const doubtful = finding.startsWith("possibly");
  return html`<span class=${`flag ${doubtful ? "possibly" : ""} ${finding.includes("low") ? "low" : "high"}`}>${t(`finding.${finding}`)}</span>`;
}

/** Range, intervals and value of a class on a scale of its own; an interval that nobody knows is left out. @param {{before: Share, after: Share}} props */
function Bar({ before, after }) {
  const ends = [after.interval[1], after.sampling[1], before.interval[1], ...(after.reference ?? [])].filter((end) => end !== null);
  const unit = WIDTH / (1.06 * Math.max(...ends, 0.01));
  const x = (/** @type {number | null} */ share) => Math.max(0, Math.min(WIDTH, (share ?? 0) * unit));
  const line = (/** @type {import("../types.d.ts").Ends} */ [low, high], /** @type {string} */ kind, /** @type {number} */ y) =>
    low !== null && high !== null && html`<line class=${kind} x1=${x(low)} x2=${x(high)} y1=${y} y2=${y} />`;
  return html`<svg class="share-bar" viewBox=${`-4 0 ${WIDTH + 8} 22`} width="100%" height="22" preserveAspectRatio="none" aria-hidden="true">
    <line class="axis" x1="0" x2=${WIDTH} y1="12" y2="12" />
    ${after.reference && html`<rect class="range" x=${x(after.reference[0])} width=${Math.max(1, x(after.reference[1]) - x(after.reference[0]))} y="3" height="16" rx="2" />`}
    ${line(before.interval, "was", 18)}
    ${line(after.interval, "whole", 12)}
    ${line(after.sampling, "sampling", 12)}
    <line class="value" x1=${x(after.per_white)} x2=${x(after.per_white)} y1="6" y2="18" />
  </svg>`;
}

/** @param {{before: Share, after: Share, found: Differential}} props */
function Row({ before, after, found }) {
  const straddles = found.settles.filter((s) => s.name === after.name);
  const changed = before.finding !== after.finding;
  return html`<li class="share">
    <div class="share-line"><${Dot} place=${after.name} /><strong class="share-name">${after.label}</strong>
      <${Flag} finding=${after.finding} />
      ${before.counted !== after.counted && html`<span class="share-was" title=${t("count.before")}>${number(before.counted)} →</span>`}<span class="share-n">${number(after.counted)}</span><span class="share-percent">${shareText(found, after.name) || "–"}</span></div>
    ${after.role !== "other" && html`<${Bar} before=${before} after=${after} />
      <dl class="share-words">
        ${[["sampling", after.sampling], ["whole", after.interval], ["before", before.interval], ["range", after.reference]].map(([name, interval]) => html`
          <div key=${name}><dt class="unseen">${t(`count.${name}`)}</dt><dd>${intervalText(/** @type {import("../types.d.ts").Ends | null} */ (interval))}</dd></div>`)}
      </dl>
      ${changed && html`<p class="was-flag">${t("count.flag_changed", { before: t(`finding.${before.finding || "none"}`), after: t(`finding.${after.finding || "none"}`) })}</p>`}
      ${straddles.map((each) => html`<p class="settles" key=${each.limit}>${settlesText(each)}</p>`)}`}
  </li>`;
}

/** @param {import("../types.d.ts").Settles} straddles */
function settlesText(straddles) {
  const limit = number(100 * straddles.limit, 1);
  const { more_cells: cells, more_reviewed: reviewed } = straddles;
  if (reviewed === 0) return cells === null ? t("settles.review", { limit }) : t("settles.review_or_cells", { limit, n: cells });
  if (cells === null) return reviewed === null ? t("settles.never", { limit }) : t("settles.reviewed", { limit, n: reviewed });
  if (reviewed === null) return t("settles.cells", { limit, n: cells });
  return t("settles.both", { limit, n: cells, reviewed: number(reviewed) });
}

/** @param {{found: Differential}} props */
function White({ found }) {
  const kept = at.whiteCount.value;
  // What is being typed and the count that it began with: what somebody else states meanwhile does not replace it.
  const [typed, setTyped] = useState(/** @type {{text: string, before: number | null} | null} */ (null));
  const [wrong, setWrong] = useState(false);
  const type = (/** @type {Event} */ e) => setTyped({ text: /** @type {HTMLInputElement} */ (e.target).value, before: typed ? typed.before : kept });
  const keep = () => {
    if (!typed) return;
    const value = typed.text.trim() === "" ? null : Number(typed.text.replace(",", "."));
    const bad = value !== null && !(value > 0 && value <= 10000);
    setWrong(bad);
    if (bad) return;
    if (value !== kept) run({ kind: "white_count", value });
    setTyped(null);
  };
  const corrected = found.corrected_white;
  return html`<section class="white" aria-label=${t("white.title")}>
    <label class="field inline"><span>${t("white.title")}</span><span class="with-unit"><input inputmode="decimal" value=${typed?.text ?? kept ?? ""} disabled=${at.signed.value} aria-invalid=${wrong}
      onInput=${type} onBlur=${keep} onKeyDown=${(/** @type {KeyboardEvent} */ e) => { if (e.key === "Enter") keep(); }} />
      <span class="unit">${t("unit.giga")}</span></span></label>
    ${wrong && html`<p class="refused" role="alert">${t("white.wrong")}</p>`}
    ${typed && typed.before !== kept && html`<p class="quiet-text" role="status">${t("white.theirs", { value: kept ?? "–" })}</p>`}
    ${corrected && html`<p class="corrected"><strong>${t("white.corrected", { value: number(corrected.value, 2) })}</strong><span class="working">${corrected.working}</span></p>`}
    ${!corrected && found.erythroblasts !== null && html`<p class="quiet-text">${t("white.erythroblasts", { value: number(found.erythroblasts, 1) })}</p>`}
  </section>`;
}

/** @param {{found: Differential}} props */
function Summary({ found }) {
  const openOnes = found.waiting + found.unidentified;
  return html`<div class="summary">
    <div class="figure"><strong>${number(found.after.n_white)}</strong><span>${t("count.white_cells")}</span></div>
    <div class="figure"><strong>${number(found.reviewed)}<small>${t("count.of", { of: number(found.cells) })}</small></strong><span>${t("count.reviewed")}</span></div>
    <div class=${`figure ${openOnes ? "warn" : ""}`}><strong>${number(openOnes)}</strong><span>${t("count.still_open")}</span></div>
  </div>`;
}

export function CountPanel() {
  const found = /** @type {Differential | null} */ (at.differential.value);
  if (!found) return html`<p class="quiet-text">${at.reading.value === "audit" ? t("count.audit") : at.blind.value ? t("count.blind") : t("loading")}</p>`;
  const was = new Map(found.before.shares.map((share) => [share.name, share]));
  const rows = (/** @type {(share: Share) => boolean} */ of) => found.after.shares.filter(of).map((share) => html`<${Row} key=${share.name} before=${was.get(share.name) ?? share} after=${share} found=${found} />`);
  const { reference } = model.value ?? {};
  return html`<div class="count">
    <${Summary} found=${found} />
    ${found.only_sampling_left && html`<p class="enough"><${Icon} name="check" />${t("count.only_sampling")}</p>`}
    ${found.wrong_left !== null && found.wrong_left >= 0.05 && html`<p class="quiet-text">${t("count.wrong_left", { n: number(found.wrong_left, 1) })}</p>`}
    <h3>${t("count.of_white")}</h3>
    <div class="share-words share-head" aria-hidden="true">${["sampling", "whole", "before", "range"].map((name) => html`<span key=${name}>${t(`count.${name}`)}</span>`)}</div>
    <ul class="shares">${rows((s) => s.role === "white")}</ul>
    <h3>${t("count.apart")}</h3>
    <ul class="shares">${rows((s) => s.role !== "white")}</ul>
    <${White} found=${found} />
    ${found.after.remarks.length > 0 && html`<section class="remarks"><h3>${t("count.remarks")}</h3><ul>${found.after.remarks.map((remark) => html`<li>${t(`remark.${remark.code}`, remark.values)}</li>`)}</ul></section>`}
    <details class="legend"><summary>${t("count.how")}</summary>
      <p>${t("count.how.sampling")}</p><p>${t("count.how.whole")}</p><p>${t("count.how.review")}</p><p>${t("count.how.percent")}</p>
      ${reference && html`<p>${t("count.how.range", { name: reference.name, source: reference.source })}</p>`}</details>
  </div>`;
}

