// The colour of a place, wherever it is named. The name always stands beside it: colour alone says nothing here.

import { html } from "../vendor/preact.js";
import { classes } from "../state/slide.js";

const COLOURS = 12;

/** @param {{place: string}} props */
export function Dot({ place }) {
  const index = classes.value.findIndex((c) => c.name === place);
  return html`<span class=${`dot ${index >= 0 ? `dot-${index % COLOURS}` : `dot-${place}`}`} aria-hidden="true"></span>`;
}
