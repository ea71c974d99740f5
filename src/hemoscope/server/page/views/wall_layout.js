// Where every cell of the wall lies: sections below each other, each a header and rows of cells. Lengths in CSS pixels.

export const GAP = 6;
export const HEAD = 46;
export const PAD = 12;
const BELOW = 14;
const CAPTION = 34;

/** @typedef {import("../state/slide.js").Section} Section */
/** @typedef {{section: Section, top: number, height: number, rowHeight: number, caption: boolean}} Block */
/** @typedef {{blocks: Block[], columns: number, size: number, height: number, rows: {top: number, height: number}[]}} Layout */

/**
 * @param {Section[]} sections those without cells take no room
 * @param {number} width of the wall
 * @param {number} wanted size of a cell; it grows until the rows fill the width
 * @param {boolean} captions whether cells that are open say below them what they may be
 * @returns {Layout} `rows` are all headers and rows of cells, for the virtual list
 */
export function layOut(sections, width, wanted, captions) {
  const columns = Math.max(1, Math.floor((width - 2 * PAD + GAP) / (wanted + GAP)));
  const size = Math.max(24, Math.floor((width - 2 * PAD + GAP) / columns) - GAP);
  /** @type {Block[]} */
  const blocks = [];
  const rows = [];
  let top = 0;
  for (const section of sections) {
    if (!section.cells.length) continue;
    const caption = captions && size >= 64 && (section.place === "review" || section.place === "unidentified");
    const rowHeight = size + GAP + (caption ? CAPTION : 0);
    const count = Math.ceil(section.cells.length / columns);
    const height = HEAD + count * rowHeight + BELOW;
    blocks.push({ section, top, height, rowHeight, caption });
    rows.push({ top, height: HEAD });
    for (let row = 0; row < count; row += 1) {
      rows.push({ top: top + HEAD + row * rowHeight, height: rowHeight + (row === count - 1 ? BELOW : 0) });
    }
    top += height;
  }
  return { blocks, columns, size, height: top, rows };
}

/** Left and top of a cell within its section. @param {Layout} layout @param {Block} block @param {number} index */
export function spot(layout, block, index) {
  return {
    x: PAD + (index % layout.columns) * (layout.size + GAP),
    y: HEAD + Math.floor(index / layout.columns) * block.rowHeight,
  };
}

/**
 * The cells that a rectangle touches, whether they are drawn or not.
 * @param {Layout} layout
 * @param {{x1: number, y1: number, x2: number, y2: number}} area in the wall's own coordinates
 */
export function touched(layout, area) {
  const [left, right] = [Math.min(area.x1, area.x2), Math.max(area.x1, area.x2)];
  const [top, bottom] = [Math.min(area.y1, area.y2), Math.max(area.y1, area.y2)];
  const found = [];
  for (const block of layout.blocks) {
    if (block.top > bottom || block.top + block.height < top) continue;
    for (const [index, cell] of block.section.cells.entries()) {
      const { x, y } = spot(layout, block, index);
      const at = block.top + y;
      if (x <= right && x + layout.size >= left && at <= bottom && at + layout.size >= top) found.push(cell.cell);
    }
  }
  return found;
}

/**
 * The cell that an arrow key leads to.
 * @param {Layout} layout @param {number | null} from @param {string} key
 */
export function stepFrom(layout, from, key) {
  const first = layout.blocks[0]?.section.cells[0]?.cell ?? null;
  const b = layout.blocks.findIndex((block) => block.section.cells.some((cell) => cell.cell === from));
  if (b < 0) return first;
  const own = layout.blocks[b].section.cells;
  const index = own.findIndex((cell) => cell.cell === from);
  const { columns } = layout;
  const column = index % columns;
  const before = layout.blocks[b - 1]?.section.cells;
  const after = layout.blocks[b + 1]?.section.cells;
  switch (key) {
    case "ArrowRight": return (own[index + 1] ?? after?.[0] ?? own[index]).cell;
    case "ArrowLeft": return (own[index - 1] ?? before?.at(-1) ?? own[index]).cell;
    case "ArrowDown": {
      const lastRow = Math.floor((own.length - 1) / columns);
      if (Math.floor(index / columns) < lastRow) return own[Math.min(index + columns, own.length - 1)].cell;
      return (after?.[Math.min(column, after.length - 1)] ?? own[index]).cell;
    }
    case "ArrowUp": {
      if (index >= columns) return own[index - columns].cell;
      if (!before) return own[index].cell;
      const start = Math.floor((before.length - 1) / columns) * columns;
      return before[Math.min(start + column, before.length - 1)].cell;
    }
    case "Home": return own[0].cell;
    case "End": return own[own.length - 1].cell;
    case "PageDown": return (after?.[0] ?? own[own.length - 1]).cell;
    case "PageUp": return (index > 0 ? own[0] : (before?.[0] ?? own[0])).cell;
    default: return from;
  }
}
