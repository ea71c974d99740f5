// The end of a slide: sign and lock it, take it home, open it again as a new revision, and see who did what.

import { html, useEffect, useState } from "../vendor/preact.js";
import { apiUrl, get, post } from "../lib/api.js";
import { moment, t } from "../lib/text.js";
import { placeLabel } from "../state/commands.js";
import { session } from "../state/session.js";
import * as at from "../state/slide.js";
import { tellError } from "../state/toasts.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";

const FORMATS = /** @type {const} */ (["html", "csv", "cells", "json", "fhir", "hl7", "labelled"]);

/** @param {SubmitEvent} event */
const fields = (event) => {
  event.preventDefault();
  const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
  return Object.fromEntries([...form].map(([name, value]) => [name, String(value).trim()]));
};

function Sign() {
  const [refused, setRefused] = useState("");
  const open = at.sections.value.filter((s) => s.place === "review" || s.place === "unidentified").reduce((n, s) => n + s.cells.length, 0);
  /** @param {SubmitEvent} event */
  const sign = async (event) => {
    const { name, reason } = fields(event);
    try {
      await post(`/slides/${at.slide.value?.id}/sign`, reason ? { name, reason } : { name });
      await at.loadSlide();
      setRefused("");
    } catch (error) {
      setRefused(error instanceof Error ? error.message : String(error));
    }
  };
  return html`<form class="stack finish-block" onSubmit=${sign}>
    <h3>${t("sign.title")}</h3>
    <p class="quiet-text">${t("sign.why")}</p>
    ${open > 0 && html`<p class="warning"><${Icon} name="warn" />${t("sign.open", { n: open })}</p>`}
    <label class="field"><span>${t("sign.name")}</span><input name="name" required maxlength="200" autocomplete="name" value=${session.value?.sign_in ? (session.value.user ?? "") : ""} /></label>
    ${open > 0 && html`<label class="field"><span>${t("sign.reason")}</span><textarea name="reason" rows="2" required maxlength="2000"></textarea></label>`}
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
      await post(`/slides/${at.slide.value?.id}/revise`, { reason });
      setAsking(false);
      await at.reopen();
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

function Exports() {
  const { id, revision } = at.slide.value ?? { id: 0, revision: 1 };
  return html`<section class="finish-block" aria-label=${t("export.title")}>
    <h3>${t("export.title")}</h3>
    ${!at.signed.value && html`<p class="quiet-text">${t("export.unsigned")}</p>`}
    <ul class="exports">${FORMATS.map((format) => html`<li key=${format}><a class="export" href=${apiUrl(`/slides/${id}/export/${format}?revision=${revision}`)} download>
      <strong>${t(`export.${format}`)}</strong><span>${t(`export.${format}.what`)}</span></a></li>`)}</ul>
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
  const tos = [...new Set(changes.map(([, , to]) => placeLabel(to)))];
  return t(`log.${command.kind}.cells`, { n: changes.length, to: tos.slice(0, 3).join(", ") });
}

function Audit() {
  const [entries, setEntries] = useState(/** @type {import("../types.d.ts").Entry[] | null} */ (null));
  const now = at.seq.value;
  useEffect(() => {
    const timer = setTimeout(() => get(`/slides/${at.slide.value?.id}/log?since=0`).then((found) => setEntries(Array.isArray(found) ? found : found.entries)).catch(tellError), 200);
    return () => clearTimeout(timer);
  }, [now, at.slide.value?.revision]);
  return html`<section class="finish-block" aria-label=${t("log.title")}>
    <h3>${t("log.title")}</h3>
    ${entries?.length === 0 && html`<p class="quiet-text">${t("log.none")}</p>`}
    <ol class="log">${[...(entries ?? [])].reverse().slice(0, 200).map((entry) => html`<li key=${entry.seq}>
      <span class="log-when">${moment(entry.at)}</span><span class="log-who">${entry.reader}${entry.reading !== 1 ? ` · ${t("reading.n", { reading: String(entry.reading) })}` : ""}</span><span class="log-what">${whatOf(entry)}</span></li>`)}</ol>
  </section>`;
}

export function FinishPanel() {
  return html`<div class="finish">${at.signed.value ? html`<${Signed} />` : html`<${Sign} />`}<${Exports} /><${Audit} /></div>`;
}
