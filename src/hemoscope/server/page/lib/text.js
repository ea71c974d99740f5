// Every text of the page comes from the catalog; a language is one file beside catalog/en.json.

/** @type {Record<string, string>} */
let catalog = {};
let language = "en";
let plural = new Intl.PluralRules(language);

const AGAIN_MS = 3000;

/** A catalog, or null if there is none that can be read. @param {string} name @returns {Promise<Record<string, string> | null>} */
async function catalogOf(name) {
  try {
    const answer = await fetch(`/static/catalog/${name}.json`);
    return answer.ok ? await answer.json() : null;
  } catch {
    return null;
  }
}

/** Read the catalog of the browser's language, or the English one; that one is asked for until it comes. */
export async function loadTexts() {
  const wanted = navigator.language.slice(0, 2).toLowerCase();
  let english = await catalogOf("en");
  while (!english) {
    await new Promise((again) => setTimeout(again, AGAIN_MS));
    english = await catalogOf("en");
  }
  catalog = english;
  const other = wanted === "en" ? null : await catalogOf(wanted);
  if (other) {
    catalog = { ...english, ...other };
    language = wanted;
    plural = new Intl.PluralRules(language);
  }
  document.documentElement.lang = language;
}

/**
 * The text of a key, with its values put in. Where `n` is a value and the catalog has `key.one`, `key.other` …, the form follows n.
 * @param {string} key
 * @param {Record<string, string | number>} [values]
 */
export function t(key, values) {
  const form = values && typeof values.n === "number" ? `${key}.${plural.select(values.n)}` : key;
  const text = catalog[form] ?? catalog[`${key}.other`] ?? catalog[key];
  if (text === undefined) return key;
  if (!values) return text;
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name];
    return value === undefined ? all : typeof value === "number" ? number(value) : value;
  });
}

/**
 * What the server said of a refusal, in the page's language if its catalog has `refusal.` and the code; the English one has none of them.
 * @param {{code: string, message: string} | undefined} refusal
 * @param {string} otherwise
 */
export const refusal = (refusal, otherwise) => (refusal ? (catalog[`refusal.${refusal.code}`] ?? refusal.message) : otherwise);

/** Formats are dear to make and cheap to use. @type {Map<string, Intl.NumberFormat>} */
const formats = new Map();

/** @param {number} value @param {number} [digits] */
export function number(value, digits) {
  const key = `${language} ${digits}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(language, { minimumFractionDigits: digits ?? 0, maximumFractionDigits: digits ?? 2 });
    formats.set(key, format);
  }
  return format.format(value);
}

/** @param {number} share */
export const percent = (share, digits = 1) => (Number.isFinite(share) ? `${number(100 * share, digits)} %` : "–");

/** @type {Intl.DateTimeFormat | null} */
let moments = null;

/** @param {string} iso */
export function moment(iso) {
  moments ??= new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" });
  return moments.format(new Date(iso));
}
