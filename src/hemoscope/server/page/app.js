// Where the page begins: texts, session, and which view the address names.

import { Fragment, effect, html, render, signal } from "./vendor/preact.js";
import { ApiError } from "./lib/api.js";
import { loadTexts, t } from "./lib/text.js";
import { loadSession, model, session } from "./state/session.js";
import { tellError } from "./state/toasts.js";
import { SignIn } from "./views/sign_in.js";
import { SlidesView } from "./views/slides.js";
import { SlideView } from "./views/slide.js";
import { Toasts } from "./views/toasts.js";

const AGAIN_MS = 3000;
const address = signal(location.hash);
globalThis.addEventListener("hashchange", () => { address.value = location.hash; });

function App() {
  const slide = /^#\/slides\/([^/]+)/.exec(address.value)?.[1];
  let view = html`<p class="loading">${t("loading")}</p>`;
  if (session.value?.sign_in && !session.value.user) view = html`<${SignIn} />`;
  else if (model.value && slide) view = html`<${SlideView} key=${slide} id=${decodeURIComponent(slide)} />`;
  else if (model.value) view = html`<${SlidesView} />`;
  return html`<${Fragment}>${view}<${Toasts} /><//>`;
}

effect(() => {
  if (!/^#\/slides\//.test(address.value)) document.title = t("app.title");
});

/** Ask who is here again, as long as nobody answers. @param {unknown} error */
async function askAgain(error) {
  tellError(error);
  while (error instanceof ApiError && error.passes) {
    await new Promise((again) => setTimeout(again, AGAIN_MS));
    error = await loadSession().catch((problem) => problem);
  }
}

const texts = loadTexts();
await Promise.all([texts, loadSession().catch((error) => { texts.then(() => askAgain(error)); })]);
const root = /** @type {HTMLElement} */ (document.getElementById("app"));
render(html`<${App} />`, root);
