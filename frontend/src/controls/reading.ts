import { html, nothing, type TemplateResult } from "lit";
import { plainText } from "../lib/token.js";

/** A token in a sentence; `at` is its position if the same token occurs again, or null. */
export interface Named {
  token: string;
  at: number | null;
}

/** A piece of a sentence about what is read. */
export type Part = string | Named | Part[];

/** The reading of a mark as data, from which both the read-out and the announcement are made. */
export interface Reading {
  lines: Part[][];
  /** True if nothing is pointed at. */
  hint?: boolean;
  /** The list below the lines, and its first items in words. */
  list?: TemplateResult;
  listed?: Part[][];
}

/** The number of a list's items that are announced. */
const SPOKEN = 3;

export function named(tokens: readonly string[], index: number): Named {
  const token = tokens[index] ?? "";
  return { token, at: tokens.indexOf(token) === tokens.lastIndexOf(token) ? null : index };
}

/** Return what a reader can do: "Point at a token to read its weights". */
export function hint(what: string): Part[] {
  return [`${matchMedia("(hover: none)").matches ? "Tap" : "Point at"} ${what}`];
}

export function seen(part: Part): unknown {
  if (Array.isArray(part)) return part.map(seen);
  return typeof part === "string" ? part : html`<bdi>${plainText(part.token)}</bdi>`;
}

export function spoken(part: Part): string {
  if (Array.isArray(part)) return part.map(spoken).join("");
  if (typeof part === "string") return part;
  return `${plainText(part.token)}${part.at === null ? "" : ` (position ${part.at})`}`;
}

export function detail(parts: Part, pale = false): TemplateResult {
  return html`<div class=${pale ? "detail pale" : "detail"}>${seen(parts)}</div>`;
}

export function readingText({ lines, hint, list }: Reading): TemplateResult {
  return html`${lines.map((line, i) => detail(line, hint || i > 0))}${list ?? nothing}`;
}

/** The sentences of a reading: each is announced when it has changed. */
export function sentences({ lines, hint, listed }: Reading): string[] {
  if (hint) return [];
  const list = listed?.slice(0, SPOKEN).map(spoken).join("; ");
  return [...lines.map(spoken), ...(list ? [list] : [])];
}
