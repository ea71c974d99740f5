import type { VNode } from "preact";

export { Component, createRef, Fragment, h, render } from "preact";
export { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
export { batch, computed, effect, signal, untracked } from "@preact/signals";
export function html(strings: TemplateStringsArray, ...values: unknown[]): VNode;
