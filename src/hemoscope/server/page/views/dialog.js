// A modal dialog: the browser's own, so that focus stays in it, Escape closes it and the rest is out of reach.

import { html, useEffect, useRef } from "../vendor/preact.js";
import { t } from "../lib/text.js";
import { Icon } from "./icon.js";

/** @param {{title: string, onClose: () => void, class?: string, children?: any, extra?: any}} props */
export function Dialog({ title, onClose, class: name = "", children, extra }) {
  const element = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    if (dialog && !dialog.open) dialog.showModal();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, []);
  /** @param {Event} event */
  const cancelled = (event) => {
    event.preventDefault();
    onClose();
  };
  /** @param {MouseEvent} event */
  const clicked = (event) => {
    if (event.target === element.current) onClose();
  };
  return html`<dialog ref=${element} class=${`dialog ${name}`} aria-label=${title} onCancel=${cancelled} onMouseDown=${clicked}>
    <header class="dialog-head">
      <h2>${title}</h2>
      ${extra}
      <button class="button quiet icon-only" aria-label=${t("close")} title=${t("close")} onClick=${onClose}><${Icon} name="close" /></button>
    </header>
    <div class="dialog-body">${children}</div>
  </dialog>`;
}
