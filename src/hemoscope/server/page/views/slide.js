// One slide: the wall in the middle, places beside it, the count and what follows from it on the other side.

import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { monitorForElements } from "../vendor/drag.js";
import { t } from "../lib/text.js";
import { onEntry, unsaved, waiting } from "../state/commands.js";
import * as at from "../state/slide.js";
import { sending } from "../state/uploads.js";
import { tellError } from "../state/toasts.js";
import * as wall from "../state/wall.js";
import { CellView } from "./cell.js";
import { CountPanel } from "./count.js";
import { DropZone } from "./drop_zone.js";
import { FinishPanel } from "./finish.js";
import { Brand, ModelLine, Person, ResearchOnly } from "./frame.js";
import { Icon } from "./icon.js";
import { KeysDialog } from "./keys_dialog.js";
import { MoveMenu } from "./move_menu.js";
import { pressed } from "./press.js";
import { PlacesRail } from "./places_rail.js";
import { ReadersPanel, ReadingBanner } from "./readers.js";
import { SelectionBar } from "./selection_bar.js";
import { addMore, Arriving } from "./arriving.js";
import { Tools } from "./tools.js";
import { Wall } from "./wall.js";

const TABS = /** @type {const} */ (["count", "readers", "finish"]);
const PASSES_MS = 1000;
const ICONS = { wall: "wall", count: "count", readers: "people", finish: "sign" };

/** @param {{tab: string, onTab: (tab: string) => void, names: readonly string[], label: string}} props */
function Tabs({ tab, onTab, names, label }) {
  /** @param {KeyboardEvent} event */
  const keyed = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = names[(names.indexOf(tab) + step + names.length) % names.length];
    onTab(next);
    document.getElementById(`tab-${next}`)?.focus();
  };
  return html`<div class="tabs" role="tablist" aria-label=${label} onKeyDown=${keyed}>
    ${names.map((name) => html`<button key=${name} role="tab" id=${`tab-${name}`} class=${`tab tab-${name}`} aria-selected=${tab === name} aria-controls=${`panel-${name}`}
      tabindex=${tab === name ? 0 : -1} onClick=${() => onTab(name)}><${Icon} name=${ICONS[/** @type {keyof typeof ICONS} */ (name)]} /><span>${t(`tab.${name}`)}</span></button>`)}
  </div>`;
}

function Header() {
  const { title, revision } = at.slide.value ?? { title: "", revision: 1 };
  const saved = waiting.value ? t("saved.retry") : !at.connected.value ? t("saved.away") : unsaved.value ? t("saved.busy") : t("saved.all");
  const [told, setTold] = useState(saved); // not what passes at once: every move would be told three times
  useEffect(() => {
    const timer = setTimeout(() => setTold(saved), PASSES_MS);
    return () => clearTimeout(timer);
  }, [saved]);
  return html`<header class="top">
    <a class="home" href="#/"><${Brand} /><span class="unseen">${t("slides.title")}</span></a>
    <span class="crumb" aria-hidden="true">/</span>
    <h1 class="slide-title" title=${title}>${title}</h1>
    ${revision > 1 && html`<span class="tag">${t("slide.revision", { revision })}</span>`}
    ${at.signed.value && html`<span class="tag state-signed"><${Icon} name="lock" />${t("slide.signed")}</span>`}
    <${ResearchOnly} />
    <span class="grow"></span>
    <span class=${`saved ${unsaved.value ? "busy" : ""}`}>${saved}</span>
    <span class="unseen" role="status">${told}</span>
    <${Person} />
  </header>`;
}

/** Cells dragged to the wall's edge scroll it. */
function scrollWhileDragging() {
  return monitorForElements({
    onDrag: ({ location }) => {
      const node = document.querySelector(".wall");
      const { clientY } = location.current.input;
      const box = node?.getBoundingClientRect();
      if (!node || !box) return;
      if (clientY < box.top + 50) node.scrollTop -= 18;
      else if (clientY > box.bottom - 50) node.scrollTop += 18;
    },
  });
}

/** @param {{why: string}} props */
function NoSlide({ why }) {
  return html`<main class="sign-in"><div class="card"><${Brand} /><p role="alert">${why}</p><a class="button" href="#/">${t("slides.back")}</a></div></main>`;
}

/** @param {{id: string}} props */
export function SlideView({ id }) {
  const [tab, setTab] = useState("count");
  const [seen, setSeen] = useState("wall"); // on a narrow screen one of the tabs, or the wall
  const [problem, setProblem] = useState("");
  const [keysOpen, setKeysOpen] = useState(false);
  const written = useRef(/** @type {Record<string, string>} */ ({})); // a signature that is being typed
  useEffect(() => {
    at.openSlide(id, onEntry).catch((error) => {
      if (at.ready.value) {
        tellError(error);
        return;
      }
      at.closeSlide();
      setProblem(error instanceof Error ? error.message : String(error));
    });
    const keyed = (/** @type {KeyboardEvent} */ event) => pressed(event, () => setKeysOpen(true));
    document.addEventListener("keydown", keyed);
    const end = scrollWhileDragging();
    return () => {
      document.removeEventListener("keydown", keyed);
      end();
      at.closeSlide();
      wall.forget();
    };
  }, [id]);
  const slide = at.slide.value;
  useEffect(() => { if (slide) document.title = `${slide.title} – hemoscope`; }, [slide?.title]);
  if (problem) return html`<${NoSlide} why=${problem} />`;
  if (!slide || !at.ready.value) return html`<p class="loading">${t("loading")}</p>`;
  const empty = !at.cells.value.size;
  const choose = (/** @type {string} */ name) => { setTab(name); setSeen(name); };
  const drop = (/** @type {DragEvent} */ event) => addMore(event, id);
  return html`<div class=${`slide-view seen-${seen}`} onDragOver=${(/** @type {DragEvent} */ event) => { if (event.dataTransfer?.types.includes("Files")) event.preventDefault(); }} onDrop=${drop}>
    <${Header} />
    <${Tools} onKeys=${() => setKeysOpen(true)} />
    <${PlacesRail} />
    <main class="middle" aria-label=${t("tab.wall")}>
      <${ReadingBanner} />
      <${Arriving} id=${id} />
      ${empty && !sending.value[id] ? html`<div class="empty-slide"><${DropZone} onItems=${(/** @type {any[]} */ items) => addMore(items, id)} /></div>` : html`<${Wall} />`}
      <${SelectionBar} />
    </main>
    <aside class="panel" aria-label=${t("panel.label")}>
      <${Tabs} tab=${tab} onTab=${choose} names=${TABS} label=${t("panel.label")} />
      <div class="panel-body" role="tabpanel" id=${`panel-${tab}`} aria-labelledby=${`tab-${tab}`} tabindex="0">
        ${tab === "count" ? html`<${CountPanel} />` : tab === "readers" ? html`<${ReadersPanel} />` : html`<${FinishPanel} written=${written.current} />`}
        <${ModelLine} />
      </div>
    </aside>
    <nav class="foot" aria-label=${t("foot.label")}>
      ${["wall", ...TABS].map((name) => html`<button key=${name} aria-current=${seen === name ? "page" : undefined} onClick=${() => (name === "wall" ? setSeen("wall") : choose(name))}>
        <${Icon} name=${ICONS[/** @type {keyof typeof ICONS} */ (name)]} /><span>${t(`tab.${name}`)}</span></button>`)}
    </nav>
    ${wall.opened.value !== null && html`<${CellView} />`}
    ${wall.menu.value && html`<${MoveMenu} />`}
    ${keysOpen && html`<${KeysDialog} onClose=${() => setKeysOpen(false)} />`}
  </div>`;
}
