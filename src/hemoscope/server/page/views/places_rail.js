// All places beside the wall: counts, shares, keys; cells can be dropped on each.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { dropTargetForElements } from "../vendor/drag.js";
import { t } from "../lib/text.js";
import { place as move, placeLabel } from "../state/commands.js";
import { keys } from "../state/keys.js";
import { settings } from "../state/settings.js";
import { blind, classOf, differential, sections, signed } from "../state/slide.js";
import { clearSelection, goTo } from "../state/wall.js";
import { Dot } from "./dot.js";
import { shareHere } from "./shares.js";

/** @param {{place: string, count: number, unreviewed: number}} props */
function Item({ place, count, unreviewed }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const target = place !== "review" && place !== "unidentified";
  useEffect(() => {
    if (!element.current || !target) return undefined;
    return dropTargetForElements({
      element: element.current,
      onDragEnter: () => element.current?.classList.add("drop-here"),
      onDragLeave: () => element.current?.classList.remove("drop-here"),
      onDrop: ({ source }) => {
        element.current?.classList.remove("drop-here");
        move(/** @type {number[]} */ (source.data.cells), place);
        clearSelection();
      },
    });
  }, [place]);
  const share = blind.value ? "" : shareHere(differential.value, place);
  const key = target && settings.value.keysOn ? keys.value[place] : "";
  return html`<li><button ref=${element} class=${`rail-item ${count ? "" : "empty"} ${!target && count ? "open" : ""}`} data-rail=${place} onClick=${() => { goTo.value = place; }}>
    <${Dot} place=${place} />
    <span class="rail-label">${placeLabel(place)}</span>
    ${key && html`<kbd aria-hidden="true">${key}</kbd>`}
    <span class="rail-count">${t("number", { value: count })}</span>
    <span class="rail-share">${share}</span>
    <span class="rail-bar" aria-hidden="true"><span style=${{ width: `${count ? Math.round((100 * (count - unreviewed)) / count) : 0}%` }}></span></span>
    <span class="unseen">${t("rail.reviewed", { n: count - unreviewed })}</span>
  </button></li>`;
}

export function PlacesRail() {
  const all = sections.value;
  const roleOf = (/** @type {string} */ name) => classOf(name)?.role;
  const group = (/** @type {string} */ title, /** @type {(place: string) => boolean} */ of) => {
    const own = all.filter((s) => of(s.place));
    return own.length ? html`<li class="rail-group"><span class="rail-title" id=${`rail-${title}`}>${t(`rail.${title}`)}</span>
      <ul aria-labelledby=${`rail-${title}`}>${own.map((s) => html`<${Item} key=${s.place} place=${s.place} count=${s.cells.length} unreviewed=${s.unreviewed} />`)}</ul></li>` : null;
  };
  return html`<nav class="rail" aria-label=${t("rail.label")}><ul>
    ${group("open", (p) => p === "review" || (p === "unidentified" && !blind.value))}
    ${group("white", (p) => roleOf(p) === "white")}
    ${group("apart", (p) => roleOf(p) !== undefined && roleOf(p) !== "white")}
    ${group("out", (p) => p === "not_classed")}
  </ul>${settings.value.keysOn && !signed.value && html`<p class="rail-hint mouse-only">${t("rail.hint")}</p>`}</nav>`;
}
