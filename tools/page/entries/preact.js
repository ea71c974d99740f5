import { h } from "preact";
import htm from "htm";

export { Component, createRef, Fragment, h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, untracked } from "@preact/signals";
export const html = htm.bind(h);
