// Where cells can go, as a menu: for hands that neither drag nor remember keys.

import { html, useEffect, useLayoutEffect, useRef } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { placeLabel } from "../state/commands.js";
import { actions, CONFIRM, keys } from "../state/keys.js";
import { settings } from "../state/settings.js";
import { blind } from "../state/slide.js";
import { menu, opened } from "../state/wall.js";
import { Dot } from "./dot.js";
import { act } from "./press.js";

export function MoveMenu() {
  const element = useRef(/** @type {HTMLElement | null} */ (null));
  const { x, y, cells } = menu.value ?? { x: 0, y: 0, cells: [] };
  const close = () => { menu.value = null; };
  useLayoutEffect(() => {
    const node = element.current;
    if (!node) return undefined;
    const before = document.activeElement;
    const box = node.getBoundingClientRect();
    node.style.left = `${Math.max(8, Math.min(x, innerWidth - box.width - 8))}px`;
    node.style.top = `${Math.max(8, Math.min(y, innerHeight - box.height - 8))}px`;
    node.querySelector("button")?.focus();
    return () => { if (document.activeElement === document.body && before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true }); };
  }, []);
  useEffect(() => {
    const outside = (/** @type {Event} */ event) => { if (!element.current?.contains(/** @type {Node} */ (event.target))) close(); };
    document.addEventListener("pointerdown", outside, true);
    return () => document.removeEventListener("pointerdown", outside, true);
  }, []);
  /** @param {KeyboardEvent} event */
  const keyed = (event) => {
    const items = [...(element.current?.querySelectorAll("button") ?? [])];
    const here = items.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "ArrowDown") items[(here + 1) % items.length]?.focus();
    else if (event.key === "ArrowUp") items[(here - 1 + items.length) % items.length]?.focus();
    else if (event.key === "Home") items[0]?.focus();
    else if (event.key === "End") items.at(-1)?.focus();
    else return;
    event.preventDefault();
  };
  /** @param {string} action */
  const choose = (action) => {
    act(action, cells);
    close();
  };
  const offered = actions.value.filter((action) => action !== CONFIRM || !blind.value);
  return html`<div ref=${element} class="menu" role="menu" aria-label=${t("menu.label", { n: cells.length })} onKeyDown=${keyed}>
    ${offered.map((action) => html`<button key=${action} role="menuitem" tabindex="-1" class=${`menu-item ${action === "not_classed" || action === CONFIRM ? "apart" : ""}`} onClick=${() => choose(action)}>
      <${Dot} place=${action} /><span>${action === CONFIRM ? t("action.confirm") : placeLabel(action)}</span>
      ${settings.value.keysOn && html`<kbd aria-hidden="true">${keys.value[action]}</kbd>`}</button>`)}
    ${cells.length === 1 && html`<button role="menuitem" tabindex="-1" class="menu-item apart" onClick=${() => { close(); [opened.value] = cells; }}><${Dot} place="none" /><span>${t("selection.open")}</span></button>`}
  </div>`;
}
