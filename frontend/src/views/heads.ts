import { html, nothing, render, type TemplateResult, unsafeCSS } from "lit";
import type { Sheet } from "../charts/svg.js";
import { choice } from "../controls/choice.js";
import { focusByKey, stepInList, walkByKey, within } from "../controls/keyboard.js";
import type { Ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import { hint, type Part, type Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { largest, type Table } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { HeadsFigure, HeadsStack, HeadsState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { json } from "../lib/json-blob.js";
import { type Chart, drawChart } from "./heads/chart.js";
import {
  byLayer,
  type Head,
  type HeadIndex,
  headsOf,
  measureOf,
  type StackIndex,
  shortTitle,
  titleOf,
} from "./heads/data.js";
import { grid } from "./heads/grid.js";
import { KIND, Paints } from "./heads/paint.js";
import { numbersText, relationsText } from "./heads/readout.js";
import { map, scatter } from "./heads/scatter.js";
import { Stage } from "./heads/stage.js";
import { headTable, numbersOf, relationTable } from "./heads/tables.js";
import { Telling, tellingView, textsOf } from "./heads/telling.js";
import css from "./heads.css";
import "./head.js"; // in which the texts of a head are shown

const SHOWN = {
  scatter: "scatter",
  map: "map",
  grid: "layers × heads",
  table: "table",
  relations: "relations",
} as const;
/** So many rows of the table are made at once; scrolling to the end of them makes more. */
const ROWS = 120;
/** px of a picture at most, and of a line of kinds in a file. */
const [WIDEST, LINE] = [736, 22];

/** An index of all heads of a model: two measures of each, a map, a grid or tables; and what a chosen head attends to. */
export default class HeadsView extends PanelView<HeadsState, HeadsFigure> {
  static readonly styles = unsafeCSS(css);

  private readonly stage: Stage;
  private readonly sheetOf = document.createElement("div");
  private readonly telling: Telling;
  private readonly allHeads: Record<string, Head[]>;
  private rows = ROWS;
  private drawn = "";
  private pointed: number | null = null;

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as HeadsFigure, (figure as HeadsFigure).initial);
    const view = this;
    this.allHeads = Object.fromEntries(Object.entries(this.figure.stacks).map(([name, one]) => [name, headsOf(one)]));
    this.telling = new Telling(host);
    host.addController(this.telling);
    this.stage = new Stage({
      point: (at, announce) => this.point(at, announce),
      choose: (at) => this.toggle(at),
      step: (down, right) => this.stepped(down, right),
      get pointed() {
        return view.pointed;
      },
    });
    this.sheetOf.className = "table";
    this.sheetOf.tabIndex = 0;
    this.sheetOf.setAttribute("role", "region");
    this.sheetOf.addEventListener("keydown", (event) => this.walkRows(event));
    this.sheetOf.addEventListener("scroll", () => this.grow());
  }

  // The reader's choices

  private get stack(): HeadsStack {
    return this.figure.stacks[this.choices.state.stack] as HeadsStack;
  }

  private get heads(): Head[] {
    return this.allHeads[this.choices.state.stack] as Head[];
  }

  private get index(): HeadIndex | undefined {
    return this.host.blob(this.figure.index, (bytes) => json<HeadIndex>(bytes));
  }

  private get stackIndex(): StackIndex | undefined {
    return this.index?.stacks[this.choices.state.stack];
  }

  protected check({ stack, show, layer, head, text, ascending, x, y, color, sort }: HeadsState): void {
    oneOf("stack", stack, Object.keys(this.figure.stacks));
    oneOf("show", show, Object.keys(SHOWN));
    oneOf("ascending", ascending, [true, false]);
    const { layers, heads } = this.figure.stacks[stack] as HeadsStack;
    if (layer !== null) oneOf("layer", layer, layers);
    position("head", head, layer === null ? 0 : (heads[layers.indexOf(layer)] as number));
    if (text !== 0) position("text", text, 3);
    const known = this.index?.stacks[stack]?.measures.map(({ name }) => name);
    if (!known) return; // a link that names what is not there shows what the first state has
    for (const [name, value] of Object.entries({ x, y })) oneOf(name, value, known);
    oneOf("color", color, [KIND, ...known]);
    oneOf("sort", sort, [null, ...known]);
  }

  /** The state, without measures that the entry does not have. */
  private get shown(): HeadsState {
    const { state } = this.choices;
    const { initial } = this.figure;
    const values = this.stackIndex?.values;
    if (!values) return state;
    const kept = (name: string, first: string) => (name in values ? name : first in values ? first : "layer");
    const { stackIndex } = this;
    const isThere = { map: stackIndex?.map, relations: stackIndex?.relations.length } as Record<string, unknown>;
    return {
      ...state,
      show: state.show in isThere && !isThere[state.show] ? "scatter" : state.show,
      x: kept(state.x, initial.x),
      y: kept(state.y, initial.y),
      color: state.color in values ? state.color : KIND,
      sort: state.sort && state.sort in values ? state.sort : null,
    };
  }

  protected override get locked(): Head | null {
    const { layer, head } = this.choices.state;
    return this.heads.find((one) => one.layer === layer && one.head === head) ?? null;
  }

  /** The name of a measure in a label; the blob that has its title may be still to come. */
  private titled(name: string): string {
    const { stackIndex } = this;
    return stackIndex ? measureOf(stackIndex, name).title : name;
  }

  protected get where(): string {
    const { stack, show, x, y, color, sort } = this.shown;
    const whose = Object.keys(this.figure.stacks).length > 1 ? ` of the ${stack}` : "";
    const { locked } = this;
    const what = {
      scatter: () => `${this.titled(y)} by ${this.titled(x)}`,
      map: () => "map of heads that are alike",
      grid: () => `layers × heads by ${color === KIND ? "kind" : this.titled(color)}`,
      table: () => `table${sort ? ` sorted by ${this.titled(sort)}` : ""}`,
      relations: () => "best head for each relation",
    }[show]();
    return `Heads${whose}: ${what}${locked ? `, layer ${locked.layer}, head ${locked.head}` : ""}`;
  }

  // Controls and words

  protected override controls(): unknown {
    const { stackIndex, figure } = this;
    const { stack, show, x, y, color } = this.shown;
    const stacks = Object.keys(figure.stacks);
    const pictures = (Object.keys(SHOWN) as (keyof typeof SHOWN)[]).filter(
      (name) => !(name === "map" && !stackIndex?.map) && !(name === "relations" && !stackIndex?.relations.length),
    );
    const measures = stackIndex?.measures.map((measure) => [measure.name, shortTitle(measure)] as const) ?? [];
    const colors = [[KIND, "kind"] as const, ...measures];
    const set = (name: "x" | "y" | "color") => (value: string) => this.choices.choose({ [name]: value });
    const names = stacks.map((name) => [name, name] as const);
    return html`${
      stacks.length > 1
        ? choice("Attention", stack, names, (stack) => this.choices.choose({ stack, layer: null, head: null, text: 0 }))
        : nothing
    }${choice(
      "Show",
      show,
      pictures.map((name) => [name, SHOWN[name]] as const),
      (show) => this.choices.choose({ show }),
    )}${show === "scatter" ? [choice("y", y, measures, set("y")), choice("x", x, measures, set("x"))] : nothing}${
      show === "table" || show === "relations" ? nothing : choice("Colour", color, colors, set("color"))
    }`;
  }

  protected legend(): string {
    const { stackIndex } = this;
    const { show, color } = this.shown;
    if (show === "relations")
      return "Dot: best head, 95% interval · bar: best fixed offset · →: from a word to its head";
    if (show === "table") return "The name of a column sorts by it · head: layer·head";
    const what = color === KIND || !stackIndex ? [] : [titleOf(measureOf(stackIndex, color))];
    const marks = {
      scatter: ["Each mark is a head, layer·head"],
      map: ["Each mark is a head, layer·head", "near: alike"],
    };
    return [...what, ...(show === "grid" ? ["Each cell is a head"] : marks[show])].join(" · ");
  }

  private get paints(): Paints | null {
    const { stackIndex } = this;
    return stackIndex ? new Paints(stackIndex, this.host.scheme) : null;
  }

  protected override ramp(): Ramp | null {
    const { show, color } = this.shown;
    if (color === KIND || this.isTable) return null;
    return this.paints?.ramp(color, show === "grid") ?? null;
  }

  private get isTable(): boolean {
    const { show } = this.shown;
    return show === "table" || show === "relations";
  }

  protected override notes(): string {
    return this.figure.notes;
  }

  protected notice(): TemplateResult {
    return this.host.notice("heads", [this.figure.index]);
  }

  protected reading(): Reading | null {
    const { stackIndex, locked } = this;
    if (!stackIndex) return null;
    const head = this.pointed === null ? locked : (this.heads[this.pointed] as Head);
    if (!head && this.isTable) return { lines: [["Choose a head to see its most telling texts"]], hint: true };
    if (!head) return { lines: [hint("a head to read its numbers")], hint: true };
    return { lines: [this.numbers(head, stackIndex), ...relationsText(stackIndex, head)] };
  }

  private numbers(head: Head, index: StackIndex): Part[] {
    const { show, x, y, color, sort } = this.shown;
    const read = { scatter: [y, x, color], map: [color, "entropy"], grid: [color, "entropy"] };
    return numbersText(index, head, show === "table" || show === "relations" ? [sort ?? "entropy"] : read[show]);
  }

  // The picture

  protected body(): unknown {
    return this.isTable ? this.sheetOf : [this.stage.element, this.kinds()];
  }

  protected override detail(): unknown {
    return this.texts();
  }

  /** The kinds of heads that there are, each with its colour. */
  private kinds(): TemplateResult | typeof nothing {
    const { paints } = this;
    if (!paints || this.shown.color !== KIND) return nothing;
    return html`<p class="kinds">${paints.counts.map(
      ([kind, name, count]) =>
        html`<span><i .style="background:${paints.kind(kind)}"></i>${name} <b>${count}</b></span>`,
    )}</p>`;
  }

  private charted(index: StackIndex, paints: Paints): Chart {
    const { show, x, y, color } = this.shown;
    const { heads } = this;
    const room = Math.min(WIDEST, this.host.element.clientWidth);
    if (show === "map") return map(index, heads, paints.marks(color), room);
    if (show === "scatter") return scatter(index, heads, paints.marks(color), x, y, room);
    return grid(this.stack.layers, heads, paints.cells(color), room);
  }

  protected override resized(): void {
    super.resized();
    if (this.drawn) this.host.requestUpdate();
  }

  protected draw(): boolean {
    const { stackIndex, paints, host, isTable, locked } = this;
    if (!stackIndex || !paints) return false;
    const { layer, head, text: _, ...what } = this.shown;
    const { dark, background } = host.scheme;
    const look = isTable ? [layer, head, this.rows] : [host.element.clientWidth, dark, background];
    const key = JSON.stringify([what, look]);
    if (key !== this.drawn) {
      this.drawn = key;
      if (isTable) this.drawTable(stackIndex);
      else this.drawChart(this.charted(stackIndex, paints));
    }
    if (!isTable) this.stage.mark(locked?.at ?? null, this.pointed);
    return true;
  }

  private drawChart(chart: Chart): void {
    const { heads, stack } = this;
    const name = `${heads.length} heads in ${stack.layers.length} layers; arrow keys read them`;
    this.stage.show(chart, name, chart.isRound ? "scatter plot" : "heat map");
  }

  private drawTable(index: StackIndex): void {
    const { show, sort, ascending } = this.shown;
    const { heads, locked } = this;
    const at = locked?.at ?? null;
    const caption = show === "table" ? "All heads" : "The best head for each relation";
    this.sheetOf.setAttribute("aria-label", caption);
    const choose = (head: Head) => this.toggle(head.at);
    const actions = {
      choose,
      sort: (name: string) =>
        this.choices.choose(name === sort ? { ascending: !ascending } : { sort: name, ascending: false }),
    };
    render(
      show === "table"
        ? headTable(index, heads, { sort, ascending }, at, caption, this.rows, actions)
        : relationTable(index, heads, at, caption, choose),
      this.sheetOf,
    );
  }

  // Pointing, walking, choosing

  private point(at: number | null, announce = false): void {
    if (at === this.pointed) return;
    this.pointed = at;
    this.stage.mark(this.locked?.at ?? null, at);
    this.tell(announce);
  }

  private toggle(at: number): void {
    const { layer, head } = this.heads[at] as Head;
    const isSame = this.locked?.at === at;
    this.choices.choose(isSame ? { layer: null, head: null, text: 0 } : { layer, head, text: 0 });
  }

  /** Arrow keys lead from layer to layer and from head to head, wherever the marks are. */
  private stepped(down: number, right: number): number {
    const from = this.pointed === null ? this.locked : (this.heads[this.pointed] as Head);
    if (!from) return 0;
    const { layers, heads } = this.stack;
    const row = within(layers.indexOf(from.layer) + down, { start: 0, end: layers.length });
    const col = within(from.head + right, { start: 0, end: heads[row] as number });
    return this.heads.findIndex(({ layer, head }) => layer === layers[row] && head === col);
  }

  private walkRows(event: KeyboardEvent): void {
    const { sheetOf } = this;
    const buttons = [...sheetOf.querySelectorAll<HTMLElement>("tbody button")];
    const isRow = buttons.includes(event.target as HTMLElement);
    if (isRow) walkByKey(event, (down) => (down ? stepInList(buttons, event.target, down, 0) : false));
  }

  private grow(): void {
    const { scrollTop, clientHeight, scrollHeight } = this.sheetOf;
    if (this.shown.show !== "table" || this.rows >= this.heads.length || scrollHeight - scrollTop > 2 * clientHeight)
      return;
    this.rows += ROWS;
    this.host.requestUpdate();
  }

  protected override free(): boolean {
    const held = this.locked !== null;
    if (held) {
      const isInside = this.host.element.shadowRoot?.activeElement?.closest(".telling");
      this.choices.choose({ layer: null, head: null, text: 0 });
      if (isInside) focusByKey(this.isTable ? this.sheetOf : this.stage.element);
    }
    return held;
  }

  // The texts of the chosen head

  private texts(): TemplateResult | typeof nothing {
    const { index, stackIndex, locked, telling } = this;
    const examples = index && stackIndex && locked ? textsOf(index, stackIndex, locked) : [];
    if (!index || !locked || !examples.length) {
      telling.leave();
      return nothing;
    }
    const { stack, text: wanted } = this.choices.state;
    const text = Math.min(wanted, examples.length - 1);
    const { view } = telling.show([stack, locked.at, text].join(), () =>
      tellingView(this.host, this.figure, stack, index, this.heads, locked, text),
    );
    const button = (_: unknown, i: number) =>
      html`<button aria-pressed=${i === text} @click=${() => this.choices.choose({ text: i })}>${i + 1}</button>`;
    const { line } = examples[text] as (typeof examples)[0];
    const name = `Layer ${locked.layer}, head ${locked.head}`;
    return html`<section class="telling" aria-label="${name}: most telling texts" @keydown=${stopHandled}>
      <p class="telling-line"><b>${name}</b> <span id="texts">Most telling texts</span>
        <span role="group" aria-labelledby="texts">${examples.map(button)}</span>
        ${line === null ? nothing : html`<span class="detail pale">line ${line}</span>`}</p>
      ${view.render()}
    </section>`;
  }

  // For files and programs

  /** The picture; in place of a table a grid of what it is sorted by. */
  protected sheet(): Sheet | null {
    const { stackIndex, paints, host, isTable } = this;
    if (!stackIndex || !paints) return null;
    const { color, sort } = this.shown;
    const { layers } = this.stack;
    const chart = isTable
      ? grid(layers, this.heads, paints.cells(sort ?? "entropy"), WIDEST)
      : this.charted(stackIndex, paints);
    const kinds = isTable || color !== KIND ? [] : paints.kindMarks(chart.height);
    const { dark, pale } = host.scheme;
    return {
      width: chart.width,
      height: chart.height + (kinds.length ? LINE : 0),
      draw: (pen) => drawChart(pen, [...chart.marks, ...kinds], inks(dark, pale)),
    };
  }

  protected table(): Table | null {
    const { stackIndex, heads } = this;
    if (!stackIndex) return null;
    const { sort, ascending } = this.shown;
    const name = sort ?? "entropy";
    const sizes = heads.map(({ at }) => stackIndex.values[name]?.[at] ?? 0);
    return largest(
      numbersOf(stackIndex, heads, { sort, ascending }, this.where),
      sizes,
      `largest by ${this.titled(name)}`,
    );
  }

  /**
   * A measure of all heads, {stack, measure}: its values layer by layer. For a relation also its words, the best fixed
   * offset, and the accuracy in both directions.
   */
  async values(request: Partial<{ stack: string; measure: string }>): Promise<object> {
    const { stack = this.choices.state.stack, measure = this.shown.y } = request;
    const index = await this.host.load(this.figure.index, (bytes) => json<HeadIndex>(bytes));
    oneOf("stack", stack, Object.keys(this.figure.stacks));
    const found = index.stacks[stack] as StackIndex;
    oneOf("measure", measure, Object.keys(found.values));
    const { layers, heads } = this.figure.stacks[stack] as HeadsStack;
    const relation = found.relations.find(({ name }) => name === measure);
    const both = relation && {
      count: relation.count,
      offset: relation.offset,
      baseline: relation.baseline,
      forward: byLayer(relation.forward.accuracy, heads),
      backward: byLayer(relation.backward.accuracy, heads),
    };
    return { stack, measure, layers, values: byLayer(found.values[measure] ?? [], heads), ...both };
  }
}

/** A key that the inner figure has used is none of the outer one's. */
function stopHandled(event: Event): void {
  if (event.defaultPrevented) event.stopPropagation();
}
