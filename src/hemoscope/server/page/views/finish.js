// The end of a slide: sign and lock it, take it home, open it again as a new revision, and see who did what.

import { html, useEffect, useState } from "../vendor/preact.js";
import { ApiError, apiUrl, get, post } from "../lib/api.js";
import { moment, t } from "../lib/text.js";
import { allSaved, placeLabel } from "../state/commands.js";
import { session } from "../state/session.js";
import * as at from "../state/slide.js";
import { tellError } from "../state/toasts.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";

const FORMATS = /** @type {const} */ (["html", "csv", "cells", "json", "fhir", "hl7", "labelled"]);
const SHOWN = 200;

/** @param {SubmitEvent} event */
const fields = (event) => {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  return Object.fromEntries([...form].map(([name, value]) => [name, String(value).trim()]));
};

/** @param {{written: Record<string, string>}} props written: name and reason as far as they are typed; they stay while another tab is looked at */
function Sign({ written }) {
  const [refused, setRefused] = useState("");
  const [told, setTold] = useState(0); // open cells that the server knows of, and this window does not
  const [sending, setSending] = useState(0); // files that were begun and have not come whole
  const open = at.openCells.value || told;
  /** @param {SubmitEvent} event */
  const sign = async (event) => {
    const { name, reason = "", without } = fields(event);
    try {
      await allSaved();
      const { id, revision, cells } = at.slide.value ?? {};
      await post(`/slides/${id}/sign`, { name, reason, revision, base: at.seq.value, cells, without_files: Boolean(without) });
      await at.loadSlide();
      for (const each of Object.keys(written)) delete written[each];
      setRefused("");
    } catch (error) {
      setRefused(error instanceof Error ? error.message : String(error));
      if (!(error instanceof ApiError)) return;
      setTold(error.body?.open ?? 0);
      setSending(error.body?.sending ?? 0);
      if (error.code === "not_seen") await at.refresh().catch(tellError);
    }
  };
  const type = (/** @type {Event} */ event) => {
    const { name, value } = /** @type {HTMLInputElement | HTMLTextAreaElement} */ (event.target);
    if (name !== "without") written[name] = value;
  };
  return html`<form class="stack finish-block" onSubmit=${sign} onInput=${type}>
    <h3>${t("sign.title")}</h3>
    <p class="quiet-text">${t("sign.why")}</p>
    ${open > 0 && html`<p class="warning"><${Icon} name="warn" />${t("sign.open", { n: open })}</p>`}
    <label class="field"><span>${t("sign.name")}</span><input name="name" required maxlength="200" autocomplete="name" defaultValue=${written.name ?? (session.value?.sign_in ? (session.value.user ?? "") : "")} /></label>
    ${open > 0 && html`<label class="field"><span>${t("sign.reason")}</span><textarea name="reason" rows="2" required maxlength="2000" defaultValue=${written.reason ?? ""}></textarea></label>`}
    ${sending > 0 && html`<label class="tick"><input type="checkbox" name="without" /><span>${t("sign.without", { n: sending })}</span></label>`}
    ${refused && html`<p class="refused" role="alert">${refused}</p>`}
    <button class="button primary"><${Icon} name="sign" />${t("sign.go")}</button>
  </form>`;
}

function Signed() {
  const [asking, setAsking] = useState(false);
  const { signatures, revision } = at.slide.value ?? {};
  const signature = signatures?.find((s) => s.revision === revision);
  /** @param {SubmitEvent} event */
  const revise = async (event) => {
    const { reason } = fields(event);
    try {
      await post(`/slides/${at.slide.value?.id}/revise`, { revision, reason });
      setAsking(false);
      await at.refresh();
    } catch (error) {
      tellError(error);
    }
  };
  return html`<div class="stack finish-block">
    <h3><${Icon} name="lock" />${t("signed.title")}</h3>
    ${signature && html`<dl class="facts"><div><dt>${t("signed.by")}</dt><dd>${signature.name}</dd></div><div><dt>${t("signed.at")}</dt><dd>${moment(signature.at)}</dd></div>
      <div><dt>${t("signed.revision")}</dt><dd>${revision}</dd></div><div><dt>${t("signed.log")}</dt><dd><code title=${signature.log}>${signature.log.slice(0, 16)}…</code></dd></div>
      ${signature.reason && html`<div><dt>${t("signed.reason")}</dt><dd>${signature.reason}</dd></div>`}</dl>`}
    <button class="button" onClick=${() => setAsking(true)}>${t("revise.go")}</button>
    ${asking && html`<${Dialog} title=${t("revise.title")} class="narrow" onClose=${() => setAsking(false)}>
      <form class="stack" onSubmit=${revise}><p class="quiet-text">${t("revise.why")}</p>
        <label class="field"><span>${t("revise.reason")}</span><textarea name="reason" rows="2" required maxlength="2000" autofocus></textarea></label>
        <div class="row end"><button type="button" class="button" onClick=${() => setAsking(false)}>${t("cancel")}</button><button class="button primary">${t("revise.go")}</button></div></form>
    <//>`}
  </div>`;
}

/** @param {string} format @param {number} revision */
const exported = (format, revision) => apiUrl(`/slides/${at.slide.value?.id}/export/${format}?revision=${revision}`);
/** @param {number} revision */
const logOf = (revision) => apiUrl(`/slides/${at.slide.value?.id}/log?revision=${revision}`);

function Exports() {
  const { revision, readings, complete, reviewed } = at.slide.value ?? { revision: 1, readings: 1, reviewed: 0 };
  const covered = readings === 2 && !complete;
  const nothing = !(reviewed || at.reviewed.value.size);
  return html`<section class="finish-block" aria-label=${t("export.title")}>
    <h3>${t("export.title")}</h3>
    ${!at.signed.value && html`<p class="quiet-text">${t(covered ? "export.blind" : "export.unsigned")}</p>`}
    ${!covered && html`<ul class="exports">${FORMATS.map((format) => html`<li key=${format}>${format === "labelled" && nothing
      ? html`<div class="export off"><strong>${t("export.labelled")}</strong><span>${t("export.labelled.none")}</span></div>`
      : html`<a class="export" href=${exported(format, revision)} download><strong>${t(`export.${format}`)}</strong><span>${t(`export.${format}.what`)}</span></a>`}</li>`)}</ul>`}
  </section>`;
}

/** What was signed before; each revision stays as it was. */
function Earlier() {
  const { signatures = [], revision } = at.slide.value ?? {};
  const earlier = signatures.filter((s) => s.revision !== revision).reverse();
  if (!earlier.length) return null;
  return html`<section class="finish-block" aria-label=${t("earlier.title")}>
    <h3>${t("earlier.title")}</h3>
    <ul class="log">${earlier.map((s) => html`<li key=${s.revision}><span><strong>${t("slide.revision", { revision: s.revision })}</strong>, ${s.name}</span><span class="log-when">${moment(s.at)}</span>
      <span class="log-what row"><a href=${exported("html", s.revision)} download>${t("export.html")}</a><a href=${exported("json", s.revision)} download>${t("export.json")}</a><a href=${logOf(s.revision)} download=${`log-${s.revision}.json`}>${t("log.title")}</a></span></li>`)}</ul>
  </section>`;
}

/** @param {import("../types.d.ts").Entry} entry */
function whatOf(entry) {
  const { command, changes = [] } = entry;
  if (!command) return "";
  if (command.kind === "note") return t("log.note", { cell: String(command.cell + 1), text: command.text });
  if (command.kind === "white_count") return command.value === null ? t("log.white_none") : t("log.white", { value: command.value });
  if (changes.length === 1) {
    const [[cell, from, to]] = changes;
    return t(`log.${command.kind}.cell`, { cell: String(cell + 1), from: placeLabel(from), to: placeLabel(to) });
  }
  const some = (/** @type {string[]} */ places) => {
    const labels = [...new Set(places)].map(placeLabel);
    return labels.length > 3 ? `${labels.slice(0, 3).join(", ")} …` : labels.join(", ");
  };
  return t(`log.${command.kind}.cells`, { n: changes.length, from: some(changes.map(([, from]) => from)), to: some(changes.map(([, , to]) => to)) });
}

/** What the trail beside the log says of a slide; of files that came, only the wall. @param {import("../types.d.ts").Trail} line */
function whatHappened(line) {
  if (line.what === "signed") return t("trail.signed", { revision: line.revision ?? 1, name: line.name ?? "" });
  if (line.what === "revised") return t("trail.revised", { revision: line.revision ?? 1, reason: line.reason ?? "" });
  if (line.what === "took home") return t("trail.took", { form: t(`export.${line.form}`) });
  return line.what === "began" ? t("trail.began") : "";
}

/** The whole trail, page by page. @returns {Promise<import("../types.d.ts").Trail[]>} */
async function trailOf(/** @type {number | undefined} */ slide) {
  /** @type {import("../types.d.ts").Trail[]} */
  const all = [];
  for (;;) {
    const { audit } = await get(`/slides/${slide}/audit?since=${all.at(-1)?.id ?? 0}`);
    if (!audit.length) return all;
    all.push(...audit);
  }
}

/** The log of this revision and the trail of the slide as lines, the latest first. @param {number | undefined} slide */
async function linesOf(slide) {
  const [log, trail] = await Promise.all([get(`/slides/${slide}/log?since=0`), trailOf(slide)]);
  const entries = log.entries.map((/** @type {import("../types.d.ts").Entry} */ entry) => ({
    at: entry.at, who: entry.reading === 1 ? entry.reader : `${entry.reader} · ${t(`reading.${entry.reading}`)}`, what: whatOf(entry) }));
  const others = trail.map((line) => ({ at: line.at, who: line.who, what: whatHappened(line) })).filter((line) => line.what);
  return [...entries, ...others].sort((a, b) => (a.at < b.at ? 1 : -1));
}

function Audit() {
  const [lines, setLines] = useState(/** @type {{at: string, who: string, what: string}[] | null} */ (null));
  const { id, revision = 1, status } = at.slide.value ?? {};
  useEffect(() => {
    let latest = true; // what an older question is told may come after the newer answer
    const timer = setTimeout(() => linesOf(id).then((all) => latest && setLines(all)).catch(tellError), 200);
    return () => {
      latest = false;
      clearTimeout(timer);
    };
  }, [at.seq.value, revision, status]);
  return html`<section class="finish-block" aria-label=${t("log.title")}>
    <div class="row between"><h3>${t("log.title")}</h3><a href=${logOf(revision)} download=${`log-${revision}.json`}>${t("log.whole")}</a></div>
    ${lines?.length === 0 && html`<p class="quiet-text">${t("log.none")}</p>`}
    <ol class="log">${(lines ?? []).slice(0, SHOWN).map((line, i) => html`<li key=${(lines ?? []).length - i}>
      <span class="log-when">${moment(line.at)}</span><span class="log-who">${line.who}</span><span class="log-what">${line.what}</span></li>`)}</ol>
    ${(lines?.length ?? 0) > SHOWN && html`<p class="quiet-text">${t("log.more", { n: (lines?.length ?? 0) - SHOWN })}</p>`}
  </section>`;
}

/** @param {{written: Record<string, string>}} props */
export function FinishPanel({ written }) {
  return html`<div class="finish">${at.signed.value ? html`<${Signed} />` : html`<${Sign} key=${session.value?.user} written=${written} />`}<${Exports} /><${Earlier} /><${Audit} /></div>`;
}
