import type { CSSResultGroup, ReactiveController, ReactiveControllerHost, TemplateResult } from "lit";
import type { Blob, Figure } from "./figure.js";
import type { Scheme } from "./scheme.js";
import type { Decode } from "./store.js";

/** A pair of functions by which a link writes a part of the state and reads it. */
export interface Codec {
  // biome-ignore lint/suspicious/noExplicitAny: each part has its own type, which its view knows
  write(value: any): string;
  read(text: string): unknown;
}

export type Codecs = Record<string, Codec>;

/** The element that a view lives in, as the view sees it. */
export interface ViewHost extends ReactiveControllerHost {
  /** The element in the page. */
  readonly element: HTMLElement;
  readonly scheme: Scheme;
  /** The description of the shown model, for saved pictures of a figure that has two; empty if it has one. */
  readonly about: string;
  /** The data of the whole figure; a view within another view gets only a part of them. */
  readonly whole: Figure;
  /** The state of the whole figure, as a link to it has it. */
  readonly encoded: string;
  /** True once the first picture is drawn. */
  readonly isDrawn: boolean;
  /** Return what a blob holds, or undefined while it loads; the host renders again when it has come. Decoded once. */
  blob<T>(blob: Blob, decode: Decode<T>): T | undefined;
  /** Return the same for a program, which waits for it; a hidden figure's, too. */
  load<T>(blob: Blob, decode: Decode<T>): Promise<T>;
  /** Return the text in place of a picture whose blobs are not all there: `what` loads, or cannot be loaded. */
  notice(what: string, blobs: readonly Blob[]): TemplateResult;
  /** Return the view that draws a figure, made to live in `host`. Throws if there is none. */
  make(figure: Figure, host: ViewHost): View;
  /** Tell the host that the first picture is drawn. */
  drawn(): void;
  /** Tell the host that the reader, not a program, has changed the state. */
  changed(): void;
}

/** The answers of a view to programs: attention weights, the queries and keys behind them, or other numbers. */
export interface Answers {
  weights?(request: object): Promise<object>;
  neurons?(request: object): Promise<object>;
  values?(request: object): Promise<object>;
}

/**
 * A view is a Lit controller that renders and keeps what the reader has chosen. What other packages' views may rely on is
 * declared in `mkdocs_attnviz/static/attnviz.d.ts`; `test/public-types.ts` holds the two against each other.
 */
export interface View extends ReactiveController, Answers {
  /** The present state. Reading gives a copy. Writing merges; a bad value throws a RangeError that names it. */
  state: object;
  /** The codecs of those parts of the state that are more than a text, a number, true or false, or null. */
  readonly codecs?: Codecs;
  /** A name for what is shown in the present state; without one, the figure's sentence is its name in every state. */
  readonly label?: string;
  /** True if the view's own menu has "About this figure"; the element shows it below any other view. */
  readonly hasMenu?: boolean;
  /** Return what Lit can render: a template, or a node. */
  render(): unknown;
}

export interface ViewClass {
  readonly styles?: CSSResultGroup | string;
  new (host: ViewHost, figure: Figure): View;
}

/** The message of a figure of attention that has nothing behind its weights. */
export const NO_NEURONS = "this figure has no queries and keys";

/** Return a view's answer to a program. Rejects where the view has none. */
export async function answer(view: View, what: keyof Answers, request: object): Promise<object> {
  if (view[what]) return view[what](request);
  if (what === "neurons" && view.weights) throw new Error(NO_NEURONS);
  throw new Error(`this figure shows ${what === "values" ? "attention: weights" : "no attention: values"}()`);
}
