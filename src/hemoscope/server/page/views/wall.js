// The wall: cells by place, the most doubtful first. Only what is near the eye is drawn; the lasso reaches what is not.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { dropTargetForElements } from "../vendor/drag.js";
import { SelectionArea } from "../vendor/lasso.js";
import { t } from "../lib/text.js";
import { confirm, place as move, placeLabel } from "../state/commands.js";
import { blind, differential, differing, reviewed, sections, signed } from "../state/slide.js";
import { settings } from "../state/settings.js";
import * as wall from "../state/wall.js";
import { Dot } from "./dot.js";
import { shareHere } from "./shares.js";
import { Thumb } from "./thumb.js";
import { useRows } from "./virtual.js";
import { HEAD, layOut, spot, touched } from "./wall_layout.js";

/** @typedef {import("./wall_layout.js").Layout} Layout */
/** @typedef {import("./wall_layout.js").Block} Block */

/** @type {Layout} the wall as it is drawn now, for the keys */
export let current = { blocks: [], columns: 1, size: 84, height: 0, rows: [] };

/** @param {{section: import("../state/slide.js").Section}} props */
function Head({ section }) {
  const { place, cells, unreviewed } = section;
  const share = blind.value ? "" : shareHere(differential.value, place);
  const ids = (/** @type {boolean} */ all) => cells.filter((c) => all || !reviewed.value.has(c.cell)).map((c) => c.cell);
  /** @param {MouseEvent} event */
  const confirmAll = (event) => {
    confirm(ids(false));
    if (event.detail > 0) return; // a pointer's; by keyboard the focus would be lost with the button
    const left = sections.value.find((s) => s.place === place)?.cells ?? [];
    wall.focusCell(left[0]?.cell ?? wall.flat.value[0] ?? null);
  };
  const mayConfirm = !signed.value && !blind.value && unreviewed > 0 && place !== "unidentified" && place !== "not_classed";
  return html`<header class="section-head" style=${{ height: `${HEAD}px` }}>
    <h2 id=${`head-${place}`}><${Dot} place=${place} /><span class="section-name" title=${placeLabel(place)}>${placeLabel(place)}</span></h2>
    <span class="section-count">${t("section.count", { n: cells.length })}${share && html`<span class="section-share">${share}</span>`}</span>
    ${unreviewed > 0 && unreviewed < cells.length && html`<span class="quiet-text wide-only">${t("section.unreviewed", { n: unreviewed })}</span>`}
    <span class="grow"></span>
    ${mayConfirm && html`<button class="button small" onClick=${confirmAll} title=${t("section.confirm_why")}>${t("section.confirm", { n: unreviewed })}</button>`}
    ${!signed.value && html`<button class="button quiet small wide-only" onClick=${() => { wall.selected.value = new Set([...wall.selected.value, ...ids(true)]); }}>${t("section.select")}</button>`}
  </header>`;
}

/** @param {{layout: Layout, block: Block, from: number, to: number}} props `from`, `to`: what is near the eye, in the wall's lengths */
function Section({ layout, block, from, to }) {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const kept = useRef(/** @type {Map<import("../types.d.ts").Cell, {mark: string, thumb: any}>} */ (new Map()));
  const { place, cells } = block.section;
  useEffect(() => {
    if (!element.current || place === "review" || place === "unidentified") return undefined;
    return dropTargetForElements({
      element: element.current,
      canDrop: ({ source }) => Array.isArray(source.data.cells),
      onDragEnter: () => element.current?.classList.add("drop-here"),
      onDragLeave: () => element.current?.classList.remove("drop-here"),
      onDrop: ({ source }) => {
        element.current?.classList.remove("drop-here");
        move(/** @type {number[]} */ (source.data.cells), place);
        wall.clearSelection();
      },
    });
  }, [place]);
  const rowOf = (/** @type {number} */ y) => Math.floor((y - block.top - HEAD) / block.rowHeight);
  const first = Math.max(0, rowOf(from)) * layout.columns;
  const last = Math.min(cells.length, (Math.max(0, rowOf(to)) + 1) * layout.columns);
  const stop = cells.some((c) => c.cell === wall.focused.value) ? wall.focused.value : cells[first]?.cell;
  const drawn = [];
  const next = new Map();
  for (const [index, cell] of cells.entries()) {
    if ((index < first || index >= last) && cell.cell !== stop) continue;
    const { x, y } = spot(layout, block, index);
    const chosen = wall.selected.value.has(cell.cell);
    const done = reviewed.value.has(cell.cell);
    const mark = [x, y, layout.size, block.caption, chosen, done, blind.value, cell.cell === stop, index, cells.length].join();
    const old = kept.current.get(cell);
    const thumb = old?.mark === mark ? old.thumb : html`<${Thumb} key=${cell.cell} cell=${cell} place=${place} x=${x} y=${y - HEAD} size=${layout.size}
      caption=${block.caption} chosen=${chosen} done=${done} hidden=${blind.value} stop=${cell.cell === stop} at=${index + 1} of=${cells.length} />`;
    next.set(cell, { mark, thumb });
    drawn.push(thumb);
  }
  kept.current = next; // a thumbnail that is the same as before is not compared
  return html`<section ref=${element} class="section" data-place=${place} aria-labelledby=${`head-${place}`} style=${{ top: `${block.top}px`, height: `${block.height}px` }}>
    <${Head} section=${block.section} />
    <div role="listbox" aria-multiselectable="true" aria-labelledby=${`head-${place}`} class="cells" style=${{ height: `${block.height - HEAD}px` }}>${drawn}</div>
  </section>`;
}

/** The lasso: begins between cells, on them with Shift or in its mode, and ends wherever the button is let go. @param {HTMLElement} scroller */
function lasso(scroller) {
  /** @type {Set<number>} */
  let before = new Set();
  const area = new SelectionArea({
    selectionAreaClass: "lasso",
    container: "body",
    selectables: [],
    startAreas: [scroller],
    boundaries: [scroller],
    behaviour: { startThreshold: 6, overlap: "keep", scrolling: { speedDivider: 8, manualSpeed: 750, startScrollMargins: { x: 0, y: 30 } } },
    features: { touch: false, range: false, singleTap: { allow: false, intersect: "native" }, deselectOnBlur: false },
  });
  area.on("beforestart", ({ event }) => {
    const target = /** @type {Element | null} */ (event?.target);
    if (target?.closest("button, a, input")) return false;
    return !target?.closest("[data-cell]") || wall.lassoMode.value || Boolean(event?.shiftKey);
  });
  area.on("start", ({ event }) => {
    const keep = event && (event.shiftKey || event.ctrlKey || event.metaKey);
    before = keep ? wall.selected.value : new Set();
    scroller.classList.add("lassoing");
  });
  area.on("move", () => {
    const box = scroller.getBoundingClientRect();
    const { x1, y1, x2, y2 } = area.getAreaLocation();
    const shift = { x: scroller.scrollLeft - box.left, y: scroller.scrollTop - box.top };
    const found = touched(current, { x1: x1 + shift.x, x2: x2 + shift.x, y1: y1 + shift.y, y2: y2 + shift.y });
    wall.selected.value = new Set([...before, ...found]);
  });
  area.on("stop", () => {
    setTimeout(() => scroller.classList.remove("lassoing"), 0); // the click that ends it chooses nothing
  });
  return () => area.destroy();
}

/** @param {MouseEvent} event */
function clicked(event) {
  const scroller = /** @type {HTMLElement} */ (event.currentTarget);
  if (scroller.classList.contains("lassoing")) return;
  const cell = wall.cellOf(/** @type {Element} */ (event.target));
  if (cell === null) {
    if (!(/** @type {Element} */ (event.target)).closest("button")) wall.clearSelection();
    return;
  }
  wall.focused.value = cell;
  const touch = event instanceof PointerEvent && event.pointerType === "touch";
  if (event.shiftKey) wall.extendTo(cell);
  else if (event.ctrlKey || event.metaKey || touch) {
    wall.toggle(cell);
    wall.setAnchor(cell);
  } else wall.chooseOnly(cell);
}

/** @param {MouseEvent} event */
function menuAsked(event) {
  const cell = wall.cellOf(/** @type {Element} */ (event.target));
  if (cell === null || signed.value) return;
  event.preventDefault();
  wall.menu.value = { x: event.clientX, y: event.clientY, cells: wall.selected.value.has(cell) ? [...wall.selected.value] : [cell] };
}

export function Wall() {
  const scroller = useRef(/** @type {HTMLElement | null} */ (null));
  const [width, setWidth] = useState(0);
  const { size } = settings.value;
  const shown = sections.value;
  const captions = !blind.value || differing.value.size > 0;
  const layout = useMemo(() => layOut(shown, width, size, captions), [shown, width, size, captions]);
  current = layout;
  const items = useRows(scroller, layout.rows);
  useLayoutEffect(() => {
    const node = scroller.current;
    if (!node) return undefined;
    setWidth(node.clientWidth);
    const watch = new ResizeObserver(() => setWidth(node.clientWidth));
    watch.observe(node);
    const end = lasso(node);
    return () => { watch.disconnect(); end(); };
  }, []);
  const wanted = wall.goTo.value;
  useLayoutEffect(() => {
    const block = layout.blocks.find((b) => b.section.place === wanted);
    if (block && scroller.current) scroller.current.scrollTop = block.top;
    if (wanted !== null) wall.goTo.value = null;
  }, [wanted]);
  const focus = wall.focused.value;
  useLayoutEffect(() => { showFocus(scroller.current, layout, focus); }, [focus, layout]);
  const from = items.length ? layout.rows[items[0].index]?.top ?? 0 : 0;
  const last = items.length ? layout.rows[items[items.length - 1].index] : undefined;
  const to = last ? last.top + last.height - 1 : 0;
  return html`<div ref=${scroller} class=${`wall ${wall.lassoMode.value ? "lasso-mode" : ""}`} tabindex="-1"
    onFocusIn=${(/** @type {FocusEvent} */ event) => { wall.focused.value = wall.cellOf(/** @type {Element} */ (event.target)) ?? wall.focused.value; }}
    onPointerMove=${wall.pointed} onPointerLeave=${wall.left} onClick=${clicked} onContextMenu=${menuAsked}
    onDblClick=${(/** @type {MouseEvent} */ event) => { const cell = wall.cellOf(/** @type {Element} */ (event.target)); if (cell !== null) wall.opened.value = cell; }}>
    <div class="wall-inner" style=${{ height: `${layout.height}px` }}>
      ${layout.blocks.filter((b) => b.top <= to && b.top + b.height >= from).map((block) => html`
        <${Section} key=${block.section.place} layout=${layout} block=${block} from=${from} to=${to} />`)}
    </div>
  </div>`;
}

/** Bring the cell with the keyboard's focus into view and give it the browser's. @param {HTMLElement | null} scroller @param {Layout} layout @param {number | null} focus */
function showFocus(scroller, layout, focus) {
  if (!scroller || focus === null || !wall.wantsFocus()) return;
  for (const block of layout.blocks) {
    const index = block.section.cells.findIndex((c) => c.cell === focus);
    if (index < 0) continue;
    const top = block.top + spot(layout, block, index).y;
    if (top - HEAD < scroller.scrollTop) scroller.scrollTop = top - HEAD;
    else if (top + block.rowHeight > scroller.scrollTop + scroller.clientHeight) scroller.scrollTop = top + block.rowHeight - scroller.clientHeight;
  }
  const element = scroller.querySelector(`[data-cell="${focus}"]`);
  if (element instanceof HTMLElement) {
    element.focus({ preventScroll: true });
    wall.focusGiven();
  }
}
