import { html, render, type TemplateResult } from "lit";
import { pairText, previewText, shareText } from "../attention/readout.js";
import { type Scene, SHADED } from "../attention/scene.js";
import type { Shown } from "../attention/weight-pipeline.js";
import type { WeightsController } from "../attention/weights-controller.js";
import { type Legend, legendText } from "../controls/legend.js";
import { Pointing } from "../controls/pointing.js";
import { detail, hint, type Part, spoken } from "../controls/reading.js";
import { type Focus, ROW_HEIGHT, type Side } from "../lib/geometry.js";
import { memo } from "../lib/memo.js";
import { columnWidth } from "../lib/token.js";
import { Column } from "./column.js";
import { linesRamp } from "./lines-ramp.js";
import { PairStage } from "./pair-stage.js";
import { Picture } from "./picture.js";
import { savedNotes } from "./saved-notes.js";
import { SAVED_ROWS, savedWidth, writeTokens } from "./saved-tokens.js";
import type { Sheet } from "./svg.js";

const SIDES = ["left", "right"] as const;
const SAVED_GAP = 240;

/** Headings, tokens and lines, readout: what a reader sees of one layer's heads, and touches. */
export class HeadPicture extends PairStage {
  readonly picture: Picture;
  private readonly columns: Record<Side, Column>;
  private readonly widths = { left: memo(columnWidth), right: memo(columnWidth) };
  protected readonly pointing: Pointing;
  private readonly readout = document.createElement("div");
  private readonly share = document.createElement("span");
  /** The line that explains the colour and opacity of the lines. */
  readonly legendLine = Object.assign(document.createElement("p"), { className: "legend" });
  /** The picture of another head of the same tokens, where both point at what is pointed at in one. */
  twin: HeadPicture | null = null;
  private shown: Shown | undefined;

  constructor(private readonly choices: WeightsController) {
    super(choices);
    this.columns = {
      left: new Column("left", choices.tokens("left"), "Tokens that attend"),
      right: new Column("right", choices.tokens("right"), "Tokens attended to"),
    };
    this.picture = new Picture(this.columns, () => this.refresh());
    this.pointing = new Pointing(this.picture.element, this.columns, {
      point: (announce) => this.point(announce),
      select: (token, add) => choices.select(token, add),
    });
    this.readout.className = "readout";
    this.share.className = "share";
  }

  /** `legend`: where the key stands; a picture that opens below another one needs none. */
  render(legend: unknown = this.legendLine): TemplateResult {
    const { filter } = this.choices.state;
    const { left, right } = this.choices.tokensOfBoth();
    const widths = `--left:${this.widths.left(left.tokens, left.next)};--right:${this.widths.right(right.tokens)}`;
    return html`<div class="head-picture" .style=${widths}>
      <div class="headings columns ${this.picture.long ? "long" : ""}">
        <span aria-hidden="true">${filter === "all" ? "from" : `from ${filter[0]?.toUpperCase()}`}</span>
        ${this.share}
        <span aria-hidden="true">${filter === "all" ? "attends to" : `attends to ${filter[1]?.toUpperCase()}`}</span>
      </div>
      ${this.picture.element}${legend}${this.readout}
    </div>`;
  }

  get legend(): Legend {
    const { rows, cols } = this.choices.stack;
    const scene = this.scene();
    const colors = [...(scene?.colors ?? []), ...(this.twin?.shown?.colors ?? [])];
    const sides = rows === cols ? "left attends to right" : "left (target) attends to right (source)";
    return {
      text: `${this.choices.opacityText}${colors.length > 1 ? " · colour = head" : ""} · ${sides}${scene?.allowed ? SHADED : ""}`,
      ramp: scene && linesRamp({ ...scene, colors }, this.choices.host.scheme),
      heads: scene && !scene.combined && !this.twin ? scene.heads : [],
    };
  }

  /** Return the reading in words, or nothing if it is only a hint. */
  get text(): string {
    const scene = this.scene();
    const reading = scene?.focus && this.reading(scene, scene.focus);
    return reading ? spoken(reading) : "";
  }

  /** After each rendering: tokens and selection follow the state. */
  updated(): void {
    if (!this.picture.element.isConnected) return;
    const selected = this.choices.selected();
    for (const side of SIDES) {
      if (this.columns[side].show(this.choices.range(side), this.choices.tokens(side))) this.pointing.reset();
      this.columns[side].select(selected?.side === side ? selected.indices : null);
    }
    this.pointing.selected = selected;
    this.pointing.several = this.choices.several;
    this.refresh();
  }

  protected isThere(): boolean {
    this.shown = this.choices.shown();
    return this.shown !== undefined;
  }

  protected draw(): void {
    const scene = this.scene();
    const share = this.picture.show(scene) * (this.shown?.kept ?? 1) * (scene?.layer.share ?? 1);
    const { pointed } = this.pointing;
    for (const side of SIDES) this.columns[side].point(pointed?.side === side ? pointed.index : null);
    render(shareText(share), this.share);
    render(legendText(this.legend), this.legendLine);
    render(scene ? this.readoutText(scene) : this.choices.notice(), this.readout);
    if (scene) this.choices.host.drawn();
  }

  private scene(): Scene | null {
    const { shown, columns } = this;
    if (!shown) return null;
    // A preview has no numbers to read.
    const { focus, partner } = shown.layer.share < 1 ? { focus: null, partner: null } : this.pointing;
    const { contrast, across_layers } = this.choices.state;
    const across = across_layers === "rollout" ? null : across_layers;
    return {
      ...shown,
      across,
      rows: columns.left.shown,
      cols: columns.right.shown,
      focus,
      partner,
      contrast,
      allowed: this.choices.allowed(),
    };
  }

  private readoutText(scene: Scene): TemplateResult {
    if (scene.layer.share < 1) return this.choices.notice();
    if (!scene.focus) return detail(hint("a token to read its weights"), true);
    return detail(this.reading(scene, scene.focus));
  }

  private reading(scene: Scene, focus: Focus): Part[] {
    const { left, right } = this.choices.tokensOfBoth();
    if (scene.partner === null) return previewText(scene, focus, left.tokens, right.tokens);
    return pairText(scene, focus, scene.partner, left.tokens, right.tokens);
  }

  private point(announce: boolean): void {
    const { twin } = this;
    if (twin) {
      twin.pointing.elsewhere = this.pointing.here;
      twin.schedule();
    }
    this.schedule();
    if (announce) this.choices.announce();
  }

  sheet(): Sheet | null {
    const scene = this.scene();
    if (!scene) return null;
    const [rows, cols] = SIDES.map((side) => this.picture.savedRange(this.columns[side].shown, SAVED_ROWS));
    if (!rows || !cols) return null;
    const [left, right] = SIDES.map((side) => savedWidth(this.columns[side])) as [number, number];
    const height = Math.max(rows.end - rows.start, cols.end - cols.start) * ROW_HEIGHT;
    const frame = { left, right: left + SAVED_GAP, top: 0, height };
    const saved = { ...scene, rows, cols };
    return {
      width: left + SAVED_GAP + right,
      height,
      notes: savedNotes(scene, saved, this.shown?.rest ?? [], this.shown?.kept ?? 1),
      draw: (pen) => {
        this.picture.drawSheet(pen, saved, frame, right);
        const { scheme } = this.choices.host;
        writeTokens(pen, this.columns.left, rows, left - 8, scheme);
        writeTokens(pen, this.columns.right, cols, frame.right + 8, scheme);
      },
    };
  }
}
