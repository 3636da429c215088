import { html, render, type TemplateResult } from "lit";
import { absentSentence } from "../attention/absent.js";
import { absentPicture } from "../attention/absent-picture.js";
import { findLayer, findSequence, type LayerSource, type Stack, weightBlobs } from "../attention/figure.js";
import { NeuronHead, neuronBlobs, neuronLayer } from "../attention/neuron-scores.js";
import type { NeuronChange, NeuronState } from "../attention/neuron-state.js";
import { pairText, previewText, shareText } from "../attention/readout.js";
import { type Scene, SHADED } from "../attention/scene.js";
import { visibleRange } from "../attention/state.js";
import type { AttentionViewState } from "../attention/view-state.js";
import { weightTable } from "../attention/weight-table.js";
import type { Layer } from "../attention/weights.js";
import { type Legend, legendText } from "../controls/legend.js";
import { Pointing } from "../controls/pointing.js";
import { detail, hint, type Part, spoken } from "../controls/reading.js";
import type { Table } from "../controls/table.js";
import type { Sequence } from "../element/figure.js";
import type { Side, TokenRef } from "../lib/geometry.js";
import type { Scaled } from "../lib/packed.js";
import { headColor, hexToRgba, PALETTES } from "../lib/palette.js";
import { columnWidth } from "../lib/token.js";
import { Column } from "./column.js";
import { linesRamp } from "./lines-ramp.js";
import { numberColumns } from "./neuron-columns.js";
import type { Expansion } from "./neuron-drawing.js";
import { neuronHeadings } from "./neuron-headings.js";
import { NeuronPicture } from "./neuron-picture.js";
import { neuronText, scoreTable, scoreText } from "./neuron-readout.js";
import { neuronSheet } from "./neuron-sheet.js";
import { NeuronStrips } from "./neuron-strips.js";
import { NeuronToggles } from "./neuron-toggles.js";
import { PairStage } from "./pair-stage.js";
import type { Sheet } from "./svg.js";

const SIDES = ["left", "right"] as const;

/** The tokens of one stack, and between them lines or an expanded token: what a reader sees and touches. */
export class NeuronStage extends PairStage {
  readonly name: string;
  private readonly stack: Stack;
  private readonly columns: Record<Side, Column>;
  private readonly toggles: NeuronToggles;
  private readonly strips: NeuronStrips;
  readonly picture: NeuronPicture;
  protected readonly pointing: Pointing;
  private readonly headings = document.createElement("div");
  private readonly readout = document.createElement("div");
  private readonly legendLine = Object.assign(document.createElement("p"), { className: "legend" });
  private head: NeuronHead | undefined;
  /** A token whose button is pointed at, and a heading's explanation. */
  private offered: number | null = null;
  private explanation: string | null = null;

  constructor(private readonly choices: AttentionViewState<NeuronState, NeuronChange>) {
    super(choices);
    const { figure, stack, state } = choices;
    this.name = state.stack;
    this.stack = stack;
    this.columns = {
      left: new Column("left", findSequence(figure, stack.rows), "Tokens that attend"),
      right: new Column("right", findSequence(figure, stack.cols), "Tokens attended to"),
    };
    this.toggles = new NeuronToggles(this.columns.left.sequence, {
      toggle: (index) => choices.choose({ expanded: this.expanded === index ? null : index, selected: null }),
      point: (index, announce) => this.offer(index, announce),
    });
    this.strips = new NeuronStrips({
      point: (announce) => this.point(announce),
      choose: (index) => this.lock({ side: "right", index }),
      scroll: (left) => {
        this.headings.scrollLeft = left;
      },
    });
    this.picture = new NeuronPicture(this.columns, this.toggles, this.strips, () => this.refresh());
    this.pointing = new Pointing(this.picture.element, this.columns, {
      point: (announce) => this.point(announce),
      select: (token) => this.select(token),
    });
    // Tab goes on to the button of the token that it leaves.
    this.columns.left.element.addEventListener("focusin", ({ target }) =>
      this.toggles.walkTo(Number((target as HTMLElement).dataset.index)),
    );
    this.headings.className = "between";
    this.readout.className = "readout";
  }

  private get expanded(): number | null {
    return this.choices.state.expanded;
  }

  /** Return the reading in words, or nothing if it is only a hint. */
  get text(): string {
    const expansion = this.expansion();
    const reading = this.reading(this.scene(), expansion);
    return reading ? spoken(reading) : "";
  }

  /** The token on the left that is pointed at. */
  get pointed(): number | null {
    const { pointed } = this.pointing;
    return pointed?.side === "left" ? pointed.index : this.offered;
  }

  // The reader's actions

  private select(token: TokenRef | null): void {
    this.strips.leave();
    if (this.expanded !== null && token?.side === "left") this.choices.choose({ expanded: token.index });
    else this.choices.choose({ selected: token });
  }

  private lock(token: TokenRef): void {
    const { selected } = this.choices.state;
    this.choices.choose({ selected: selected?.side === token.side && selected.index === token.index ? null : token });
  }

  private offer(index: number | null, announce: boolean): void {
    if (index === this.offered) return;
    this.offered = index;
    this.point(announce);
  }

  private point(announce: boolean): void {
    this.schedule();
    if (announce) this.choices.announce();
  }

  // The parts of the picture

  render(): TemplateResult {
    const { state } = this.choices;
    this.layer(); // fetched while the tokens are laid out
    const [from, to] = state.filter === "all" ? ["", ""] : [...state.filter].map((name) => ` ${name.toUpperCase()}`);
    const { expanded } = this;
    const [left, right] = SIDES.map((side) => this.columns[side].sequence) as [Sequence, Sequence];
    const leftWidth = columnWidth(left.tokens, expanded === null ? left.next : undefined);
    const hint = html`<span class="hint">Press <b>+</b> to see how a weight comes about</span>`;
    return html`<div class="neuron-stage" .style="--left:${leftWidth};--right:${columnWidth(right.tokens)}">
      <div class="headings columns ${this.picture.long ? "long" : ""} ${expanded === null ? "" : "expanded"}">
        ${expanded === null ? hint : ""}
        <span class="from" aria-hidden="true">from${from}</span>
        ${this.headings}
        <span class="to" aria-hidden="true">${expanded === null ? "attends to" : "to"}${to}</span>
      </div>
      ${this.picture.element}${this.legendLine}${this.readout}
    </div>`;
  }

  /** After each rendering: tokens and selection follow the state. */
  updated(): void {
    if (!this.picture.element.isConnected) return;
    const { figure, state } = this.choices;
    const { selected, expanded } = state;
    for (const side of SIDES) {
      if (this.columns[side].show(visibleRange(figure, this.stack, state.filter, side))) this.pointing.reset();
      this.columns[side].select(selected?.side === side ? selected.index : side === "left" ? expanded : null);
    }
    this.toggles.show(this.columns.left.shown, expanded);
    this.pointing.selected = selected;
    this.refresh();
  }

  protected isThere(): boolean {
    const { state } = this.choices;
    const weights = this.layer();
    this.head = state.expanded === null ? undefined : this.decodedHead();
    return Boolean(weights && !this.absent) && (state.expanded === null || this.head !== undefined);
  }

  private layer(): Layer | undefined {
    const { state, source } = this.choices;
    return source.layer(state.stack, state.layer);
  }

  private get absent(): string {
    const { figure, state } = this.choices;
    return absentSentence(figure, state.stack, state.layer, [state.head]);
  }

  private get source(): LayerSource {
    return findLayer(this.stack, this.choices.state.layer);
  }

  /** A head is computed once, however often the pointer moves. */
  private decodedHead(): NeuronHead | undefined {
    const { state, host } = this.choices;
    const { source } = this;
    const [rows, cols] = SIDES.map((side) => this.columns[side].sequence.tokens.length) as [number, number];
    const parts = neuronBlobs(source, rows, cols, (blob, decode) => host.blob(blob, decode));
    if (parts.some((part) => part === undefined)) return undefined;
    if (this.head?.head === state.head && this.head.layer.q === parts[0]) return this.head;
    return new NeuronHead(neuronLayer(source, rows, cols, this.stack.causal ?? false, parts as Scaled[]), state.head);
  }

  protected draw(): void {
    const scene = this.scene();
    const expansion = this.expansion();
    if (expansion) this.picture.expand(expansion, scene);
    const kept = this.source.kept?.[this.choices.state.head] ?? 1;
    const share = expansion ? 1 : this.picture.show(scene) * kept;
    const pointed = this.pointing.pointed ?? this.pointedBeside();
    for (const side of SIDES) this.columns[side].point(pointed?.side === side ? pointed.index : null);
    const { layout } = this.strips;
    const explain = (about: string | null) => {
      this.explanation = about;
      this.point(false);
    };
    render(expansion && layout ? neuronHeadings(expansion, layout, explain) : shareText(share), this.headings);
    const there = this.expanded === null ? scene : expansion;
    render(legendText(this.legend), this.legendLine);
    render(there ? this.readoutText(scene, expansion) : this.notice(), this.readout);
    if (there) this.choices.host.drawn();
  }

  /** The meaning of colours and opacity. The neurons of an expanded token have scales in their headings. */
  get legend(): Legend {
    const scene = this.scene();
    const ramp = scene && linesRamp(scene, this.choices.host.scheme);
    const neurons = this.expanded === null ? "" : "blue = positive, orange = negative · ";
    return { text: `Opacity = weight · ${neurons}left attends to right${scene?.allowed ? SHADED : ""}`, ramp };
  }

  private scene(): Scene | null {
    const { state, host, source } = this.choices;
    const layer = this.layer();
    if (!layer || this.absent) return null;
    const { left, right } = this.columns;
    const offered = this.offered === null || state.selected ? null : ({ side: "left", index: this.offered } as const);
    const { focus, partner } = this.pointing;
    const heads = { heads: [state.head], colors: [headColor(state.head, host.scheme.dark)] };
    return {
      layer,
      ...heads,
      rows: left.shown,
      cols: right.shown,
      focus: offered ?? focus,
      partner,
      allowed: source.allowed(state.stack, state.layer),
    };
  }

  /** Another token on the left that is pointed at is taken apart in place of the expanded one, as a preview. */
  private expansion(): Expansion | null {
    const { selected, expanded } = this.choices.state;
    const { head, pointing, strips } = this;
    if (expanded === null || !head) return null;
    const row = this.pointed ?? expanded;
    const pointed = pointing.pointed?.side === "right" ? pointing.pointed.index : strips.spot.col;
    const { dark } = this.choices.host.scheme;
    const [negative, positive] = (dark ? PALETTES.dark : PALETTES.light).signed.map(hexToRgba);
    return {
      ...{ head, row, rows: this.columns.left.shown, cols: this.columns.right.shown },
      columns: numberColumns(head, head.row(row)),
      color: headColor(head.head, dark),
      text: getComputedStyle(this.readout).color,
      signed: { negative, positive } as Expansion["signed"],
      col: pointed ?? (selected?.side === "right" ? selected.index : null),
      neuron: strips.spot.neuron,
    };
  }

  /** The token whose button or whose strip is pointed at. */
  private pointedBeside(): TokenRef | null {
    const { col } = this.strips.spot;
    if (this.offered !== null) return { side: "left", index: this.offered };
    return col === null ? null : { side: "right", index: col };
  }

  private readoutText(scene: Scene | null, expansion: Expansion | null): TemplateResult {
    const reading = this.reading(scene, expansion);
    return reading ? detail(reading) : detail(hint("a token to read its weights"), true);
  }

  private reading(scene: Scene | null, expansion: Expansion | null): Part[] | null {
    const [rows, cols] = SIDES.map((side) => this.columns[side].sequence.tokens) as [string[], string[]];
    if (expansion && this.explanation) return [this.explanation];
    if (expansion?.neuron != null) return neuronText(expansion, expansion.col, expansion.neuron, { rows, cols });
    if (expansion && expansion.col !== null) return scoreText(expansion, expansion.col, { rows, cols });
    const focus = expansion ? ({ side: "left", index: expansion.row } as const) : scene?.focus;
    if (!scene || !focus) return null;
    if (expansion || scene.partner === null) return previewText({ ...scene, focus }, focus, rows, cols);
    return pairText(scene, focus, scene.partner, rows, cols);
  }

  private notice(): TemplateResult {
    if (this.absent) return absentPicture(this.choices, [this.choices.state.head], this.absent);
    const { neurons } = this.source;
    const blobs = neurons && this.expanded !== null ? [neurons.q, neurons.k, ...neurons.terms] : [];
    return this.choices.host.notice(`layer ${this.choices.state.layer}`, [...weightBlobs(this.source), ...blobs]);
  }

  /** The head's weights; of a token that is taken apart, how each of its weights comes about. */
  table(where: string): Table | null {
    if (!this.isThere()) return null;
    const { columns, expanded, head } = this;
    const { state } = this.choices;
    const [from, to] = [columns.left.shown, columns.right.shown];
    const [rows, cols] = SIDES.map((side) => columns[side].sequence.tokens) as [string[], string[]];
    if (head && expanded !== null) return scoreTable(head, { rows, cols }, expanded, to, where);
    const layer = this.layer() as Layer;
    return layer.share < 1 ? null : weightTable({ layer, heads: [state.head], rows, cols, from, to }, where);
  }

  sheet(): Sheet | null {
    const scene = this.scene();
    const { scheme } = this.choices.host;
    return scene && neuronSheet(this.picture, scene, this.expansion(), this.strips.layout, scheme);
  }
}
