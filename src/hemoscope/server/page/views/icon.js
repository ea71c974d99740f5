// The few signs of the page, drawn on a grid of 20.

import { html } from "../vendor/preact.js";

/** @type {Record<string, string>} */
const PATHS = {
  undo: "M7 4 3 8l4 4M3 8h8a5 5 0 0 1 0 10H8",
  redo: "m13 4 4 4-4 4m4-4H9a5 5 0 0 0 0 10h3",
  check: "m4 10.5 4 4 8-9",
  close: "m5 5 10 10M15 5 5 15",
  left: "m12 4-6 6 6 6",
  right: "m8 4 6 6-6 6",
  keys: "M2.5 5.5h15v9h-15zM5.5 8.5h.01M8.5 8.5h.01M11.5 8.5h.01M14.5 8.5h.01M6.5 11.5h7",
  lasso: "M3.5 3.5h3m4 0h3m3 3v3m0 4v3h-3m-3 0h-3m-4-3v-3m0-3v-4",
  menu: "M4 6h12M4 10h12M4 14h12",
  plus: "M10 4v12M4 10h12",
  lock: "M5.5 9.5h9v7h-9zM7.5 9.5V7a2.5 2.5 0 0 1 5 0v2.5",
  sun: "M10 6.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1",
  moon: "M16.5 12A7 7 0 0 1 8 3.5 7 7 0 1 0 16.5 12z",
  auto: "M10 3a7 7 0 1 0 0 14zM10 3a7 7 0 0 1 0 14",
  drop: "M10 3v9m-4-4 4 4 4-4M3.5 14v2.5h13V14",
  warn: "M10 3 2.5 16.5h15zM10 8v4M10 14.3h.01",
  people: "M7 9.5A2.5 2.5 0 1 0 7 4.5a2.5 2.5 0 0 0 0 5zM2.5 16c0-2.5 2-4 4.5-4s4.5 1.5 4.5 4M13 9.5a2.5 2.5 0 1 0 0-5M13.5 12c2.3 0 4 1.5 4 4",
  count: "M4 16V9M8 16V4M12 16v-5M16 16V7",
  wall: "M3.5 3.5h5v5h-5zM11.5 3.5h5v5h-5zM3.5 11.5h5v5h-5zM11.5 11.5h5v5h-5z",
  sign: "M3 16.5h14M5 13l1-3 7-7 2 2-7 7z",
  more: "M5 10h.01M10 10h.01M15 10h.01",
};

/** @param {{name: string}} props */
export function Icon({ name }) {
  return html`<svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} fill="none" stroke="currentColor" stroke-width="1.7" stroke-linecap="round" stroke-linejoin="round" />
  </svg>`;
}
