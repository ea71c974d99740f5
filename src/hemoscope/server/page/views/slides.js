// The list of slides, and how a new one begins.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { drawName, get } from "../lib/api.js";
import { moment, t } from "../lib/text.js";
import { newSlide } from "../state/uploads.js";
import { tellError } from "../state/toasts.js";
import { Brand, ModelLine, Person, ResearchOnly } from "./frame.js";
import { DropZone } from "./drop_zone.js";
import { Dialog } from "./dialog.js";
import { Icon } from "./icon.js";

/** @typedef {import("../types.d.ts").Slide} Slide */

const AGAIN_MS = 4000;
/** As many as the server lists. */
const MOST_LISTED = 500;

/** @param {Slide} slide */
function stateOf(slide) {
  if (slide.status === "signed") return { kind: "signed", text: t("slides.signed") };
  if (slide.waiting) return { kind: "waiting", text: t("slides.waiting", { n: slide.waiting }) };
  if (!slide.cells) return { kind: "empty", text: t("slides.empty") };
  if (slide.open) return { kind: "open", text: t("slides.open", { n: slide.open }) };
  return { kind: "ready", text: t("slides.ready") };
}

/** @param {{slide: Slide}} props */
function SlideRow({ slide }) {
  const state = stateOf(slide);
  const rejected = Array.isArray(slide.rejected) ? slide.rejected.length : slide.rejected;
  return html`<tr>
    <th scope="row"><a href=${`#/slides/${encodeURIComponent(slide.id)}`}>${slide.title}</a>
      ${slide.revision > 1 && html`<span class="tag">${t("slide.revision", { revision: slide.revision })}</span>`}</th>
    <td><span class=${`tag state-${state.kind}`}>${state.text}</span></td>
    <td class="number">${t("number", { value: slide.cells })}</td>
    <td><span class="meter-line"><progress class="meter" max=${slide.cells || 1} value=${slide.reviewed} aria-label=${t("slides.reviewed")}></progress>
      <span class="number">${t("slides.reviewed_of", { reviewed: slide.reviewed, cells: slide.cells })}</span></span></td>
    <td class="number">${rejected || "–"}</td>
    <td class="quiet-text">${moment(slide.created)}</td>
  </tr>`;
}

const LONGEST_TITLE = 200;

/** A title as the server takes it; what was dropped may be named with control characters. @param {string} title */
const tidy = (title) => title.replace(/\p{Cc}/gu, " ").trim();

/** @param {{items: import("../lib/dropped.js").Item[], title: string, onClose: () => void}} props */
function NewSlide({ items, title: dropped, onClose }) {
  const [refused, setRefused] = useState("");
  const [busy, setBusy] = useState(false);
  const tried = useRef({ about: "", once: "" });
  /** @param {SubmitEvent} event */
  const make = async (event) => {
    event.preventDefault();
    if (busy) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const title = tidy(String(form.get("title")));
    const written = String(form.get("white") ?? "").replace(",", ".").trim();
    const white = written ? Number(written) : null;
    const readings = form.get("second") ? 2 : 1;
    if (!title || title.length > LONGEST_TITLE) setRefused(t("new.name_wrong", { most: LONGEST_TITLE }));
    else if (white !== null && !(white > 0 && white <= 10000)) setRefused(t("white.wrong"));
    else {
      setRefused("");
      setBusy(true);
      const about = { title, white_count: white, readings, blind: readings === 2 };
      const told = JSON.stringify(about);
      if (tried.current.about !== told) tried.current = { about: told, once: drawName() }; // else it may have been made, unheard
      const made = await newSlide({ ...about, once: tried.current.once }, items);
      setBusy(false);
      if (made) onClose();
      else setRefused(t("new.refused")); // the files that were chosen stay here
    }
  };
  return html`<${Dialog} title=${t("new.title")} onClose=${onClose} class="narrow">
    <form class="stack" onSubmit=${make}>
      ${items.length > 0 && html`<p class="quiet-text">${t("new.files", { n: items.length })}</p>`}
      <label class="field"><span>${t("new.name")}</span><input name="title" required maxlength=${LONGEST_TITLE} defaultValue=${tidy(dropped).slice(0, LONGEST_TITLE)} autofocus /></label>
      <label class="field"><span>${t("new.white")}</span>
        <span class="with-unit"><input name="white" inputmode="decimal" pattern="[0-9]+([.,][0-9]+)?" placeholder="–" aria-describedby="white-why" /><span class="unit">${t("unit.giga")}</span></span>
        <span class="quiet-text" id="white-why">${t("new.white_why")}</span></label>
      <label class="tick"><input type="checkbox" name="second" /><span>${t("new.second")}</span></label>
      ${refused && html`<p class="refused" role="alert">${refused}</p>`}
      <div class="row end"><button type="button" class="button" onClick=${onClose}>${t("cancel")}</button>
        <button class="button primary">${t("new.make")}</button></div>
    </form>
  <//>`;
}

export function SlidesView() {
  // Slides that were told once stay, also where newer ones push them out of the server's list.
  const [known, setKnown] = useState(/** @type {Map<number, Slide> | null} */ (null));
  const [whole, setWhole] = useState(false); // the oldest has been told
  const slides = known && [...known.values()].sort((a, b) => b.id - a.id);
  /** @param {Slide[]} found */
  const add = (found) => {
    setKnown((before) => new Map([...(before ?? []), ...found.map((slide) => /** @type {[number, Slide]} */ ([slide.id, slide]))]));
    if (found.length < MOST_LISTED) setWhole(true);
  };
  const older = () => get(`/slides?before=${slides?.at(-1)?.id}`).then(add).catch(tellError);
  const [fresh, setFresh] = useState(/** @type {{items: any[], title: string} | null} */ (null));
  useEffect(() => {
    let live = true;
    const load = () => get("/slides").then((found) => live && add(found)).catch(tellError);
    load();
    const timer = setInterval(() => { if (!document.hidden) load(); }, AGAIN_MS);
    return () => { live = false; clearInterval(timer); };
  }, []);
  return html`<div class="slides-view">
    <header class="top"><${Brand} /><${ResearchOnly} /><span class="grow"></span><${Person} /></header>
    <main class="slides-main">
      <div class="row between"><h1>${t("slides.title")}</h1>
        <button class="button primary" onClick=${() => setFresh({ items: [], title: "" })}><${Icon} name="plus" />${t("new.title")}</button></div>
      <${DropZone} onItems=${(/** @type {any[]} */ items, /** @type {string} */ title) => setFresh({ items, title })} />
      ${slides?.length === 0 && html`<p class="nothing">${t("slides.none")}</p>`}
      ${slides && slides.length > 0 && html`<div class="scroll-x" tabindex="0" role="region" aria-label=${t("slides.title")}><table class="slides-table">
        <thead><tr><th scope="col">${t("slides.name")}</th><th scope="col">${t("slides.state")}</th><th scope="col" class="number">${t("slides.cells")}</th>
          <th scope="col">${t("slides.reviewed")}</th><th scope="col" class="number">${t("slides.rejected")}</th><th scope="col">${t("slides.created")}</th></tr></thead>
        <tbody>${slides.map((slide) => html`<${SlideRow} key=${slide.id} slide=${slide} />`)}</tbody>
      </table></div>`}
      ${slides && !whole && html`<p class="nothing"><button class="button" onClick=${older}>${t("slides.older")}</button></p>`}
      <${ModelLine} />
    </main>
    ${fresh && html`<${NewSlide} ...${fresh} onClose=${() => setFresh(null)} />`}
  </div>`;
}
