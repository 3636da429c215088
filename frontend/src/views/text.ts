import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import textCss from "../charts/attended-text.css";
import { AttendedText, type Colors, type Written } from "../charts/attended-text.js";
import { LINE } from "../charts/marked-text.js";
import { type SignedDepths, signedDepths, signedGround } from "../charts/readable-depth.js";
import type { Sheet } from "../charts/svg.js";
import { signed } from "../charts/values.js";
import { choice } from "../controls/choice.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import type { Named, Part, Reading } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { TextMatrix, TextViewFigure, TextViewState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { json } from "../lib/json-blob.js";
import { memo } from "../lib/memo.js";
import { receivedOf, StrongestRows, type StrongRow, Transposed } from "../lib/strongest-rows.js";
import css from "./text.css";

type Direction = TextViewState["direction"];

/** The share of marks that all get the full colour where what tokens receive is shown: one may be far above the rest. */
const SATURATED = 0.01;
/** The exponent of a share of the full colour: weak weights are a little stronger than they would be, as in a heat map. */
const FAINT = 0.75;
/** A weight below this is read as none. */
const LEAST = 1e-5;
/** How many of the strongest weights are read, and how many lines of a text are saved at most. */
const [READ, SAVED] = [5, 100];

/** The opacity of a faded sink's colour, as a share of its usual one; `attention/scene.ts` has the same. */
const FADED = 0.15;
const SINKS = [
  ["show", "shown"],
  ["fade", "faded"],
  ["leave_out", "left out, the rest renormalised"],
] as const;

/** Weights by mark: those of one mark, or what each mark receives. */
interface Shown {
  direction: Direction | "received";
  marks: number[];
  values: number[];
  /** The share of the row that these weights hold and that a sink has; absent for a column. */
  kept?: number;
  sink?: number;
}

/** Running text: point at a token, and the text shows what it attends to. */
export default class TextView extends PanelView<TextViewState, TextViewFigure> {
  static readonly styles = [unsafeCSS(textCss), unsafeCSS(css)];

  private pointed: number | null = null;
  /** True once somebody points: then all rows are fetched, not only those that are needed. */
  private wanted = false;
  private readonly forced = matchMedia("(forced-colors: active)");
  private readonly running = new AttendedText({
    point: (mark, announce) => this.point(mark, announce),
    toggle: (mark) => this.choices.choose({ token: this.locked === mark ? null : this.numberOf(mark) }),
  });
  private readonly written = memo((text: Pick<Written, "texts" | "gaps">): Written => {
    const { sections, special } = this.figure;
    return { ...text, sections, special };
  });
  private readonly transposed = memo(
    (columns: number, without: boolean, ...files: StrongestRows[]): Transposed =>
      new Transposed(
        files.map(({ count, row }, n) => ({
          count,
          row: (at) => (without ? this.withoutSink(row.call(files[n], at)) : row.call(files[n], at)),
        })),
        columns,
      ),
  );
  private readonly depths = memo((ink: string, _background: string) => signedDepths(ink, this.host.scheme));

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as TextViewFigure, (figure as TextViewFigure).initial);
    this.forced.addEventListener("change", () => host.requestUpdate());
  }

  protected override resized(): void {
    super.resized();
    this.host.requestUpdate();
  }

  protected check({ layer, head, direction, token, sink }: TextViewState): void {
    const { matrices, sinks } = this.figure;
    oneOf("sink", sink, sinks ? SINKS.map(([how]) => how) : ["show"]);
    oneOf("layer", layer, [...new Set(matrices.map((each) => each.layer))]);
    oneOf(
      "head",
      head,
      matrices.filter((each) => each.layer === layer).map((each) => each.head),
    );
    oneOf("direction", direction, ["to", "from"]);
    const { text } = this;
    if (text) position("token", token, this.numberOf(text.texts.length - 1) + 1);
  }

  private get text(): Written | undefined {
    const found = this.host.blob(this.figure.text, (bytes) => json<Pick<Written, "texts" | "gaps">>(bytes));
    return found && this.written(found);
  }

  private numberOf(mark: number): number {
    return this.figure.first?.[mark] ?? mark;
  }

  private markOf(token: number): number {
    const { first } = this.figure;
    if (!first) return token;
    let mark = first.findIndex((number) => number > token);
    if (mark < 0) mark = first.length;
    return mark - 1;
  }

  private find(layer: number | null, head: number | null): TextMatrix {
    const found = this.figure.matrices.find((each) => each.layer === layer && each.head === head);
    if (!found) throw new RangeError(`layer ${layer}, head ${head}: not in this figure`);
    return found;
  }

  private get matrix(): TextMatrix {
    return this.find(this.choices.state.layer, this.choices.state.head);
  }

  private get signed(): boolean {
    return this.figure.outputs !== undefined;
  }

  /** The number of a mark's row; undefined if it has none. */
  private rowOf(mark: number): number | undefined {
    const { outputs, rows } = this.figure;
    const row = outputs ? outputs.indexOf(mark) : mark >= rows.start && mark < rows.end ? mark - rows.start : -1;
    return row < 0 ? undefined : row;
  }

  private markOfRow(row: number): number {
    return this.figure.outputs?.[row] ?? this.figure.rows.start + row;
  }

  private file(matrix: TextMatrix, number: number): StrongestRows | undefined {
    const { rows, outputs, rows_in_file: size } = this.figure;
    const count = Math.min(size, (outputs?.length ?? rows.end - rows.start) - number * size);
    const blob = matrix.files[number];
    return blob && this.host.blob(blob, (bytes) => new StrongestRows(bytes, count, this.signed));
  }

  /** All rows of a matrix; reading asks for them. */
  private files(matrix: TextMatrix): StrongestRows[] | undefined {
    const found = matrix.files.map((_, number) => this.file(matrix, number));
    return found.every((file) => file !== undefined) ? (found as StrongestRows[]) : undefined;
  }

  /** The marks that have no part in the scale of colours: those that the author ignores, and a sink that is not shown. */
  private get unscaled(): Set<number> {
    const { ignored, sinks = [] } = this.figure;
    return new Set(this.choices.state.sink === "show" ? ignored : [...ignored, ...sinks]);
  }

  /** A row without its sink. What is left is divided by all that does not go there, kept or not. */
  private withoutSink({ columns, values, kept, sink }: StrongRow): StrongRow {
    const { cols, sinks = [], combined } = this.figure;
    const isSink = (n: number) => sinks.includes(cols.start + (columns[n] as number));
    const sum = (numbers: number[]) => numbers.reduce((total, value) => total + value, 0);
    const others = values.flatMap((value, n) => (isSink(n) ? [] : value));
    const all = combined.startsWith("max") ? sum(values) / (kept || 1) : 1 - sink;
    const left = sum(others);
    const rest = Math.max(left, all - (sum(values) - left)) || 1;
    return {
      columns: columns.filter((_, n) => !isSink(n)),
      values: others.map((value) => value / rest),
      kept: left / rest,
      sink: sinks.length > 0 ? sink / rest : 0,
    };
  }

  /** What is shown of a mark, in the other direction where it has nothing in this one; undefined while it loads. */
  private shown(mark: number | null, wanted: Direction, matrix = this.matrix): Shown | undefined {
    const { cols, sinks = [] } = this.figure;
    const without = this.choices.state.sink === "leave_out";
    if (mark === null) {
      const values = this.host.blob(matrix.received, receivedOf);
      const marks = values?.map((_, n) => cols.start + n) ?? [];
      const shown = marks.filter((mark) => !without || !sinks.includes(mark));
      return (
        values && { direction: "received", marks: shown, values: shown.map((mark) => values[mark - cols.start] ?? 0) }
      );
    }
    const row = this.rowOf(mark);
    const isColumn = mark >= cols.start && mark < cols.end;
    if (row !== undefined && (wanted === "to" || !isColumn)) {
      const size = this.figure.rows_in_file;
      const stored = this.file(matrix, Math.floor(row / size))?.row(row % size);
      const found = without && stored ? this.withoutSink(stored) : stored;
      return found && { ...found, direction: "to", marks: found.columns.map((column) => cols.start + column) };
    }
    const files = this.files(matrix);
    if (!files) return undefined;
    const { rows, values } = this.transposed(cols.end - cols.start, without, ...files).column(mark - cols.start);
    return { direction: "from", marks: rows.map((each) => this.markOfRow(each)), values };
  }

  private get current(): number | null {
    return this.pointed ?? this.locked;
  }

  protected override get locked(): number | null {
    const { token } = this.choices.state;
    return token === null ? null : this.markOf(token);
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) this.choices.choose({ token: null });
    return held;
  }

  protected get where(): string {
    const { kind, combined } = this.figure;
    const { layer, head } = this.choices.state;
    const upTo = combined === "attention rollout" ? "up to " : "";
    const parts = [combined, layer === null ? "" : `${upTo}layer ${layer}`, head === null ? "" : `head ${head}`];
    parts.push(this.sinkText);
    const words = [kind, ...parts.filter(Boolean)].join(", ");
    return (words[0] as string).toUpperCase() + words.slice(1);
  }

  /** "without the sink “[CLS]” “[SEP]”, the rest renormalised" */
  private get sinkText(): string {
    const { sink } = this.choices.state;
    const { sinks = [], sink_texts: texts = [] } = this.figure;
    if (sink === "show" || (this.current === null && sinks.length === 0)) return "";
    const name = ["the sink", ...texts.map((text) => `“${text}”`)].join(" ");
    if (sink === "fade") return `${name} faded`;
    return `without ${name}${this.current === null ? "" : ", the rest renormalised"}`;
  }

  protected override get how(): string[] {
    const { current, text } = this;
    if (current === null || !text) return [];
    return [`${this.verb(this.choices.state.direction)} “${text.texts[current]?.trim()}”`];
  }

  private verb(direction: Direction): string {
    if (this.signed) return direction === "to" ? "what explains" : "what is explained by";
    return direction === "to" ? "what is attended to by" : "what attends to";
  }

  protected override controls(): unknown {
    const { figure, choices, signed } = this;
    const { layer, head, direction, sink } = choices.state;
    const layers = [...new Set(figure.matrices.map((each) => each.layer))] as number[];
    const heads = figure.matrices.filter((each) => each.layer === layer).map((each) => each.head) as number[];
    const named = (numbers: number[]) => numbers.map((number) => [number, String(number)] as const);
    const directions = signed
      ? ([
          ["to", "what explains it"],
          ["from", "what it explains"],
        ] as const)
      : ([
          ["to", "what it attends to"],
          ["from", "what attends to it"],
        ] as const);
    return [
      layers.length > 1
        ? choice("Layer", layer as number, named(layers), (layer) => choices.choose({ layer }))
        : nothing,
      heads.length > 1 ? choice("Head", head as number, named(heads), (head) => choices.choose({ head })) : nothing,
      choice("Of a token", direction, directions, (direction) => choices.choose({ direction })),
      figure.sinks
        ? choice("Sink", sink, figure.sinks.length > 0 ? SINKS : [SINKS[0], SINKS[2]], (sink) =>
            choices.choose({ sink }),
          )
        : nothing,
      figure.combined ? html`<span class="how">${figure.combined}</span>` : nothing,
    ];
  }

  protected legend(): string {
    const { current, signed } = this;
    const what = signed ? "Attribution" : "Attention";
    if (current === null) return `${what} that a token receives, on average · point at one to see its own`;
    return `${what} · the full colour is the largest`;
  }

  protected override ramp(): Ramp | null {
    const shown = this.shown(this.current, this.choices.state.direction);
    if (!shown) return null;
    const most = this.most(shown);
    const depths = this.depths(this.ink, this.host.scheme.background);
    const over = shown.direction === "received" && Math.max(...shown.values) > most ? "≥ " : "";
    return this.signed && shown.direction !== "received"
      ? ramp([signed(-most), signed(most)], (share) =>
          this.color(Math.abs(2 * share - 1) ** FAINT * Math.sign(share - 0.5), depths),
        )
      : ramp(["0", `${over}${signed(most)}`], (share) => this.color(share ** FAINT, depths));
  }

  protected override notes(): string {
    const { top_k, rows, cols, ignored, sink } = this.figure;
    const count = Math.max(rows.end - rows.start, cols.end - cols.start);
    const parts = ["Weak weights are coloured a little more than in proportion."];
    if (count > top_k) parts.push(`Of each token the ${top_k} strongest weights are kept.`);
    if (ignored.length > 0) parts.push(`${ignored.length} tokens have no part in the scale of colours.`);
    if (sink) parts.push("A part of the attention goes to no token.");
    return parts.join(" ");
  }

  protected body(): unknown {
    return this.running.element;
  }

  private get ink(): string {
    return getComputedStyle(this.running.element).color;
  }

  private color(share: number, depths: SignedDepths): string {
    return signedGround(share, depths, this.host.scheme);
  }

  /** The size of a weight that gets the full colour. */
  private most({ direction, marks, values }: Shown): number {
    const ignored = this.unscaled;
    const sizes = values.filter((_, n) => !ignored.has(marks[n] as number)).map(Math.abs);
    sizes.sort((a, b) => a - b);
    const most = sizes.at(-1) ?? 0;
    return direction === "received" ? sizes[Math.floor((sizes.length - 1) * (1 - SATURATED))] || most : most;
  }

  private colors(): Colors {
    const { current, ink, host } = this;
    const depths = this.depths(ink, host.scheme.background);
    const shown = this.shown(current, this.choices.state.direction);
    const shares = new Map<number, number>();
    if (shown) {
      const most = this.most(shown);
      const { ignored, sinks } = this.figure;
      const fades = this.choices.state.sink === "fade" ? sinks : [];
      shown.marks.forEach((mark, n) => {
        const value = shown.values[n] as number;
        const share = Math.min(1, Math.abs(value) / most) ** FAINT * (fades?.includes(mark) ? FADED : 1);
        if (most > 0 && !ignored.includes(mark)) shares.set(mark, value < 0 ? -share : share);
      });
    }
    return { shares, color: (share) => this.color(share, depths), ink, lines: this.forced.matches, current };
  }

  protected draw(): boolean {
    const { text, running, current, matrix } = this;
    if (!text) return false;
    if (this.wanted) this.files(matrix);
    running.show(text);
    running.label = `${text.texts.length} tokens; arrow keys read them, with Control word by word`;
    running.paint(this.colors());
    if (!this.host.isDrawn && this.locked !== null) {
      running.place = this.locked;
      running.reveal(this.locked);
    }
    return this.shown(current, this.choices.state.direction) !== undefined;
  }

  private point(mark: number | null, announce: boolean): void {
    if (mark === this.pointed && !announce) return;
    const legend = (mark === null) !== (this.pointed === null) && this.locked === null;
    this.pointed = mark;
    if (!this.wanted) {
      this.wanted = true;
      this.files(this.matrix);
    }
    if (this.host.isDrawn) this.running.paint(this.colors());
    this.tell(announce);
    if (legend) this.host.requestUpdate();
  }

  protected notice(): TemplateResult {
    const { files, received } = this.matrix;
    return this.host.notice(this.signed ? "attributions" : "weights", this.current === null ? [received] : files);
  }

  /** A mark in a sentence, with its number if its text occurs more than once. */
  private named(mark: number): Named {
    const texts = this.text?.texts ?? [];
    const token = texts[mark] ?? "";
    return { token, at: texts.indexOf(token) === texts.lastIndexOf(token) ? null : this.numberOf(mark) };
  }

  private strongest({ marks, values }: Shown): [number, number][] {
    const pairs = marks.map((mark, n): [number, number] => [mark, values[n] as number]);
    return pairs.filter(([, value]) => Math.abs(value) >= LEAST).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a));
  }

  protected reading(): Reading | null {
    const { current, text } = this;
    const shown = this.shown(current, this.choices.state.direction);
    if (!shown || !text) return null;
    const list = this.strongest(shown).slice(0, READ);
    const listed = list.flatMap(([mark, value], n): Part[] => [
      n ? ", " : "",
      this.quoted(mark),
      ` ${this.number(value)}`,
    ]);
    if (current === null) {
      const what = this.signed ? "Most attribution to" : "Most attention is received by";
      return { lines: [[`${what} `, ...listed]] };
    }
    const name: Part = ["“", { token: text.texts[current] as string, at: null }, `”, token ${this.numberOf(current)}`];
    if (list.length === 0) return { lines: [[name, this.nothing(shown)]] };
    return { lines: [[name, this.says(shown), ...listed], ...this.about(shown)] };
  }

  private quoted(mark: number): Part {
    return ["“", this.named(mark), "”"];
  }

  private number(value: number): string {
    if (this.signed) return signed(value);
    return value < LEAST ? "0" : value.toPrecision(2);
  }

  private nothing({ direction }: Shown): string {
    if (direction === "to") return ": no weights";
    const { sink } = this.choices.state;
    const isLeft = sink === "leave_out" && this.figure.sinks?.includes(this.current as number);
    return isLeft ? ": the sink, which is left out" : ": none of the weights that are kept";
  }

  private says({ direction }: Shown): string {
    if (this.signed) return direction === "to" ? ": explained most by " : ": matters most to ";
    return direction === "to" ? ": attends most to " : ": is attended to most by ";
  }

  /** What is shown of all weights. */
  private about({ direction, kept = 1, sink = 0, marks }: Shown): Part[][] {
    const { top_k, cols } = this.figure;
    if (direction !== "to") {
      const cut = cols.end - cols.start > top_k;
      return cut ? [[`Shown: ${marks.length} tokens that have it among their ${top_k} strongest`]] : [];
    }
    const lost = sink >= 0.005 ? `${percent(sink)} of its attention goes to no token` : "";
    const what = this.signed ? "attribution" : "attention";
    const shown = cols.end - cols.start > top_k ? `Shown: ${percent(kept)} of its ${what}, ${marks.length} tokens` : "";
    const said = [shown, lost].filter(Boolean).join(" · ");
    return said ? [[said]] : [];
  }

  protected sheet(): Sheet | null {
    const { running, text } = this;
    if (!text) return null;
    const { from, to, all } = running.seen;
    const [first, last] = all <= SAVED ? [0, all] : [from, to];
    const colors = this.colors();
    const boxes = running.boxesOf(first, last);
    return {
      width: running.element.clientWidth,
      height: (last - first) * LINE,
      notes: all <= SAVED ? [] : [`Lines ${first + 1} to ${last} of ${all}`],
      draw: (pen) => {
        const y = (line: number) => (line - first) * LINE;
        for (const { mark, line, left, right } of boxes) {
          const share = colors.shares.get(mark);
          if (share) {
            pen.fillStyle = colors.color(share);
            pen.fillRect(left, y(line) + 1, right - left, LINE - 2);
          }
          if (mark === colors.current) {
            pen.fillStyle = pen.strokeStyle;
            pen.fillRect(left, y(line) + LINE - 3, right - left, 2);
          }
        }
        const written = new Set<number>();
        const special = new Set(text.special);
        for (const { mark, line, left } of boxes) {
          const said = (text.texts[mark] as string).trim();
          const size = special.has(mark) ? 13 : 15; // as on the page
          if (said && !written.has(mark)) pen.text(said, left, y(line) + 17, { size });
          written.add(mark);
        }
        for (const { label, line } of running.labels())
          if (line >= first && line < last) pen.text(label, 0, y(line) + 17, { size: 12, weight: 600 });
      },
    };
  }

  protected table(): Table | null {
    const { current, text } = this;
    const shown = this.shown(current, this.choices.state.direction);
    if (!shown || !text) return null;
    const rows = shown.marks.map((mark, n): Part[] => [
      [`${this.numberOf(mark)} `, { token: text.texts[mark] as string, at: null }],
      this.number(shown.values[n] as number),
    ]);
    const received = shown.direction === "received";
    const caption = received
      ? `${this.where}: what tokens receive, on average`
      : `${this.where}: ${this.verb(shown.direction as Direction)} “${text.texts[current as number]?.trim()}”`;
    const columns = ["token", this.signed ? "attribution" : "weight"];
    return largest({ caption, columns, rows }, shown.values.map(Math.abs), "largest");
  }

  /**
   * Returns the weights of one token (default: the one that is held; without one, what each receives), one number for
   * each mark of the text; those that are not kept are 0.
   */
  async values(request: Partial<TextViewState> = {}): Promise<object> {
    const { layer, head, direction, token } = { ...this.choices.state, ...request };
    const matrix = this.find(layer, head);
    const text = await this.loaded("text", () => this.text);
    const mark = token === null ? null : this.markOf(token);
    const shown = await this.loaded("weights", () => this.shown(mark, direction, matrix));
    const weights = text.texts.map(() => 0);
    shown.marks.forEach((each, n) => {
      weights[each] = shown.values[n] as number;
    });
    const { kept, sink } = shown;
    return { layer, head, direction: shown.direction, token, tokens: [...text.texts], weights, kept, sink };
  }
}

const percent = (share: number): string => `${Math.floor(100 * share)}%`;
