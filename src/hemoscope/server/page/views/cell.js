// One cell looked at closely: its picture, what the model says and why, what it resembles, and a note.

import { html, useEffect, useLayoutEffect, useState } from "../vendor/preact.js";
import { apiUrl, get, imageUrl } from "../lib/api.js";
import { number, percent, refusal, t } from "../lib/text.js";
import { placeLabel, redo, run, undo } from "../state/commands.js";
import { actionOf, actions, CONFIRM, isTyping, keys, letterOf } from "../state/keys.js";
import { model } from "../state/session.js";
import { settings } from "../state/settings.js";
import * as at from "../state/slide.js";
import * as wall from "../state/wall.js";
import { Dialog } from "./dialog.js";
import { Dot } from "./dot.js";
import { Icon } from "./icon.js";
import { act } from "./press.js";
import { answers } from "./thumb.js";

/** @typedef {import("../types.d.ts").Cell} Cell */
/** @typedef {import("../types.d.ts").Neighbour} Neighbour */

/** @param {number} cell @param {number} step */
function beside(cell, step) {
  const all = wall.flat.value;
  return all[all.indexOf(cell) + step] ?? null;
}

/** @param {{cell: Cell}} props */
function Probabilities({ cell }) {
  const rows = at.classes.value.map((c, i) => ({ ...c, prob: cell.probs?.[i] ?? 0, votes: cell.shares?.[i] })).sort((a, b) => b.prob - a.prob);
  const voted = Boolean(cell.shares?.length && (model.value?.networks.length ?? 0) > 1);
  return html`<table class="probs">
    <caption class="unseen">${t("cell.probs")}</caption>
    <thead><tr><th scope="col">${t("cell.class")}</th><th scope="col" colspan="2">${t("cell.prob")}</th>${voted && html`<th scope="col" title=${t("cell.votes_why")}>${t("cell.votes")}</th>`}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.name} class=${cell.candidates.includes(row.name) ? "candidate" : ""}>
      <th scope="row">${row.label}${cell.candidates.includes(row.name) && html`<span class="tag small" title=${t("cell.candidate_why")}>${t("cell.candidate")}</span>`}</th>
      <td class="bar-cell"><span class="bar" aria-hidden="true"><span style=${{ width: `${100 * row.prob}%` }}></span></span></td>
      <td class="number">${percent(row.prob, 1)}</td>
      ${voted && html`<td class="number">${row.votes ? percent(row.votes, 0) : "–"}</td>`}
    </tr>`)}</tbody>
  </table>`;
}

/** Why the model's answer was not accepted. @param {Cell} cell */
function whyOpen(cell) {
  if (cell.status === "unknown") return t("cell.unknown");
  const others = answers(cell, Infinity).map((answer) => answer.name).filter((name) => name !== cell.pred && cell.candidates.includes(name));
  return others.length ? t("cell.close", { others: others.slice(0, 2).map(at.labelOf).join(", ") }) : t("cell.unsure");
}

/** @param {{cell: Cell}} props */
function Neighbours({ cell }) {
  const [found, setFound] = useState(/** @type {Record<string, Neighbour[]> | null} */ (null));
  const [problem, setProblem] = useState("");
  useEffect(() => {
    const stop = new AbortController();
    setFound(null);
    setProblem("");
    get(`/slides/${at.slide.value?.id}/cells/${cell.cell}/neighbours`, { signal: stop.signal })
      .then((answer) => setFound(answer.by_class))
      .catch((error) => { if (error.name !== "AbortError") setProblem(error.message); });
    return () => stop.abort();
  }, [cell.cell]);
  const classes = Object.entries(found ?? {}).filter(([, cells]) => cells.length);
  return html`<section class="neighbours" aria-label=${t("cell.neighbours")}>
    <h3>${t("cell.neighbours")}</h3>
    ${problem && html`<p class="quiet-text">${problem}</p>`}
    ${found && !classes.length && html`<p class="quiet-text">${t("cell.neighbours_none")}</p>`}
    <div class="neighbour-classes">${classes.map(([name, cells]) => html`<figure key=${name}>
      <figcaption>${at.labelOf(name)}</figcaption>
      <div class="neighbour-row">${cells.slice(0, classes.length > 1 ? 3 : 4).map((near) => html`<img key=${near.digest} src=${imageUrl(near.digest, 96)} width="72" height="72"
        alt=${t("cell.neighbour", { label: at.labelOf(name), distance: number(near.distance, 2) })} title=${t("cell.neighbour_title", { distance: number(near.distance, 2), source: near.source })} />`)}</div>
    </figure>`)}</div>
  </section>`;
}

/** @param {{cell: Cell, heat: boolean, strength: number}} props */
function Picture({ cell, heat, strength }) {
  const [missing, setMissing] = useState("");
  const source = apiUrl(`/slides/${at.slide.value?.id}/cells/${cell.cell}/heatmap?image=${cell.digest}&model=${model.value?.digest}`);
  useEffect(() => setMissing(""), [cell.cell, heat]);
  const why = async () => {
    const answer = await fetch(source).then((r) => r.json()).catch(() => null);
    setMissing(refusal(answer?.error, t("cell.heat_missing")));
  };
  return html`<div class="picture">
    <img src=${imageUrl(cell.digest)} alt=${t("cell.name", { cell: String(cell.cell + 1) })} />
    ${heat && !missing && html`<img class="heat" key=${cell.cell} src=${source} alt=${t("cell.heat_alt")} style=${{ opacity: strength }} onError=${why} />`}
    ${heat && missing && html`<p class="picture-note" role="status">${missing}</p>`}
  </div>`;
}

/** @param {{cell: Cell}} props */
function Note({ cell }) {
  const kept = at.notes.value[cell.cell] ?? "";
  // What is being typed and the note that it began with: what somebody else saves meanwhile does not replace it.
  const [typed, setTyped] = useState(/** @type {{text: string, before: string} | null} */ (null));
  const keep = () => {
    if (typed && typed.text !== kept) run({ kind: "note", cell: cell.cell, text: typed.text });
    setTyped(null);
  };
  const type = (/** @type {Event} */ e) => setTyped({ text: /** @type {HTMLTextAreaElement} */ (e.target).value, before: typed?.before ?? kept });
  return html`<div class="note"><label class="field"><span>${t("cell.note")}</span>
    <textarea rows="2" maxlength="2000" value=${typed?.text ?? kept} readonly=${at.signed.value} onInput=${type} onBlur=${keep}></textarea></label>
    ${typed && typed.before !== kept && html`<p class="quiet-text" role="status">${t("cell.note_theirs", { text: kept })}</p>`}</div>`;
}

/** @param {{cell: Cell, onAct: (action: string) => void}} props */
function Places({ cell, onAct }) {
  const here = at.places.value.get(cell.cell);
  return html`<div class="place-buttons" role="group" aria-label=${t("cell.place")}>
    ${actions.value.filter((a) => a !== CONFIRM || (!at.blind.value && here !== "unidentified")).map((action) => html`
      <button key=${action} class=${`button small ${here === action ? "on" : ""}`} aria-pressed=${action === CONFIRM ? undefined : here === action} disabled=${at.signed.value} onClick=${() => onAct(action)}>
        <${Dot} place=${action} />${action === CONFIRM ? t("action.confirm") : placeLabel(action)}${settings.value.keysOn && html`<kbd aria-hidden="true">${keys.value[action]}</kbd>`}</button>`)}
  </div>`;
}

export function CellView() {
  const [heat, setHeat] = useState(false);
  const [strength, setStrength] = useState(0.7);
  const id = /** @type {number} */ (wall.opened.value);
  const cell = at.cells.value.get(id);
  const close = () => { const [was] = [wall.opened.value]; wall.opened.value = null; wall.focusCell(was); };
  const go = (/** @type {number} */ step) => { const next = beside(id, step); if (next !== null) wall.opened.value = next; };
  /** @param {string} action */
  const doIt = (action) => {
    const next = beside(id, 1) ?? beside(id, -1);
    act(action, [id]);
    if (next !== null) wall.opened.value = next;
  };
  /** @param {KeyboardEvent} event */
  const keyed = (event) => {
    const action = actionOf(event);
    const control = event.ctrlKey || event.metaKey;
    if (isTyping(event)) return;
    if (control && letterOf(event) === "z") (event.shiftKey ? redo : undo)();
    else if (event.key === "ArrowRight" && event.target instanceof HTMLInputElement === false) go(1);
    else if (event.key === "ArrowLeft" && event.target instanceof HTMLInputElement === false) go(-1);
    else if (action && !at.signed.value) doIt(action);
    else return;
    event.preventDefault();
  };
  // On the document: the focus is on no fixed part of the dialog, and on none where its button has gone.
  useLayoutEffect(() => {
    document.addEventListener("keydown", keyed);
    return () => document.removeEventListener("keydown", keyed);
  });
  if (!cell) return null;
  const place = at.places.value.get(id) ?? "";
  const hidden = at.blind.value;
  const name = t("cell.name", { cell: String(id + 1) });
  const extra = html`<span class="tag"><${Dot} place=${place} />${placeLabel(place)}${at.reviewed.value.has(id) ? html` <${Icon} name="check" />` : ""}</span>
    <span class="quiet-text cell-file" title=${cell.name}>${cell.name}</span><span class="grow"></span>
    <button class="button quiet icon-only" aria-label=${t("cell.previous")} title=${t("cell.previous")} disabled=${beside(id, -1) === null} onClick=${() => go(-1)}><${Icon} name="left" /></button>
    <button class="button quiet icon-only" aria-label=${t("cell.next")} title=${t("cell.next")} disabled=${beside(id, 1) === null} onClick=${() => go(1)}><${Icon} name="right" /></button>`;
  return html`<${Dialog} title=${name} onClose=${close} class="cell-view" extra=${extra}>
    <div class="cell-columns" tabindex="-1" autofocus>
      <div class="cell-left">
        <${Picture} cell=${cell} heat=${heat} strength=${strength} />
        ${!hidden && html`<div class="row"><button class=${`button small ${heat ? "on" : ""}`} aria-pressed=${heat} onClick=${() => setHeat(!heat)} title=${t("cell.heat_why")}>${t("cell.heat")}</button>
          ${heat && html`<input type="range" min="0.1" max="1" step="0.05" value=${strength} aria-label=${t("cell.heat_strength")} onInput=${(/** @type {Event} */ e) => setStrength(Number(/** @type {HTMLInputElement} */ (e.target).value))} />`}</div>`}
        <${Places} cell=${cell} onAct=${doIt} />
      </div>
      <div class="cell-right">
        ${hidden ? html`<p class="quiet-text">${t("cell.hidden")}</p>` : html`
          ${cell.status !== "accepted" && html`<p class="reason" title=${cell.reason ?? ""}><${Icon} name="warn" />${whyOpen(cell)}</p>`}
          <${Probabilities} cell=${cell} />
          <p class="quiet-text">${t("cell.margin", { margin: percent(cell.margin ?? NaN, 1) })}${cell.distance !== null ? `, ${t("cell.distance", { distance: number(cell.distance, 3) })}` : ""}</p>
          <${Neighbours} cell=${cell} />`}
        <${Note} key=${id} cell=${cell} />
      </div>
    </div>
  <//>`;
}
