import { html, nothing, render, type TemplateResult, unsafeCSS } from "lit";
import { type Figure, findSequence, findStack, type Stack } from "../figure.js";
import { headColor } from "../palette.js";
import { Column } from "../parts/column.js";
import { headSquares } from "../parts/head-squares.js";
import pictureCss from "../parts/picture.css";
import { Picture } from "../parts/picture.js";
import { Pointing } from "../parts/pointing.js";
import { pairText, previewText, shareText } from "../parts/readout.js";
import type { Scene } from "../parts/scene.js";
import type { Side } from "../place.js";
import { columnWidth } from "../token.js";
import type { View, ViewHost } from "../view.js";
import type { Layer } from "../weights.js";
import css from "./head.css";
import {
  FILTERS,
  type Filter,
  type HeadState,
  initialState,
  isolateHead,
  isPair,
  mergeState,
  offeredHeads,
  toggleHead,
  visibleRange,
} from "./head-state.js";

const FILTER_NAMES: Record<Filter, string> = {
  all: "All",
  aa: "Sentence A → A",
  ab: "Sentence A → B",
  ba: "Sentence B → A",
  bb: "Sentence B → B",
};
/** The browser's own, like Ctrl+PageUp or ⌘[; but AltGr, which some keyboards need for a bracket, is Ctrl and Alt. */
const isBrowsers = ({ metaKey, ctrlKey, altKey }: KeyboardEvent) => metaKey || ctrlKey !== altKey;

const LOADING_MS = 150;
const ANNOUNCE_MS = 300;

/** Tokens left and right, lines between them: who attends to whom, head by head. */
export class HeadView implements View {
  static readonly styles = [unsafeCSS(pictureCss), unsafeCSS(css)];

  private current: HeadState;
  private readonly stackName: string;
  private readonly stack: Stack;
  private readonly columns: Record<Side, Column>;
  private readonly picture: Picture;
  private readonly pointing: Pointing;
  private readonly readout = document.createElement("div");
  private readonly share = document.createElement("span");
  private readonly live = document.createElement("div");
  private layer: Layer | undefined;
  private loadingTimer = 0;
  private announceTimer = 0;
  private request = 0;

  constructor(
    private readonly host: ViewHost,
    private readonly figure: Figure,
  ) {
    this.current = initialState(figure);
    this.stackName = Object.keys(figure.stacks)[0] as string;
    this.stack = findStack(figure);
    this.columns = {
      left: new Column("left", findSequence(figure, this.stack.rows), "Tokens that attend"),
      right: new Column("right", findSequence(figure, this.stack.cols), "Tokens attended to"),
    };
    this.picture = new Picture(this.columns, () => this.refresh());
    this.pointing = new Pointing(this.picture.element, this.columns, {
      point: (announce) => this.point(announce),
      select: (selected) => this.choose({ selected }),
    });
    this.readout.className = "readout";
    this.share.className = "share";
    this.live.className = "unseen";
    this.live.setAttribute("aria-live", "polite");
    host.addController(this);
  }

  get state(): HeadState {
    return structuredClone(this.current);
  }

  set state(change: Partial<HeadState>) {
    this.current = mergeState(this.figure, this.current, change);
    this.host.requestUpdate();
  }

  hostConnected(): void {
    this.picture.connect();
    document.addEventListener("click", this.freeFromOutside);
  }

  hostDisconnected(): void {
    this.picture.disconnect();
    document.removeEventListener("click", this.freeFromOutside);
    cancelAnimationFrame(this.request);
    this.request = 0;
    clearTimeout(this.loadingTimer);
    clearTimeout(this.announceTimer);
  }

  /** What the reader does, and not a program. */
  private choose(change: Partial<HeadState>): void {
    this.state = change;
    this.host.changed();
    this.announce();
  }

  private readonly freeFromOutside = (event: Event): void => {
    if (!this.current.selected || event.composedPath().includes(this.host)) return;
    this.pointing.reset();
    this.choose({ selected: null });
  };

  render(): TemplateResult {
    const { layer, heads, filter } = this.current;
    const offered = offeredHeads(this.figure, this.stack, layer);
    this.host.layer(this.stackName, layer); // fetched while the tokens are laid out
    const squares = {
      offered,
      active: heads,
      dark: this.host.scheme.dark,
      toggle: (head: number) => this.choose({ heads: toggleHead(this.current.heads, head) }),
      isolate: (head: number) => this.choose({ heads: isolateHead(this.current.heads, head, offered) }),
    };
    return html`<div class="head-view" style=${this.widths()} @keydown=${this.keydown}>
      <div class="controls">
        ${this.layerSelect()}${isPair(this.figure, this.stack) ? this.filterSelect() : nothing}${headSquares(squares)}
      </div>
      <div class="headings columns ${this.picture.long ? "long" : ""}">
        <span>${filter === "all" ? "from" : `from ${filter[0]?.toUpperCase()}`}</span>
        ${this.share}
        <span>${filter === "all" ? "attends to" : `attends to ${filter[1]?.toUpperCase()}`}</span>
      </div>
      ${this.picture.element}${this.readout}${this.live}
    </div>`;
  }

  private layerSelect(): TemplateResult {
    const change = ({ target }: Event) => this.choose({ layer: Number((target as HTMLSelectElement).value) });
    return html`<label>Layer <select @change=${change}>
      ${this.stack.layers.map(({ layer }) => html`<option .selected=${layer === this.current.layer}>${layer}</option>`)}
    </select></label>`;
  }

  private filterSelect(): TemplateResult {
    const change = ({ target }: Event) => this.choose({ filter: (target as HTMLSelectElement).value as Filter });
    return html`<label>Pairs <select @change=${change}>
      ${FILTERS.map((filter) => html`<option value=${filter} .selected=${filter === this.current.filter}>${FILTER_NAMES[filter]}</option>`)}
    </select></label>`;
  }

  private widths(): string {
    const { left, right } = this.columns;
    return `--left:${columnWidth(left.sequence.tokens)};--right:${columnWidth(right.sequence.tokens)}`;
  }

  private readonly keydown = (event: KeyboardEvent): void => {
    const step: Record<string, number> = { "[": -1, "]": 1, PageUp: -1, PageDown: 1 };
    const taken = isBrowsers(event) || (event.target as Element).matches("select");
    const by = taken ? undefined : step[event.key];
    if (by !== undefined) this.stepLayer(by);
    else if (event.key === "Escape" && this.current.selected) this.choose({ selected: null });
    else return;
    event.preventDefault();
  };

  private stepLayer(by: number): void {
    const numbers = this.stack.layers.map(({ layer }) => layer);
    const next = numbers[numbers.indexOf(this.current.layer) + by];
    if (next !== undefined) this.choose({ layer: next });
  }

  hostUpdated(): void {
    if (!this.picture.element.isConnected) return;
    const { filter, selected } = this.current;
    for (const side of ["left", "right"] as const) {
      const range = visibleRange(this.figure, this.stack, filter, side);
      if (this.columns[side].show(range)) this.pointing.reset();
      this.columns[side].select(selected?.side === side ? selected.index : null);
    }
    this.pointing.selected = selected;
    this.refresh();
  }

  /** Draws at once if the weights are there; else keeps the last picture for a moment, so that nothing flickers. */
  private refresh(): void {
    if (!this.picture.visible) return;
    this.layer = this.host.layer(this.stackName, this.current.layer);
    clearTimeout(this.loadingTimer);
    if (this.layer) this.draw();
    else this.loadingTimer = window.setTimeout(() => this.draw(), LOADING_MS);
  }

  private draw(): void {
    const scene = this.scene();
    const share = this.picture.show(scene);
    const { pointed } = this.pointing;
    for (const column of Object.values(this.columns))
      column.point(pointed?.side === column.side ? pointed.index : null);
    render(shareText(share), this.share);
    render(scene ? this.readoutText(scene) : this.host.notice(this.stackName, this.current.layer), this.readout);
    if (scene) this.host.drawn();
  }

  private scene(): Scene | null {
    const { layer } = this;
    if (!layer) return null;
    const { heads } = this.current;
    const { focus, partner } = this.pointing;
    const colors = heads.map((head) => headColor(head, this.host.scheme.dark));
    return { layer, heads, colors, rows: this.columns.left.shown, cols: this.columns.right.shown, focus, partner };
  }

  private readoutText(scene: Scene): TemplateResult {
    const [rows, cols] = [this.columns.left.sequence.tokens, this.columns.right.sequence.tokens];
    if (!scene.focus) return html`<span class="detail pale">Point at a token to read its weights</span>`;
    if (scene.partner === null) return previewText(scene, scene.focus, rows, cols);
    return pairText(scene, scene.focus, scene.partner, rows, cols);
  }

  private point(announce: boolean): void {
    this.request ||= requestAnimationFrame(() => {
      this.request = 0;
      if (this.layer) this.draw();
    });
    if (announce) this.announce();
  }

  /** Says what the readout shows, once the reader pauses. */
  private announce(): void {
    clearTimeout(this.announceTimer);
    this.announceTimer = window.setTimeout(() => {
      const { layer, heads, selected } = this.current;
      const where = `Layer ${layer}, ${heads.length > 1 ? `${heads.length} heads` : `head ${heads[0]}`}`;
      this.live.textContent = `${where}${selected ? ", locked" : ""}: ${this.readout.textContent}`;
    }, ANNOUNCE_MS);
  }
}
