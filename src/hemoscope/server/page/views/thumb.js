// One cell on the wall.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { draggable, pointerOutsideOfPreview, setCustomNativeDragPreview } from "../vendor/drag.js";
import { imageUrl } from "../lib/api.js";
import { number, percent, t } from "../lib/text.js";
import { placeLabel } from "../state/commands.js";
import { classes, differing, labelOf, signed } from "../state/slide.js";
import { lassoMode, selected } from "../state/wall.js";
import { Icon } from "./icon.js";

/** @typedef {import("../types.d.ts").Cell} Cell */

const ROOMY = 104; // pixels

/** The model's best answers, the likeliest first. @param {Cell} cell @param {number} most */
export function answers(cell, most) {
  return (cell.probs ?? [])
    .map((prob, i) => ({ name: classes.value[i]?.name ?? "", label: classes.value[i]?.label ?? "", prob }))
    .sort((a, b) => b.prob - a.prob)
    .slice(0, most);
}

/** @param {Cell} cell @param {string} place @param {boolean} done @param {boolean} hidden */
export function describe(cell, place, done, hidden) {
  const parts = [t("cell.name", { cell: String(cell.cell + 1) }), placeLabel(place)];
  if (!hidden && cell.pred && cell.status !== "unknown") {
    parts.push(t("cell.said", { label: labelOf(cell.pred), prob: percent(answers(cell, 1)[0]?.prob ?? NaN, 0) }));
  }
  parts.push(t(done ? "cell.reviewed" : "cell.unreviewed"));
  return parts.join(", ");
}

/** @param {number} size */
export const thumbPx = (size) => Math.min(384, Math.ceil(size * Math.min(2, globalThis.devicePixelRatio || 1)));

/** @param {number} n @param {HTMLElement} container @param {HTMLElement} from */
function preview(n, container, from) {
  const card = document.createElement("div");
  card.className = "drag-card";
  const image = from.querySelector("img");
  if (image) card.append(image.cloneNode());
  const words = document.createElement("span");
  words.textContent = t("drag.moving", { n });
  card.append(words);
  container.append(card);
}

/** What the model says, below the picture; how sure it is where there is room. @param {{answer: {label: string, prob: number}, size: number, second?: boolean}} props */
function Answer({ answer, size, second = false }) {
  return html`<span class=${`caption ${second ? "second" : ""}`} aria-hidden="true"><span>${answer.label}</span> ${size >= ROOMY && percent(answer.prob, 0)}</span>`;
}

/** @param {{cell: Cell, place: string, x: number, y: number, size: number, caption: boolean, chosen: boolean, done: boolean, hidden: boolean, stop: boolean, at: number, of: number}} props */
export function Thumb({ cell, place, x, y, size, caption, chosen, done, hidden, stop, at, of }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  useEffect(() => {
    if (!element.current) return undefined;
    const node = element.current;
    const moving = () => (selected.value.has(cell.cell) ? [...selected.value] : [cell.cell]);
    return draggable({
      element: node,
      canDrag: ({ input }) => !input.shiftKey && !lassoMode.value && !signed.value,
      getInitialData: () => ({ cells: moving() }),
      onGenerateDragPreview: ({ nativeSetDragImage }) => setCustomNativeDragPreview({
        nativeSetDragImage,
        getOffset: pointerOutsideOfPreview({ x: "12px", y: "8px" }),
        render: ({ container }) => preview(moving().length, container, node),
      }),
    });
  }, [cell.cell]);
  const best = hidden ? [] : answers(cell, 2);
  const moved = !hidden && done && cell.status !== "unknown" && cell.pred !== place;
  const [sure, second] = best;
  return html`<div ref=${element} role="option" data-cell=${cell.cell} tabindex=${stop ? 0 : -1}
    aria-selected=${chosen} aria-setsize=${of} aria-posinset=${at}
    class=${`thumb ${chosen ? "chosen" : ""} ${done ? "done" : ""}`}
    style=${{ transform: `translate(${x}px,${y}px)`, width: `${size}px` }}>
    <span class="unseen">${describe(cell, place, done, hidden)}</span>
    <img src=${imageUrl(cell.digest, thumbPx(size))} alt="" width=${size} height=${size} draggable=${false} decoding="async" />
    ${sure && html`<span class=${`sure ${cell.status}`}><span style=${{ width: `${Math.round(100 * sure.prob)}%` }}></span></span>`}
    ${done && html`<span class=${`mark ${moved ? "moved" : ""}`}><${Icon} name=${moved ? "right" : "check"} /></span>`}
    ${caption && (differing.value.get(cell.cell) ?? []).map((said, i) => html`<span class="caption" aria-hidden="true" key=${i}>${number(i + 1)} <span>${placeLabel(said)}</span></span>`)}
    ${caption && sure && html`<${Answer} answer=${sure} size=${size} />`}
    ${caption && second && html`<${Answer} answer=${second} size=${size} second />`}
  </div>`;
}
