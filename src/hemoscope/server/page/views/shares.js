// What the server's count says of a place, as words. Nothing is counted here.

import { number, percent, t } from "../lib/text.js";

/** @typedef {import("../types.d.ts").Differential} Differential */

/**
 * A class's share as it stands on a report: percent of the white cells, or cells for every 100 of them.
 * @param {Differential | null} found @param {string} place
 */
export function shareText(found, place) {
  const share = found?.after.shares.find((s) => s.name === place);
  if (!found || !share || share.per_white === null) return "";
  if (share.role === "white") return percent((found.percents[place] ?? 100 * share.per_white) / 100, 1);
  if (share.role === "erythroblast") return t("share.per_100", { value: number(100 * share.per_white, 1) });
  return "";
}

/**
 * The same beside the cells that lie in a place: cells for review are counted where the model would put them, and lie elsewhere.
 * @param {Differential | null} found @param {string} place
 */
export function shareHere(found, place) {
  const share = shareText(found, place);
  const n = found?.after.shares.find((s) => s.name === place)?.to_review ?? 0;
  return share && n ? t("share.with_review", { share, n }) : share;
}

/** An interval in percent, without the sign. @param {import("../types.d.ts").Ends | null | undefined} interval */
export function intervalText(interval) {
  if (!interval || interval[0] === null || interval[1] === null) return "–";
  return t("interval", { low: number(100 * interval[0], 1), high: number(100 * interval[1], 1) });
}
