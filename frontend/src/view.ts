import type { CSSResultGroup, ReactiveController, ReactiveControllerHost, TemplateResult } from "lit";
import type { Blob, Figure } from "./figure.js";
import type { Scheme } from "./scheme.js";
import type { Decode } from "./store.js";
import type { Layer } from "./weights.js";

/** What a view may ask of the element it lives in. */
export interface ViewHost extends ReactiveControllerHost, HTMLElement {
  readonly scheme: Scheme;
  /** What the reader sees, and saw first. */
  readonly state: object;
  readonly initial: object;
  /** The model that is shown, for saved pictures of a figure that has two. */
  about: string;
  /**
   * The decoded layer, or undefined while it loads; the host renders again when it has come. Until then its preview will
   * do, unless it is to be the `whole` layer.
   */
  layer(stack: string, layer: number, whole?: boolean): Layer | undefined;
  /** The same for anything else that is stored. A blob is decoded once. */
  blob<T>(blob: Blob, decode: Decode<T>): T | undefined;
  /** What to say in place of a picture whose blobs are not all there: that `what` loads, or that it cannot be loaded. */
  notice(what: string, blobs: readonly Blob[]): TemplateResult;
  /** The first picture is drawn. */
  drawn(): void;
  /** The reader, not a program, has changed the state. */
  changed(): void;
}

/**
 * A view is a Lit controller that renders and keeps what the reader has chosen. What other packages' views may rely on is
 * declared in `mkdocs_attnviz/static/attnviz.d.ts`; `test/public-types.ts` holds the two against each other.
 */
export interface View extends ReactiveController {
  /** Reading gives a copy. Writing merges; a bad value throws a RangeError that names it. */
  state: object;
  /** What it shows now, where that is not all that it was given. */
  readonly present?: Figure;
  /** What Lit can render: a template, or a node. */
  render(): unknown;
  /** What it shows as numbers, where that is no attention. */
  values?(request: object): Promise<object>;
}

export interface ViewClass {
  readonly styles?: CSSResultGroup | string;
  new (host: ViewHost, figure: Figure): View;
}
