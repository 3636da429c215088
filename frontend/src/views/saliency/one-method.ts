import { type TemplateResult, unsafeCSS } from "lit";
import flowCss from "../../charts/flow.css";
import { type Bar, Flow, type FlowGroup, groupsOf, type Paint } from "../../charts/flow.js";
import { flowSheet } from "../../charts/flow-sheet.js";
import type { Sheet } from "../../charts/svg.js";
import { DEEPEST, ground, signedColor, signedTint } from "../../charts/tint.js";
import { percent } from "../../charts/top.js";
import { choice } from "../../controls/choice.js";
import { type Ramp, ramp } from "../../controls/legend.js";
import { PanelView } from "../../controls/panel-view.js";
import { named, type Part, type Reading } from "../../controls/reading.js";
import { inks } from "../../controls/save.js";
import { largest, type Table } from "../../controls/table.js";
import type { Figure } from "../../element/figure.js";
import type { Output, SaliencyFigure, SaliencyState } from "../../element/figure-data.js";
import type { ViewHost } from "../../element/view.js";
import { oneOf, position } from "../../lib/checks.js";
import { memo } from "../../lib/memo.js";
import { Scaled } from "../../lib/packed.js";
import { plainText } from "../../lib/token.js";
import css from "./one-method.css";

const STYLES = ["background", "bars"] as const;

/** A shown token: its index among the inputs, and among the outputs. */
interface Place {
  input: number | null;
  output: number | null;
}

/** Three digits, with a sign that is as long as the digits. */
const short = (value: number): string =>
  (value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : String(Number(value.toPrecision(3)))).replace(
    /-/g,
    "−",
  );

/** px of the bars' room, of both signs together, of the line that they stand on, and of a bar's width. */
const [ROOM, ZERO, BAR] = [28, 1, 12];
const STRIP = { height: ROOM + ZERO + 2, above: false };
const NO_STRIP = { height: 0, above: false };

/** The sequences that are read, as their tokens are counted. */
const READ = ["text", "target"];

/** A text's tokens, each with what it adds to the output that is chosen. */
export class OneMethodView extends PanelView<SaliencyState, SaliencyFigure> {
  static readonly styles = [unsafeCSS(flowCss), unsafeCSS(css)];

  private pointed: number | null = null;
  /** The output that was pointed at last. */
  private near = 0;
  private readonly flow = new Flow("Tokens", {
    point: (index, announce) => this.point(index, announce),
    choose: (index) => {
      const { output } = this.places(this.figure)[index] as Place;
      if (output === null) return;
      this.near = output;
      this.choices.choose({ selected: this.choices.state.selected === output ? null : output });
    },
  });
  private readonly groups = memo(outputsNoted);
  private readonly places = memo((figure: SaliencyFigure) => placesOf(figure));

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as SaliencyFigure, (figure as SaliencyFigure).initial);
  }

  protected check({ style, selected }: SaliencyState): void {
    oneOf("style", style, STYLES);
    position("selected", selected, this.figure.outputs.length);
  }

  protected get where(): string {
    return `What ${this.figure.method.token ? "speaks for" : "led to"} “${plainText(this.output.token)}”`;
  }

  protected override controls(): unknown {
    const options = STYLES.map((style) => [style, style] as const);
    return choice("Style", this.choices.state.style, options, (style) => this.choices.choose({ style }));
  }

  protected legend(): string {
    const signs = this.unsigned ? "" : " · blue: for, orange: against";
    const { style } = this.choices.state;
    return `${style === "bars" ? "Bar" : "Colour"} = share of the attribution${signs}`;
  }

  /** True if no input can count against an output. */
  private get unsigned(): boolean {
    return this.figure.method.norm === "l2";
  }

  protected override ramp(): Ramp | null {
    const { scaled } = this;
    if (!scaled || this.choices.state.style === "bars") return null;
    const most = this.most(this.shares(scaled.row(this.current)));
    const { scheme } = this.host;
    const at = (share: number) => (this.unsigned ? share : 2 * share - 1);
    return ramp([signed(at(0) * most), signed(most)], (share) =>
      ground(signedColor(at(share), scheme), DEEPEST * Math.abs(at(share)), scheme),
    );
  }

  protected override notes(): string {
    const { method, norm, contrast, baseline, steps, seed, layer, window } = this.figure.method;
    const perturbing = method === "occlusion" || method === "feature_ablation";
    const summed = norm === "l2" ? "L2 norm over the embedding" : "signed sum over the embedding";
    return [
      `${method} (Captum)`,
      perturbing ? "change of the output without the token" : summed,
      `of ${this.explained}${contrast === null ? "" : `, less that of “${plainText(contrast)}”`}`,
      baseline && `baseline: ${baseline === "zero" ? "zero embeddings" : "the padding token"}`,
      steps && `${steps} ${method === "gradient_shap" ? `samples, seed ${seed}` : "steps"}`,
      layer !== undefined && `at the output of layer ${layer}`,
      window && window > 1 && `${window} tokens at a time`,
      "numbers: share of the sum of all sizes",
      "full colour, or longest bar: the largest value of this output",
    ]
      .filter(Boolean)
      .join(" · ");
  }

  private get explained(): string {
    return `the ${this.figure.method.explain.replace("_", "-")}`;
  }

  protected body(): unknown {
    return this.flow.element;
  }

  private get current(): number {
    return this.choices.state.selected ?? this.near;
  }

  private get output(): Output {
    return this.figure.outputs[this.current] as Output;
  }

  /** The contribution of each input; NaN if it was not read. */
  private get scaled(): Scaled | undefined {
    const { attributions, outputs } = this.figure;
    return this.host.blob(attributions, (bytes) => new Scaled(bytes, outputs.length));
  }

  private point(index: number | null, announce: boolean): void {
    if (index === this.pointed) return;
    this.pointed = index;
    const output = index === null ? null : (this.places(this.figure)[index]?.output ?? null);
    const { selected } = this.choices.state;
    const turned = output !== null && selected === null && output !== this.near;
    if (turned) {
      this.near = output;
      this.choices.where = this.where;
      this.show();
      if (this.choices.open.table) this.host.requestUpdate();
    } else this.mark();
    this.tell(announce);
  }

  protected draw(): boolean {
    this.flow.show(this.groups(this.figure));
    return this.show();
  }

  /** Colours and numbers of the output that is chosen. */
  private show(): boolean {
    const { scaled } = this;
    if (!scaled) return false;
    this.flow.reserve(this.strip);
    this.flow.paint(this.painter(scaled));
    const numbers = this.numbers(scaled);
    this.flow.note((index) => numbers[index] as string);
    this.mark();
    return true;
  }

  private get strip(): typeof STRIP {
    return this.choices.state.style === "bars" ? STRIP : NO_STRIP;
  }

  /** Below each input its share; below what has none its position. */
  private numbers(scaled: Scaled): string[] {
    const shares = this.shares(scaled.row(this.current));
    const positions = this.groups(this.figure).flatMap(({ tokens }) => tokens.map(({ note }) => note));
    return this.places(this.figure).map(({ input }, index) => {
      const share = shares[input ?? -1] ?? Number.NaN;
      return Number.isNaN(share) ? (positions[index] as string) : whole(share);
    });
  }

  private mark(): void {
    const chosen = this.places(this.figure).findIndex(({ output }) => output === this.current);
    this.flow.mark(this.pointed, chosen);
  }

  /** The signed shares of the sum of absolute values; NaN for inputs that were not read or are left out. */
  private shares(row: Float32Array): Float32Array {
    const counted = row.map((value, input) => (this.figure.ignored.includes(input) ? Number.NaN : value));
    const sum = counted.reduce((sum, value) => sum + (Number.isNaN(value) ? 0 : Math.abs(value)), 0) || 1;
    return counted.map((value) => value / sum);
  }

  private most(shares: Float32Array): number {
    return shares.reduce((most, share) => Math.max(most, Math.abs(share) || 0), 0);
  }

  private painter(scaled: Scaled): (index: number) => Paint {
    const shares = this.shares(scaled.row(this.current));
    const known = shares.filter((share) => !Number.isNaN(share));
    const [most, least] = [Math.max(0, ...known), Math.min(0, ...known)];
    const places = this.places(this.figure);
    const { scheme } = this.host;
    const line = { color: inks(scheme.dark, scheme.pale).pale, top: zeroOf(most, least), height: ZERO };
    return (index) => {
      const share = shares[places[index]?.input ?? -1] ?? Number.NaN;
      if (Number.isNaN(share)) return {};
      if (!this.strip.height) return signedTint(DEEPEST * share, Math.max(most, -least), scheme);
      const { background } = signedTint(DEEPEST * Math.sign(share), 1, scheme);
      return { bars: [...(background ? [bar(background, share, most - least, line.top)] : []), line] };
    };
  }

  protected notice(): TemplateResult {
    return this.host.notice("attributions", [this.figure.attributions]);
  }

  protected reading(): Reading | null {
    const { scaled, output, explained } = this;
    if (!scaled) return null;
    const { method, contrast } = this.figure.method;
    const than: Part = contrast === null ? "" : [" rather than ", { token: contrast, at: null }];
    const what = `${explained}${contrast === null ? "" : "’s difference"} is ${short(output.value)}`;
    const before = output.baseline === null ? "" : `, ${short(output.baseline)} at the baseline`;
    const delta = output.delta === null ? "" : ` · convergence delta ${short(output.delta)}`;
    const of = [{ token: output.token, at: null }, than, ` (${percent(output.probability)}): ${what}${before}${delta}`];
    return { lines: [[this.pointedReading(scaled), of, ` · ${method}`]], listed: this.strongest(scaled) };
  }

  /** Inputs with their shares, the largest first. */
  private strongest(scaled: Scaled): Part[][] {
    const shares = [...this.shares(scaled.row(this.current))].map((share, input) => ({ share, input }));
    const read = shares.filter(({ share }) => share); // neither nothing nor NaN
    const sorted = read.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
    return sorted.map(({ share, input }) => [named(this.inputs, input), ` ${signed(share)}`]);
  }

  /** The contribution of the token that is pointed at, if it was read. */
  private pointedReading(scaled: Scaled): Part {
    const input = this.places(this.figure)[this.pointed ?? -1]?.input ?? null;
    if (input === null) return "";
    const row = scaled.row(this.current);
    const value = row[input] as number;
    const token = named(this.inputs, input);
    if (Number.isNaN(value))
      return this.places(this.figure)[this.pointed ?? -1]?.output === this.current
        ? ""
        : [token, ": not read for this output · "];
    const share = this.shares(row)[input] as number;
    return [token, `: ${short(value)}${Number.isNaN(share) ? ", not in the scale" : ` (${signed(share)})`} · `];
  }

  private get inputs(): string[] {
    return READ.flatMap((name) => this.figure.sequences[name]?.tokens ?? []);
  }

  protected override get locked(): number | null {
    return this.choices.state.selected;
  }

  protected override free(): boolean {
    const held = this.choices.state.selected !== null;
    if (held) this.choices.choose({ selected: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { scaled } = this;
    const { dark, pale } = this.host.scheme;
    if (!scaled) return null;
    const notes = this.numbers(scaled)[Symbol.iterator]();
    const groups = this.groups(this.figure).map(({ heading, tokens }) => ({
      heading,
      tokens: tokens.map((token) => ({ ...token, note: notes.next().value ?? "" })),
    }));
    return flowSheet(groups, this.painter(scaled), inks(dark, pale), this.strip);
  }

  protected table(): Table | null {
    const { scaled, inputs, output, where } = this;
    if (!scaled) return null;
    const row = scaled.row(this.current);
    const shares = this.shares(row);
    const rows = inputs.map((token, input): Part[] => {
      const [value, share] = [row[input] as number, shares[input] as number];
      const none = Number.isNaN(value) ? "not read" : "not in the scale";
      return [
        { token, at: null },
        String(input),
        Number.isNaN(value) ? "–" : short(value),
        Number.isNaN(share) ? none : signed(share),
      ];
    });
    const caption = `${where} at ${output.position}: what each input adds`;
    const table = { caption, columns: ["input", "position", "attribution", "share"], rows };
    return largest(table, row.map(Math.abs), "largest");
  }

  /**
   * Attributions, (outputs, inputs), null for what was not read; their shares of each output's sum of absolute values;
   * and how far each sum is from complete, where the method says so.
   */
  async values(): Promise<object> {
    const scaled = await this.loaded("attributions", () => this.scaled);
    const { inputs } = this;
    const { outputs, method } = this.figure;
    const list = (row: Float32Array) => Array.from(row, (value) => (Number.isNaN(value) ? null : value));
    return {
      ...method,
      inputs,
      outputs: outputs.map(({ token, position, probability, value, baseline }) => ({
        token,
        position,
        probability,
        value,
        baseline,
      })),
      values: outputs.map((_, i) => list(scaled.row(i))),
      shares: outputs.map((_, i) => list(this.shares(scaled.row(i)))),
      delta: outputs.map(({ delta }) => delta),
    };
  }
}

const signed = (share: number): string => `${(100 * share).toFixed(Math.abs(share) < 0.1 ? 2 : 1)}%`.replace("-", "−");

/** Return a share in as few characters as stand below a short token: 26%, −5.5%. */
function whole(share: number): string {
  const size = Math.abs(100 * share);
  const text = size.toFixed(size && size < 9.95 ? 1 : 0);
  return `${share < 0 && Number(text) ? "−" : ""}${text}%`;
}

/** Return how far below the top of their room bars stand: all on one line, those against the output below it. */
const zeroOf = (most: number, least: number): number => (least ? Math.round((ROOM * most) / (most - least)) : ROOM);

function bar(color: string, share: number, range: number, zero: number): Bar {
  const height = Number(((ROOM * Math.abs(share)) / range).toFixed(1));
  return { color, width: BAR, height, top: share > 0 ? zero - height : zero + ZERO };
}

function placesOf({ texts, sequences, outputs }: SaliencyFigure): Place[] {
  const starts: Record<string, number> = { text: 0, target: sequences.text?.tokens.length ?? 0 };
  return texts.flatMap(({ name, start, end }) =>
    Array.from({ length: end - start }, (_, i) => {
      const output = outputs.findIndex((each) => each.name === name && each.index === start + i);
      return {
        input: name === "outputs" ? null : (starts[name] as number) + start + i,
        output: output < 0 ? null : output,
      };
    }),
  );
}

function outputsNoted(figure: SaliencyFigure): FlowGroup[] {
  const place = (name: string, index: number) =>
    figure.outputs.find((each) => each.name === name && each.index === index)?.position ?? index;
  return groupsOf(figure, (name, index) => ({ note: String(place(name, index)) }));
}
