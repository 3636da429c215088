import { html, nothing, svg } from "lit";
import type { Attnviz } from "../../../mkdocs_attnviz/static/attnviz.js";
import { accent, DEEPEST, tint } from "../charts/tint.js";
import { json } from "../lib/json-blob.js";
import { Scaled } from "../lib/packed.js";

/** The global `attnviz`, for scripts of packages that bring views of their own. Declared in `static/attnviz.d.ts`. */
export const tools: Omit<Attnviz, "define"> = {
  html,
  svg,
  nothing,
  json,
  scaled: (rows) => (bytes) => {
    const scaled = new Scaled(bytes, rows);
    return Array.from({ length: rows }, (_, row) => scaled.row(row));
  },
  tint: (share, scheme) => tint(accent(scheme), DEEPEST * share, scheme),
};

declare global {
  /** The scripts of views that ran before the script they need, as functions; see `runWaiting`. */
  var attnvizWaiting: (() => void)[] | undefined;
}

/** Run the views' scripts that came too early: instant navigation may run a page's scripts in any order. */
export function runWaiting(): void {
  for (const run of globalThis.attnvizWaiting?.splice(0) ?? []) run();
}
