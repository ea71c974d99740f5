// Second reader and automation bias: which reading this window is, how readers agree, and what is left to settle.

import { html, useEffect, useState } from "../vendor/preact.js";
import { get } from "../lib/api.js";
import { t } from "../lib/text.js";
import * as at from "../state/slide.js";

export function ReadersPanel() {
  const [found, setFound] = useState(/** @type {any} */ (null));
  const [problem, setProblem] = useState("");
  useEffect(() => {
    get(`/slides/${at.slide.value?.id}/agreement`).then(setFound).catch((error) => setProblem(error.message));
  }, [at.seq.value]);
  return html`<div class="readers"><h3>${t("readers.title")}</h3>${problem && html`<p class="quiet-text">${problem}</p>`}<pre>${found && JSON.stringify(found, null, 1)}</pre></div>`;
}
