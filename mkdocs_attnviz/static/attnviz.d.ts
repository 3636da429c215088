/**
 * What a view of another package gets from attnviz, and what it must have. A script that is loaded after attnviz's own
 * calls `attnviz.define({ name: Class })`; how to write one: "Your own view" in the documentation.
 *
 * In TypeScript: `/// <reference path="…/mkdocs_attnviz/static/attnviz.d.ts" />`, or an import of types from this file.
 */

/** The data that the view's Python function has put into `Drawing.data`, and what every figure has. */
export interface Figure {
  view: string;
  /** The sentence that says what is to be seen: the figure's accessible name. */
  label: string;
  theme: "auto" | "light" | "dark";
  /** Model and text, shortened: `minilm: The cat sat on the mat`. */
  source?: string;
}

/** Bytes of an entry, still packed: what stands for `{"blob": name}` of `Drawing.data`. `Host.blob` reads it. */
export interface Blob {
  data?: string;
  file?: string;
  part?: number;
}

/** A function that makes of a blob's bytes what a view reads. It throws if they do not fit. */
export interface Decode<T> {
  (bytes: Uint8Array): T;
  /** The most bytes that there can be, where that is known. */
  most?: number;
}

/** The colours of the page around the figure. */
export interface Scheme {
  dark: boolean;
  /** Opacity of pale text that can still be read. */
  pale: number;
  /** The colour behind the figure, as CSS. */
  background: string;
}

/** What a view lives in: the element `<attn-viz>`, or one side of a comparison in it. */
export interface Host {
  /** The element in the page. */
  readonly element: HTMLElement;
  readonly scheme: Scheme;
  /** Return what a blob holds, or undefined while it loads; the view is rendered again when it has come. */
  blob<T>(blob: Blob, decode: Decode<T>): T | undefined;
  /** Return what to show in place of a picture whose blobs are not all there: that `what` loads, or cannot be loaded. */
  notice(what: string, blobs: readonly Blob[]): Template;
  /** Tell that the first picture is drawn, which fulfils the element's promise `ready`. */
  drawn(): void;
  /** Tell that the reader, not a program, has changed the view's state. */
  changed(): void;
  /** Have `render` called again. */
  requestUpdate(): void;
  /** Fulfilled when all is drawn that the present state shows, fetched data included. */
  readonly updateComplete: Promise<boolean>;
  /** Have methods of an object called in the course of the element's life, as Lit's controllers have. */
  addController(controller: Controller): void;
}

export interface Controller {
  hostConnected?(): void;
  hostDisconnected?(): void;
  hostUpdate?(): void;
  /** What was rendered is in the page: the time to measure it, or to draw on a canvas. */
  hostUpdated?(): void;
}

/** One figure's view. */
export interface View {
  /**
   * What the reader has chosen: texts, numbers, true or false, null. Reading gives a copy. Writing merges; a bad value
   * throws a RangeError that names it. A link to the figure writes what it carries.
   */
  state: object;
  /** The figure's accessible name in its present state. Without it, the sentence about the first state stays. */
  readonly label?: string;
  /** Return a template of `attnviz.html`, or a node. */
  render(): Template | Node;
  /** Return the figure's numbers, for scripts in the page. */
  values?(request: object): Promise<object>;
}

export interface ViewClass {
  new (host: Host, figure: any): View;
  /** CSS for the view's figures. What all views have holds there, too: begin selectors with a class of your own. */
  readonly styles?: string;
}

/** What `html` and `svg` return. */
export interface Template {
  readonly strings: TemplateStringsArray;
  readonly values: unknown[];
}

export interface Attnviz {
  /** Make views known by the names that the block key `view` has for them. */
  define(views: Record<string, ViewClass>): void;
  /** Lit's templates; `nothing` renders nothing. Set styles by property, `.style=${…}`, never by attribute. */
  html(strings: TemplateStringsArray, ...values: unknown[]): Template;
  svg(strings: TemplateStringsArray, ...values: unknown[]): Template;
  readonly nothing: symbol;
  /** Decodes a blob that `json_blob` of `mkdocs_attnviz.models.encoding` has made. */
  json<T>(bytes: Uint8Array): T;
  /** Return what decodes a blob of `scaled_blob`, so many rows; a masked value is NaN. */
  scaled(rows: number): Decode<Float32Array[]>;
  /** Return a share, 0 to 1, of the figures' accent on the page's background, and an ink that can be read on it. */
  tint(share: number, scheme: Scheme): { background?: string; ink?: string };
}

declare global {
  var attnviz: Attnviz;
}
