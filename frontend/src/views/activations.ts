import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { toCanvas } from "../charts/heat.js";
import mapCss from "../charts/neuron-map.css";
import { type MapCell, NeuronMap } from "../charts/neuron-map.js";
import type { Sheet } from "../charts/svg.js";
import { ground, signedColor } from "../charts/tint.js";
import listCss from "../charts/top.css";
import { signed, valueLines, valueList } from "../charts/values.js";
import { choice, numbers } from "../controls/choice.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import { named, type Part, type Reading } from "../controls/reading.js";
import { largest, type Table } from "../controls/table.js";
import { type Figure, labelled, type Sequence } from "../element/figure.js";
import type { ActivationsFigure, ActivationsState, LayerOfNeurons } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { json } from "../lib/json-blob.js";
import { memo } from "../lib/memo.js";
import { Scaled } from "../lib/packed.js";
import { hexToRgba, PALETTES } from "../lib/palette.js";
import { plainText } from "../lib/token.js";

const ORDERS = { cluster: "alike together", strength: "strongest first", number: "by number" } as const;
const STACKS: Record<string, string> = { encoder: "Encoder", decoder: "Decoder" };
const [SIDE, WIDTH, ROW] = [120, 680, 20];
/** Below 1, weak activations can be seen beside strong ones. */
const EXPONENT = 0.75;
/** The share of the kept neurons whose largest activations all have the full colour: one may be far above the rest. */
const SATURATED = 0.1;

interface Lists {
  /** Numbers of those that are kept, the strongest first. */
  neurons: number[];
  /** The index in that list of each column's neuron. */
  cluster: number[];
  /** The most active neurons of each token. */
  top: number[][];
  values: number[][];
}

interface Shown {
  lists: Lists;
  /** The activation of each kept neuron at each token. */
  values: Scaled;
  /** The value that the full colour stands for, and whether some |activations| are larger. */
  most: number;
  exceeded: boolean;
}

/** A layer's neurons, and how active each is at each token. */
export default class ActivationsView extends PanelView<ActivationsState, ActivationsFigure> {
  static readonly styles = [unsafeCSS(mapCss), unsafeCSS(listCss)];

  private readonly map = new NeuronMap({
    point: (announce) => this.tell(announce),
    toggle: (cell) => this.toggle(cell),
  });
  private readonly shown = memo((lists: Lists, values: Scaled, kept: number): Shown => {
    const largest = Array.from({ length: kept }, (_, at) => Math.max(...values.row(at).map(Math.abs)));
    const [first = 0, most = first] = [largest[0], largest[Math.floor(kept * SATURATED)]];
    return { lists, values, most, exceeded: most < first };
  });
  private readonly columns = memo(columnsOf);
  private readonly picture = memo(pictureOf);
  private painted: unknown;

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as ActivationsFigure, (figure as ActivationsFigure).initial);
  }

  protected check({ stack, layer, order, token, neuron }: ActivationsState): void {
    const { layers } = this.figure;
    oneOf("stack", stack, [...new Set(layers.map((each) => each.stack))]);
    oneOf("layer", layer, numbersOf(layers, stack));
    oneOf("order", order, Object.keys(ORDERS));
    const found = layers.find((each) => each.stack === stack && each.layer === layer) as LayerOfNeurons;
    position("token", token, this.sequenceOf(found).tokens.length);
    position("neuron", neuron, found.neurons);
  }

  private sequenceOf({ sequence }: LayerOfNeurons): Sequence {
    return this.figure.sequences[sequence] as Sequence;
  }

  private get layer(): LayerOfNeurons {
    const { stack, layer } = this.choices.state;
    return this.find(stack, layer);
  }

  private find(stack: string, layer: number): LayerOfNeurons {
    const found = this.figure.layers.find((each) => each.stack === stack && each.layer === layer);
    if (!found) throw new RangeError(`layer ${layer} of stack ${stack}: not in this figure`);
    return found;
  }

  private load({ lists, values, kept }: LayerOfNeurons): Shown | undefined {
    const [names, numbers] = [
      this.host.blob(lists, (bytes) => json<Lists>(bytes)),
      this.host.blob(values, (bytes) => new Scaled(bytes, kept)),
    ];
    return names && numbers && this.shown(names, numbers, kept);
  }

  protected get where(): string {
    const { stack, layer } = this.choices.state;
    return stack === "self" ? `Layer ${layer}` : `${STACKS[stack]}, layer ${layer}`;
  }

  override get label(): string {
    return labelled(`Activations: ${this.where}, ${ORDERS[this.choices.state.order]}`, this.figure);
  }

  protected override controls(): unknown {
    const { state } = this.choices;
    const { layers } = this.figure;
    const stacks = [...new Set(layers.map((each) => each.stack))];
    const free = { token: null, neuron: null };
    const turn = (stack: string) => {
      const offered = numbersOf(layers, stack);
      const layer = offered.includes(state.layer) ? state.layer : (offered[0] as number);
      this.choices.choose({ stack, layer, ...free });
    };
    const { kept, neurons } = this.layer;
    return [
      stacks.length > 1
        ? choice(
            "Stack",
            state.stack,
            stacks.map((stack) => [stack, STACKS[stack] ?? stack] as const),
            turn,
          )
        : nothing,
      choice("Layer", state.layer, numbers(numbersOf(layers, state.stack)), (layer) =>
        this.choices.choose({ layer, neuron: null }),
      ),
      choice("Order", state.order, Object.entries(ORDERS) as [keyof typeof ORDERS, string][], (order) =>
        this.choices.choose({ order }),
      ),
      html`<span class="how">${kept} of ${neurons} neurons</span>`,
    ];
  }

  protected legend(): string {
    const { kept, neurons } = this.layer;
    return `Activation · columns are the ${kept} most active of ${neurons} neurons · rows are tokens`;
  }

  protected override ramp(): Ramp | null {
    const { most, exceeded } = this.load(this.layer) ?? {};
    if (!most) return null;
    const [least, largest] = [exceeded ? "≤ " : "", exceeded ? "≥ " : ""];
    return ramp([`${least}${signed(-most)}`, `${largest}${signed(most)}`], (share) => {
      const value = 2 * share - 1;
      return ground(signedColor(value, this.host.scheme), Math.abs(value) ** EXPONENT, this.host.scheme);
    });
  }

  protected body(): unknown {
    return this.map.element;
  }

  protected draw(): boolean {
    const { layer, map } = this;
    const found = this.load(layer);
    const { order, token } = this.choices.state;
    const picture = found ? this.picture(found, this.columns(found.lists, order), this.host.scheme.dark) : null;
    if (picture !== this.painted || !picture) {
      const tokens = this.sequenceOf(layer).tokens.length;
      map.show(this.sequenceOf(layer), picture, `${layer.kept} neurons at ${tokens} tokens; arrow keys read them`);
      this.painted = picture;
    }
    map.locked = token === null || !found ? null : { row: token, col: this.column(found) };
    map.resting = found ? this.strongest(found, order) : null;
    map.mark();
    return found !== undefined;
  }

  /** The column of the locked neuron. */
  private column({ lists }: Shown): number | null {
    return this.columnOf(lists, this.choices.state.neuron);
  }

  private columnOf(lists: Lists, neuron: number | null | undefined): number | null {
    const at = this.columns(lists, this.choices.state.order).findIndex((kept) => lists.neurons[kept] === neuron);
    return at < 0 ? null : at;
  }

  /** The cell that is read while none is pointed at. */
  private readonly strongest = memo(({ lists }: Shown, _order: string): MapCell => {
    const sizes = lists.values.map(([first = 0]) => Math.abs(first));
    const row = sizes.indexOf(Math.max(...sizes));
    return { row, col: this.columnOf(lists, lists.top[row]?.[0]) };
  });

  private toggle({ row, col }: MapCell): void {
    const { state } = this.choices;
    const found = this.load(this.layer);
    if (!found) return;
    const neuron = this.neuronAt(found, col);
    const held = state.token === row && state.neuron === neuron;
    this.choices.choose({ token: held ? null : row, neuron: held ? null : neuron });
  }

  private neuronAt({ lists }: Shown, col: number | null): number | null {
    const kept = col === null ? undefined : this.columns(lists, this.choices.state.order)[col];
    return kept === undefined ? null : (lists.neurons[kept] ?? null);
  }

  protected notice(): TemplateResult {
    return this.host.notice("activations", [this.layer.values, this.layer.lists]);
  }

  protected reading(): Reading | null {
    const { layer, map } = this;
    const found = this.load(layer);
    const { cell } = map;
    if (!found || !cell) return null;
    const { lists, values } = found;
    const neuron = this.neuronAt(found, cell.col);
    const said =
      neuron === null
        ? ": its most active neurons"
        : `: neuron ${neuron}, ${signed(values.row(lists.neurons.indexOf(neuron))[cell.row] as number)}`;
    const [top = [], active = []] = [lists.top[cell.row], lists.values[cell.row]];
    const lines = top.map((each, i) => ({ name: `neuron ${each}`, value: active[i] as number, bold: each === neuron }));
    const first = cell === map.resting ? "Strongest: " : "";
    return {
      lines: [[first, named(this.sequenceOf(layer).tokens, cell.row), said]],
      list: valueList(lines, this.host.scheme),
      listed: valueLines(lines),
    };
  }

  protected override get locked(): number | null {
    return this.choices.state.token;
  }

  protected override free(): boolean {
    const held = this.choices.state.token !== null;
    if (held) this.choices.choose({ token: null, neuron: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const found = this.load(this.layer);
    if (!found) return null;
    const { tokens } = this.sequenceOf(this.layer);
    const columns = this.columns(found.lists, this.choices.state.order);
    const picture = toCanvas(this.picture(found, columns, this.host.scheme.dark)).toDataURL();
    return {
      width: WIDTH,
      height: ROW * tokens.length,
      draw: (pen) => {
        tokens.forEach((token, row) => {
          pen.text(plainText(token), SIDE - 8, ROW * row + 15, { anchor: "end", size: 13 });
        });
        pen.image(picture, SIDE, 0, WIDTH - SIDE, ROW * tokens.length);
      },
    };
  }

  /** A row a token, with its most active neurons. */
  protected table(): Table | null {
    const found = this.load(this.layer);
    if (!found) return null;
    const { top, values } = found.lists;
    const rows = this.sequenceOf(this.layer).tokens.map((token, row): Part[] => [
      { token, at: null },
      String(row),
      ...(top[row] ?? []).map((neuron, i) => `neuron ${neuron}, ${signed(values[row]?.[i] as number)}`),
    ]);
    const table = {
      caption: `${this.where}: each token’s most active neurons`,
      columns: ["token", "position", ...(top[0] ?? []).map((_, i) => `${i + 1}.`)],
      rows,
    };
    const sizes = values.map(([first = 0]) => Math.abs(first));
    return largest(table, sizes, "most active tokens");
  }

  /** Returns the kept neurons of one layer (the one shown), the strongest first, and each token's strongest. */
  async values(request: { stack?: string; layer?: number } = {}): Promise<object> {
    const layer = this.find(request.stack ?? this.choices.state.stack, request.layer ?? this.choices.state.layer);
    const { lists, values } = await this.loaded("activations", () => this.load(layer));
    return {
      stack: layer.stack,
      layer: layer.layer,
      tokens: this.sequenceOf(layer).tokens,
      neurons: lists.neurons,
      activations: lists.neurons.map((_, kept) => [...values.row(kept)]),
      top: lists.top.map((each, row) => each.map((neuron, i) => ({ neuron, value: lists.values[row]?.[i] }))),
    };
  }
}

const numbersOf = (layers: LayerOfNeurons[], stack: string): number[] =>
  layers.filter((each) => each.stack === stack).map((each) => each.layer);

/** Returns which of the kept neurons each column shows. */
function columnsOf({ neurons, cluster }: Lists, order: keyof typeof ORDERS): number[] {
  if (order === "cluster") return cluster;
  const kept = neurons.map((_, at) => at);
  return order === "strength" ? kept : kept.sort((a, b) => (neurons[a] as number) - (neurons[b] as number));
}

/** One pixel a cell: colour by sign, opacity by size. */
function pictureOf({ values, most }: Shown, columns: number[], dark: boolean): ImageData {
  const image = new ImageData(columns.length, values.length);
  const inks = (dark ? PALETTES.dark : PALETTES.light).signed.map(hexToRgba);
  columns.forEach((kept, col) => {
    values.row(kept).forEach((value, row) => {
      const [r, g, b] = inks[value < 0 ? 0 : 1] as [number, number, number, number];
      const opacity = most > 0 ? Math.min(1, Math.abs(value / most)) ** EXPONENT : 0;
      image.data.set([r, g, b, Math.round(255 * opacity)], 4 * (row * columns.length + col));
    });
  });
  return image;
}
