import type { CSSResultGroup, ReactiveController, ReactiveControllerHost, TemplateResult } from "lit";
import type { Figure } from "./figure.js";
import type { Scheme } from "./scheme.js";
import type { Layer } from "./weights.js";

/** What a view may ask of the element it lives in. */
export interface ViewHost extends ReactiveControllerHost, HTMLElement {
  readonly scheme: Scheme;
  /** The decoded layer, or undefined while it loads; the host renders again when it has come. */
  layer(stack: string, layer: number): Layer | undefined;
  /** What to say in place of a layer that is not there: that it loads, or why it cannot. */
  notice(stack: string, layer: number): TemplateResult;
  /** The first picture is drawn. */
  drawn(): void;
  /** The reader, not a program, has changed the state. */
  changed(): void;
}

/** A view is a Lit controller that renders and keeps what the reader has chosen. */
export interface View extends ReactiveController {
  /** Reading gives a copy. Writing merges; a bad value throws a RangeError that names it. */
  state: object;
  render(): TemplateResult;
}

export interface ViewClass {
  readonly styles: CSSResultGroup;
  new (host: ViewHost, figure: Figure): View;
}
