// What the server sends; the names are those of its OpenAPI description.

export type Place = string;
export type Reading = number | "settle" | "audit";

export interface Session { user: string | null; role: "reader" | "administrator" | null; csrf: string; sign_in: boolean }
export interface ModelClass { name: string; label: string; role: "white" | "erythroblast" | "platelet" | "other"; key: string }
export interface Model {
  name: string; digest: string; networks: string[]; classes: ModelClass[]; research_use_only: boolean; tta: boolean; n_val: number; demo: boolean;
  reference: { name: string; source: string };
}
export interface Slide {
  id: number; title: string; status: "open" | "signed"; revision: number; cells: number; waiting: number; rejected: number | Rejected[];
  reviewed: number; open: number; created: string; readings: number; blind: boolean; by: string;
  seq?: number; white_count?: number | null; progress?: Progress; signatures?: Signature[]; complete?: boolean;
  model: string; classes?: ModelClass[]; readers?: Record<string, string>;
}
export interface Rejected { name: string; reason: string }
export interface Progress { received: number; predicted: number; rejected: number; total: number }
export interface Signature { name: string; at: string; revision: number; log: string; reason?: string | null }
export interface Cell {
  cell: number; digest: string; name: string; status: "accepted" | "review" | "unknown"; pred: string | null; probs: number[] | null;
  margin: number | null; distance: number | null; candidates: string[]; reason: string | null; shares: number[] | null;
}
export interface State {
  seq: number; places: Record<string, Place>; reviewed: number[]; notes: Record<string, string>; white_count: number | null;
  can_undo: boolean; can_redo: boolean;
}
export type Change = [cell: number, from: Place, to: Place];
export type Command =
  | { kind: "place"; cells: number[]; to: Place }
  | { kind: "confirm"; cells: number[] }
  | { kind: "note"; cell: number; text: string }
  | { kind: "white_count"; value: number | null }
  | { kind: "undo" }
  | { kind: "redo" };
export interface Entry { seq: number; at: string; reader: string; reading: Reading; command?: Command; changes?: Change[]; client?: string }
export interface Trail { id: number; at: string; who: string; what: string; revision?: number; name?: string; reason?: string; form?: string }
export interface Answer { seq: number; entry: Entry; changes: Change[]; differential?: Differential }
export type Interval = [number, number];
/** Its ends are null where nothing is known, or where an end is infinite. */
export type Ends = [number | null, number | null];
export interface Share {
  name: string; label: string; role: "white" | "erythroblast" | "platelet" | "other"; counted: number; to_review: number;
  per_white: number | null; sampling: Ends; corrected: number | null; interval: Ends; reference: Interval | null;
  p_below: number | null; p_above: number | null; finding: string;
}
export interface Remark { code: string; values: Record<string, string | number>; text: string }
export interface Count { shares: Share[]; n_white: number; review: number; unknown: number; error: number; remarks: Remark[] }
export interface Settles { name: string; limit: number; more_cells: number | null; more_reviewed: number | null }
export interface Differential {
  before: Count; after: Count; percents: Record<string, number>; erythroblasts: number | null;
  corrected_white: { value: number; given: number; erythroblasts: number; working: string } | null;
  cells: number; reviewed: number; waiting: number; unidentified: number; not_classed: number;
  moved: number; wrong_left: number | null; settles: Settles[]; by_review: Record<string, number>; only_sampling_left: boolean;
}
export interface Neighbour { digest: string; distance: number; source: string }
export interface Agreement {
  both: number; agreed: number; kappa: { value: number | null; low: number | null; high: number | null } | null;
  differ: [cell: number, first: Place, second: Place][]; settled: Record<string, Place>;
  merged: Record<string, number>; first: Record<string, number>; second: Record<string, number>;
}
export interface Followed { audited: number; wrong: number; followed: number; rate: number | null; interval: [number | null, number | null]; right: number; overturned: number }
export interface Readers {
  readings: number; blind: boolean; readers: Record<string, string>; bias: Record<string, Followed>; agreement: Agreement | null;
  audit: { cells: number[]; read: number }; cells?: number[]; read?: Record<string, number>; complete?: boolean;
}
