// The virtual list of @tanstack/virtual-core as a hook: which rows of a scrolled element are near what is seen.

import { useEffect, useLayoutEffect, useRef, useState } from "../vendor/preact.js";
import { elementScroll, observeElementOffset, observeElementRect, Virtualizer } from "../vendor/virtual.js";

/**
 * @param {{current: HTMLElement | null}} scroller
 * @param {{top: number, height: number}[]} rows
 */
export function useRows(scroller, rows) {
  const [, draw] = useState(0);
  const held = useRef(/** @type {Virtualizer<HTMLElement, Element> | null} */ (null));
  const options = {
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: (/** @type {number} */ index) => rows[index].height,
    scrollToFn: elementScroll,
    observeElementRect,
    observeElementOffset,
    overscan: 3,
    onChange: () => draw((n) => n + 1),
  };
  held.current ??= new Virtualizer(options);
  const virtual = held.current;
  virtual.setOptions(options);
  const measured = useRef(rows);
  if (measured.current !== rows) {
    measured.current = rows;
    virtual.measure();
  }
  useEffect(() => virtual._didMount(), []);
  useLayoutEffect(() => virtual._willUpdate());
  return virtual.getVirtualItems();
}
