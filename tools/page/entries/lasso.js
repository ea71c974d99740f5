export { default as SelectionArea } from "@viselect/vanilla";
