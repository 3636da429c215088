import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import type { Sheet } from "../charts/svg.js";
import { accent, DEEPEST, ground, tint } from "../charts/tint.js";
import gridCss from "../charts/token-grid.css";
import { type Grid, type GridCell, type GridPlace, TokenGrid } from "../charts/token-grid.js";
import { gridSheet } from "../charts/token-grid-sheet.js";
import topCss from "../charts/top.css";
import { percent, type Top, topLines, topList } from "../charts/top.js";
import { choice } from "../controls/choice.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import type { Part, Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure, Sequence } from "../element/figure.js";
import type { LensFigure, LensState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { json } from "../lib/json-blob.js";
import { memo } from "../lib/memo.js";
import { plainText } from "../lib/token.js";
import css from "./lens.css";

const SHOWS = { probability: "probability", rank: "rank", entropy: "entropy", kl: "KL to the model" } as const;
const CELLS = ["top", "actual", "watch"] as const;
const WRITTEN: [string, string][] = [
  ["top", "top token"],
  ["actual", "rank of the actual token"],
];
/** A ground paler than this says nothing. */
const LEAST = 0.03;

type Ranked = [probability: number, rank: number];

/** The cells by row and position; row 0 is the embeddings. */
interface Lens {
  vocabulary: string[];
  top: number[][][];
  probabilities: number[][][];
  entropy: number[][];
  kl: number[][];
  actual: (Ranked | null)[][];
  watched: Ranked[][][];
}

/** Layers × positions: what the model would say if a layer were its last. */
export default class LensView extends PanelView<LensState, LensFigure> {
  static readonly styles = [unsafeCSS(topCss), unsafeCSS(gridCss), unsafeCSS(css)];

  private pointed: GridPlace | null = null;
  private readonly grid = new TokenGrid("Logit lens: layers by positions, the last layer on top", {
    point: (place, announce) => {
      if (place?.row === this.pointed?.row && place?.col === this.pointed?.col) return;
      this.pointed = place;
      this.mark();
      this.tell(announce);
    },
    choose: ({ row, col }) => {
      const { layer, position } = this.choices.state;
      const same = layer === this.layerOf(row) && position === col;
      this.choices.choose(same ? { layer: null, position: null } : { layer: this.layerOf(row), position: col });
    },
  });
  private readonly gridOf = memo((figure: LensFigure) => gridOf(figure));
  private readonly most = memo((lens: Lens) => lens.kl.flat().reduce((most, kl) => Math.max(most, kl), 0));

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as LensFigure, (figure as LensFigure).initial);
    const { top_k, watch } = this.figure;
    this.readout.style.minHeight = `${24 * (top_k + 1 + Math.min(1, watch.length)) + 12}px`;
  }

  protected check({ show, cells, watched, layer, position: at }: LensState): void {
    const { layers, watch } = this.figure;
    oneOf("show", show, Object.keys(SHOWS));
    oneOf("cells", cells, watch.length > 0 ? CELLS : CELLS.slice(0, 2));
    position("watched", watched, Math.max(1, watch.length));
    if (layer !== null && !(Number.isInteger(layer) && layer >= -1 && layer < layers))
      throw new RangeError(`layer ${layer}: not a number from -1 (the embeddings) to ${layers - 1}`);
    position("position", at, this.tokens.length);
    if ((layer === null) !== (at === null)) throw new RangeError("layer and position: one without the other");
  }

  private get tokens(): string[] {
    return (this.figure.sequences[this.figure.read] as Sequence).tokens;
  }

  private get lens(): Lens | undefined {
    return this.host.blob(this.figure.lens, (bytes) => json<Lens>(bytes));
  }

  /** The grid's first row is the last layer. */
  private layerOf(row: number): number {
    return this.figure.layers - 1 - row;
  }

  protected get where(): string {
    return this.figure.raw ? "Logit lens without the final norm (raw)" : "Logit lens";
  }

  private rankOf(watched: number): string {
    return `rank of “${plainText(this.figure.watch[watched] as string)}”`;
  }

  protected override get how(): string[] {
    const { cells, show, watched } = this.choices.state;
    return [
      cells === "watch" ? this.rankOf(watched) : (new Map(WRITTEN).get(cells) as string),
      `colour: ${SHOWS[show]}`,
    ];
  }

  protected override controls(): unknown {
    const { raw, watch } = this.figure;
    const { cells, show, watched } = this.choices.state;
    const shown = [...WRITTEN, ...watch.map((_, i) => [`watch ${i}`, this.rankOf(i)])] as [string, string][];
    const choose = (value: string) => {
      const [cells, number = "0"] = value.split(" ");
      this.choices.choose({ cells: cells as LensState["cells"], watched: Number(number) });
    };
    const colours = Object.entries(SHOWS) as [LensState["show"], string][];
    return html`${choice("Cells", cells === "watch" ? `watch ${watched}` : cells, shown, choose)}
    ${choice("Colour", show, colours, (show) => this.choices.choose({ show }))}
    ${raw ? html`<span class="how">raw: without the final norm</span>` : nothing}`;
  }

  protected legend(): string {
    const { cells, show } = this.choices.state;
    const whose = cells === "watch" ? "the watched token" : "the actual token";
    const colour = {
      probability: `Probability of the ${cells === "top" ? "top token" : whose.slice(4)}`,
      rank: `Rank of ${whose}`,
      entropy: "Entropy in nats",
      kl: "KL divergence from the model’s own distribution, in nats",
    }[show];
    return `${colour} · last layer on top`;
  }

  protected override ramp(): Ramp {
    const { lens } = this;
    const { scheme } = this.host;
    const ends: Record<LensState["show"], Ramp["ends"]> = {
      probability: ["0%", "100%"],
      rank: ["last", "first"],
      entropy: ["0", Math.log(this.figure.vocabulary).toFixed(1)],
      kl: ["0", (lens ? this.most(lens) : 0).toFixed(1)],
    };
    return ramp(ends[this.choices.state.show], (share) => ground(accent(scheme), DEEPEST * share, scheme));
  }

  protected body(): unknown {
    return this.grid.element;
  }

  protected draw(): boolean {
    this.grid.show(this.gridOf(this.figure));
    const { lens } = this;
    if (!lens) return false;
    this.grid.paint((place) => this.cell(place, lens));
    this.mark();
    return true;
  }

  protected override get locked(): GridPlace | null {
    const { layer, position } = this.choices.state;
    return layer === null || position === null ? null : { row: this.layerOf(layer), col: position };
  }

  private mark(): void {
    this.grid.mark(this.read, this.locked);
  }

  /** The token whose probability or rank the cells show: the actual one, or the watched one. */
  private ranked(lens: Lens, row: number, col: number): Ranked | null {
    const { cells, watched } = this.choices.state;
    return (cells === "watch" ? lens.watched[row]?.[col]?.[watched] : lens.actual[row]?.[col]) ?? null;
  }

  private cell({ row: line, col }: GridPlace, lens: Lens): GridCell {
    const { cells, show } = this.choices.state;
    const row = this.layerOf(line) + 1;
    const top = this.top(lens, row, col);
    const ranked = this.ranked(lens, row, col);
    const most = Math.log(this.figure.vocabulary);
    const share = {
      probability: () => (cells === "top" ? (top.probabilities[0] as number) : (ranked?.[0] ?? 0)),
      rank: () => (ranked ? 1 - Math.log(ranked[1]) / most : 0),
      entropy: () => (lens.entropy[row]?.[col] ?? 0) / most,
      kl: () => (lens.kl[row]?.[col] ?? 0) / (this.most(lens) || 1),
    }[show]();
    const text = cells === "top" ? (top.tokens[0] as string) : String(ranked?.[1] ?? "–");
    return { text, ...tint(accent(this.host.scheme), share < LEAST ? 0 : DEEPEST * share, this.host.scheme) };
  }

  private top({ vocabulary, top, probabilities }: Lens, row: number, col: number): Top {
    const ids = top[row]?.[col] as number[];
    return { tokens: ids.map((id) => vocabulary[id] as string), probabilities: probabilities[row]?.[col] as number[] };
  }

  private actualToken(col: number): string | null {
    const { expected } = this.figure;
    return (expected ? expected[col] : this.tokens[col]) ?? null;
  }

  protected notice(): TemplateResult {
    return this.host.notice("lens", [this.figure.lens]);
  }

  /** The cell that is read: pointed at, held, or the model's answer at the last position. */
  private get read(): GridPlace {
    return this.pointed ?? this.locked ?? { row: 0, col: this.tokens.length - 1 };
  }

  protected reading(): Reading | null {
    const { lens } = this;
    if (!lens) return null;
    const { row: line, col } = this.read;
    const row = this.layerOf(line) + 1;
    const [actual, ranked] = [this.actualToken(col), lens.actual[row]?.[col]];
    const told = (token: string, [probability, rank]: Ranked): Part[] => [
      { token, at: null },
      ` ${percent(probability)}, rank ${rank}`,
    ];
    const watched = this.figure.watch.map(
      (token, i): Part => [i ? " · " : "Watched: ", told(token, lens.watched[row]?.[col]?.[i] as Ranked)],
    );
    const found = this.top(lens, row, col);
    const at = `${layerName(row)}, ${this.figure.expected ? "after" : "at"} ${col} `;
    const spread = ` · entropy ${lens.entropy[row]?.[col]?.toFixed(2)} · KL ${lens.kl[row]?.[col]?.toFixed(2)}`;
    const known: Part = actual !== null && ranked ? [" · ", told(actual, ranked)] : "";
    return {
      lines: [
        [at, { token: this.tokens[col] as string, at: null }, known, spread],
        ...(watched.length ? [watched] : []),
      ],
      list: topList(found, accent(this.host.scheme), actual ?? undefined),
      listed: topLines(found),
    };
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ layer: null, position: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { lens } = this;
    if (!lens) return null;
    const { dark, pale } = this.host.scheme;
    return gridSheet(this.gridOf(this.figure), (place) => this.cell(place, lens), inks(dark, pale));
  }

  /** A row a position, a column a layer: what the cells say, and what their colours do. */
  protected table(): Table | null {
    const { lens, tokens } = this;
    if (!lens) return null;
    const { cells, show, watched } = this.choices.state;
    const layers = Array.from({ length: this.figure.layers + 1 }, (_, row) => row);
    const cell = (row: number, col: number): Part => {
      const [top, ranked] = [this.top(lens, row, col), this.ranked(lens, row, col)];
      const shade = show === "entropy" || show === "kl" ? `, ${lens[show][row]?.[col]?.toFixed(2)}` : "";
      if (cells === "top")
        return [{ token: top.tokens[0] as string, at: null }, ` ${percent(top.probabilities[0] as number)}${shade}`];
      return ranked ? `rank ${ranked[1]}, ${percent(ranked[0])}${shade}` : "–";
    };
    const whose = {
      top: "the likeliest",
      actual: "the actual token",
      watch: `“${plainText(this.figure.watch[watched] ?? "")}”`,
    };
    const shade = show === "entropy" || show === "kl" ? ` and ${SHOWS[show]}` : "";
    const table = {
      caption: `${this.where}: ${whose[cells]}${shade} at each position`,
      columns: ["token", "position", ...layers.map(layerName)],
      rows: tokens.map((token, col): Part[] => [
        { token, at: null },
        String(col),
        ...layers.map((row) => cell(row, col)),
      ]),
    };
    const sure = tokens.map((_, col) => this.top(lens, this.figure.layers, col).probabilities[0] as number);
    return largest(table, sure, "surest positions");
  }

  /** Returns the values of one cell, of all positions of a layer, or of all layers, the embeddings first. */
  async values({ layer, position: at }: { layer?: number; position?: number } = {}): Promise<object> {
    const lens = await this.loaded("lens", () => this.lens);
    const { state } = this.choices;
    this.check({ ...state, layer: layer ?? 0, position: at ?? 0 });
    const row = (layer: number) =>
      at === undefined ? this.tokens.map((_, col) => this.value(lens, layer, col)) : this.value(lens, layer, at);
    return layer === undefined ? Array.from({ length: this.figure.layers + 1 }, (_, i) => row(i - 1)) : row(layer);
  }

  private value(lens: Lens, layer: number, col: number): object {
    const row = layer + 1;
    const [probability = null, rank = null] = lens.actual[row]?.[col] ?? [];
    return {
      ...{ layer, position: col, token: this.tokens[col], actual: this.actualToken(col), probability, rank },
      ...{ entropy: lens.entropy[row]?.[col], kl: lens.kl[row]?.[col], top: this.top(lens, row, col) },
      watched: this.figure.watch.map((token, i) => {
        const found = lens.watched[row]?.[col]?.[i];
        return { token, probability: found?.[0], rank: found?.[1] };
      }),
    };
  }
}

/** Row 0 is what the first layer reads. */
const layerName = (row: number) => (row === 0 ? "embeddings" : `layer ${row - 1}`);

function gridOf({ layers, expected, sequences, read }: LensFigure): Grid {
  const { tokens, special } = sequences[read] as Sequence;
  return {
    rows: Array.from({ length: layers + 1 }, (_, i) => layerName(layers - i)),
    above: expected && { name: "actual", tokens: expected },
    below: { name: "input", tokens, special },
  };
}
