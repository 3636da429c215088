import { html, nothing, render, type TemplateResult, unsafeCSS } from "lit";
import { headSelect, howText, layerSelect, pairSelect } from "../attention/controls.js";
import type { OptionsOf } from "../attention/options.js";
import { percentText } from "../attention/readout.js";
import { SHADED } from "../attention/scene.js";
import { AttentionView } from "../attention/view.js";
import type { Shown } from "../attention/weight-pipeline.js";
import { WeightsView } from "../attention/weights-view.js";
import {
  barred,
  digitsOf,
  type Heat,
  heatPicture,
  inksOn,
  scaleOf,
  shade,
  toCanvas,
  valueText,
} from "../charts/heat.js";
import { HeatMap, type MatrixCell } from "../charts/heat-map.js";
import type { Sheet, SvgPen } from "../charts/svg.js";
import { ground } from "../charts/tint.js";
import { type Legend, legendText, ramp } from "../controls/legend.js";
import { detail, hint, named, type Part, spoken } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { indices } from "../lib/geometry.js";
import { memo } from "../lib/memo.js";
import { plainText } from "../lib/token.js";
import css from "./matrix.css";

/** Controls and readout. */
const AROUND = 40 + 40;
const LOADING_MS = 150;

/** One head as a heat map: tokens that attend down its side, tokens attended to along its top. */
export default class MatrixView extends WeightsView {
  static override readonly styles = [AttentionView.styles, unsafeCSS(css)];

  private readonly map = new HeatMap(
    { point: (announce) => this.point(announce), toggle: (cell) => this.toggle(cell) },
    () => this.refresh(),
  );
  private readonly readout = Object.assign(document.createElement("div"), { className: "readout" });
  private readonly legendLine = Object.assign(document.createElement("p"), { className: "legend" });
  private readonly scaled = memo(scaleOf);
  private readonly inked = memo(inksOn);
  private shown: Shown | undefined;
  private loadingTimer = 0;

  hostConnected(): void {
    this.map.connect();
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.map.disconnect();
    clearTimeout(this.loadingTimer);
  }

  protected controls(): unknown {
    const { choices } = this;
    return [layerSelect(choices), headSelect(choices), pairSelect(choices), howText(choices), this.zoomButton()];
  }

  protected options(): OptionsOf {
    const heat = this.heat();
    const legend = heat ? this.legend(heat) : { text: "" };
    return { heads: true, tokens: false, legend, sheet: () => this.sheet() };
  }

  protected body(): unknown {
    return [this.map.element, this.legendLine, this.readout, this.table()];
  }

  protected summary(): string[] {
    const heat = this.heat();
    const reading = heat && this.reading(heat);
    const locked = this.choices.state.cell ? ", locked" : "";
    return [`${this.choices.where}${locked}`, reading ? spoken(reading) : ""];
  }

  protected free(): boolean {
    const locked = this.choices.state.cell != null;
    if (locked) this.choices.choose({ cell: null });
    return locked;
  }

  private zoomButton(): TemplateResult | typeof nothing {
    const { zoom } = this.choices.state;
    const { element } = this.map;
    const needless = element.clientWidth > 0 && this.map.fits(element.clientWidth, this.room(AROUND));
    if (needless && zoom === "fit") return nothing;
    const enlarged = zoom === "cells";
    const change = () => this.choices.choose({ zoom: enlarged ? "fit" : "cells" });
    return html`<button aria-pressed=${enlarged} @click=${change}>Zoom</button>`;
  }

  hostUpdated(): void {
    if (!this.map.element.isConnected) return;
    const { choices } = this;
    const { left, right } = choices.tokensOfBoth();
    const { cell, filter } = choices.state;
    const [from, to] = filter === "all" ? ["", ""] : [...filter.toUpperCase()].map((name) => ` ${name}`);
    const names = [`from${from} ↓`, `attends to${to} →`];
    this.map.arrange(left, right, choices.range("left"), choices.range("right"), names);
    const [row, col] = [left.slots[cell?.row ?? -1] ?? -1, right.slots[cell?.col ?? -1] ?? -1];
    this.map.locked = row >= 0 && col >= 0 ? { row, col } : null;
    this.refresh();
  }

  private refresh(): void {
    if (!this.map.visible) return;
    this.shown = this.choices.shown();
    clearTimeout(this.loadingTimer);
    if (this.shown) this.draw();
    else this.loadingTimer = window.setTimeout(() => this.draw(), LOADING_MS);
  }

  private draw(): void {
    const heat = this.heat();
    this.map.show(heat, this.choices.state.zoom === "cells", this.room(AROUND));
    if (heat) render(legendText(this.legend(heat)), this.legendLine);
    this.tell(heat);
    if (heat) this.host.drawn();
  }

  private heat(): Heat | null {
    const { shown } = this;
    if (!shown) return null;
    const { rows, cols } = this.map.layout;
    const [head = 0, color = "#000000"] = [shown.heads[0], shown.colors[0]];
    const { faded } = shown;
    const scale = this.scaled(shown.layer, head, rows, cols, faded);
    const { contrast } = this.choices.state;
    const inks = this.inked(color, scale.most, contrast, this.host.scheme);
    return {
      layer: shown.layer,
      head,
      color,
      contrast,
      rows,
      cols,
      scale,
      faded,
      inks,
      allowed: this.choices.allowed(),
    };
  }

  private toggle({ row, col }: MatrixCell): void {
    const { left, right } = this.choices.tokensOfBoth();
    const { locked } = this.map;
    const same = locked?.row === row && locked.col === col;
    const cell = { row: left.groups[row]?.[0] as number, col: right.groups[col]?.[0] as number };
    this.choices.choose({ cell: same ? null : cell });
  }

  private point(announce: boolean): void {
    this.tell(this.heat());
    if (announce) this.choices.announce();
  }

  private tell(heat: Heat | null): void {
    render(heat ? this.detail(heat) : this.choices.notice(), this.readout);
  }

  private detail(heat: Heat): TemplateResult {
    const reading = this.reading(heat);
    return reading ? detail(reading) : detail(hint("a cell to read its weight"), true);
  }

  /** The reading of the cell that is pointed at or locked; null if there is none. */
  private reading({ layer, head, allowed }: Heat): Part[] | null {
    const { cell } = this.map;
    const { left, right } = this.choices.tokensOfBoth();
    if (!cell || cell.row >= left.tokens.length || cell.col >= right.tokens.length) return null;
    const weight = layer.weight(head, cell.row, cell.col);
    return [
      named(left.tokens, cell.row),
      " → ",
      named(right.tokens, cell.col),
      `: ${weight.toFixed(3)}${allowed?.(cell.row, cell.col) === false ? ", not allowed" : ""}`,
    ];
  }

  private legend({ color, contrast, scale, allowed }: Heat): Legend {
    const kept = this.shown?.kept ?? 1;
    const share = kept < 1 ? `${percentText(kept)} of the weight drawn · ` : "";
    const { most, exceeded } = scale;
    const end = `${exceeded ? "≥ " : ""}${most.toFixed(digitsOf(scale))}`;
    const { scheme } = this.host;
    return {
      text: `${this.choices.opacityText} · ${share}rows attend to columns${allowed ? SHADED : ""}`,
      ramp: ramp(["0", end], (share) => ground(color, shade(share, 1, contrast), scheme)),
    };
  }

  private sheet(): Sheet | null {
    const heat = this.heat();
    if (!heat) return null;
    const { size, margin, rows, cols } = this.map.layout;
    const kept = this.shown?.kept ?? 1;
    const [width, height] = [(cols.end - cols.start) * size[0], (rows.end - rows.start) * size[1]];
    return {
      width: margin.left + width,
      height: margin.top + height,
      notes: kept < 1 ? [`${percentText(kept)} of the weight drawn`] : [],
      draw: (pen) => {
        pen.image(toCanvas(heatPicture(heat, rows, cols)).toDataURL(), margin.left, margin.top, width, height);
        Object.assign(pen, { fillStyle: inks(this.host.scheme.dark, this.host.scheme.pale).ink, globalAlpha: 0.08 });
        for (const [row, start, end] of heat.allowed ? barred(heat.allowed, rows, cols) : [])
          pen.fillRect(
            margin.left + (start - cols.start) * size[0],
            margin.top + (row - rows.start) * size[1],
            (end - start) * size[0],
            size[1],
          );
        pen.globalAlpha = 1;
        this.writeTokens(pen);
        if (this.map.roomy) this.write(pen, heat);
      },
    };
  }

  private write(pen: SvgPen, heat: Heat): void {
    const { size, margin, rows, cols } = this.map.layout;
    for (const row of indices(rows))
      for (const col of indices(cols)) {
        const [text, color] = valueText(heat, row, col);
        const [x, y] = [
          margin.left + (col - cols.start + 0.5) * size[0],
          margin.top + (row - rows.start + 0.5) * size[1],
        ];
        if (text) pen.text(text, x, y + 4, { anchor: "middle", size: 11, ...(color ? { color } : {}) });
      }
  }

  private writeTokens(pen: SvgPen): void {
    const { size, margin, rows, cols, names } = this.map.layout;
    const [wide, tall] = size;
    const { left, right } = this.choices.tokensOfBoth();
    const { ink, pale } = inks(this.host.scheme.dark, this.host.scheme.pale);
    const every = Math.ceil(12 / tall);
    const color = (special: number[], index: number) => (special.includes(index) ? pale : ink);
    pen.text(names[0] as string, margin.left - 6, margin.top - 9, { anchor: "end", size: 12, color: pale });
    pen.text(names[1] as string, margin.left, 12, { size: 12, color: pale });
    for (let row = rows.start; row < rows.end; row += every) {
      const style = { anchor: "end", size: 12, color: color(left.special, row) } as const;
      pen.text(
        plainText(left.tokens[row] as string),
        margin.left - 6,
        margin.top + (row - rows.start + 0.5) * tall + 4,
        style,
      );
    }
    for (let col = cols.start; col < cols.end; col += Math.ceil(12 / wide)) {
      const style = { size: 12, color: color(right.special, col), upright: true } as const;
      pen.text(
        plainText(right.tokens[col] as string),
        margin.left + (col - cols.start + 0.5) * wide + 4,
        margin.top - 6,
        style,
      );
    }
  }
}
