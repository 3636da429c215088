import { html, nothing, render, type TemplateResult, unsafeCSS } from "lit";
import { pairSelect } from "../attention/controls.js";
import { type AttentionFigure, findLayer, findSequence, type LayerSource, type Stack } from "../attention/figure.js";
import type { OptionsOf } from "../attention/options.js";
import { filteredParts, type Overview, overviewOf, partOf } from "../attention/overview.js";
import { type Cell, Patterns } from "../attention/patterns.js";
import { sharedKeys } from "../attention/shared-keys.js";
import { offeredHeads, type State, sinkOf } from "../attention/state.js";
import { strongestWeights } from "../attention/strongest.js";
import { AttentionView } from "../attention/view.js";
import { WeightsView } from "../attention/weights-view.js";
import { HeadPicture } from "../charts/head-picture.js";
import { shade } from "../charts/heat.js";
import type { Sheet } from "../charts/svg.js";
import { Thumbnails, type Thumbs } from "../charts/thumbnails.js";
import { ground } from "../charts/tint.js";
import { choice } from "../controls/choice.js";
import { type Legend, legendText, ramp } from "../controls/legend.js";
import { type Part, spoken } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import { largest, type Table, tableText } from "../controls/table.js";
import { grouped } from "../lib/grouped.js";
import { memo } from "../lib/memo.js";
import { neutral } from "../lib/palette.js";
import css from "./model.css";

/** Controls and readout, which the page has kept room for as well. */
const AROUND = 40 + 24 + 40;
/** Returns the title of what has opened. */
const LEAST_SEEN = 32;

/** The overview, what stands where, width, pitch and pixel ratio, parts of rows and of columns, scheme, contrast, sinks. */
type Painted = [
  ...[Overview, string, number, number, number, number, number, number, number, boolean, number],
  ...[number[], number[]],
];

const ORDERS = [
  ["layer", "layer and head"],
  ["pattern", "what they look at"],
] as const;

/** Every head of every layer as a small picture; the one that is opened in full below. */
export default class ModelView extends WeightsView {
  static override readonly styles = [AttentionView.styles, unsafeCSS(css)];

  private readonly grid = new Thumbnails({
    point: (cell) => this.point(cell),
    toggle: (cell, keys) => this.toggle(cell, keys),
  });
  private readonly detail = new HeadPicture(this.choices);
  private readonly readout = Object.assign(document.createElement("div"), { className: "readout" });
  private readonly resizes = new ResizeObserver(() => this.layOut());
  /** Paints anew only if what it shows, and how large, has changed. */
  private readonly paint = memo((...[overview, , , , , a, b, c, d, dark, contrast, faded, hidden]: Painted) =>
    this.grid.draw({ overview, rows: { start: a, end: b }, cols: { start: c, end: d }, dark, contrast, faded, hidden }),
  );
  private readonly describe = memo((patterns: Patterns, _arranged: string) =>
    this.grid.describe(({ layer, head }) => {
      const keys = sharedKeys(findLayer(this.choices.stack, layer), head);
      return [...keys, patterns.text(layer, head)].join(" · ");
    }),
  );
  private readonly patternTable = memo(patternTable);
  private pointed: Cell | null = null;

  hostConnected(): void {
    this.detail.connect();
    this.resizes.observe(this.grid.element);
  }

  override hostDisconnected(): void {
    super.hostDisconnected();
    this.detail.disconnect();
    this.resizes.disconnect();
  }

  private overview(): Overview | undefined {
    return overviewOf(this.host, this.figure, this.choices.stack);
  }

  private patterns(): Patterns | undefined {
    const { stack } = this.choices;
    const [rows, cols] = [stack.rows, stack.cols].map((name) => findSequence(this.figure, name).tokens);
    return (
      stack.patterns &&
      this.host.blob(stack.patterns, (bytes) => new Patterns(bytes, stack, rows as string[], cols as string[]))
    );
  }

  protected override turns = (): boolean => this.choices.state.open != null;

  protected controls(): unknown {
    const { choices } = this;
    const sort = () =>
      choice("Sort by", choices.state.order as string, ORDERS, (order) =>
        choices.choose({ order: order as NonNullable<State["order"]> }),
      );
    return [pairSelect(choices), choices.stack.patterns ? sort() : nothing];
  }

  protected options(): OptionsOf {
    const open = this.turns();
    return {
      heads: false,
      tokens: open,
      coarse: !open,
      legend: open ? this.detail.legend : this.legend(),
      sheet: () => this.sheet(),
    };
  }

  private legend(): Legend {
    const { host, choices } = this;
    const text = `${choices.opacityText} · colour = head · rows of a small picture attend to its columns`;
    const color = (share: number) =>
      ground(neutral(host.scheme.dark), shade(share, 1, choices.state.contrast), host.scheme);
    return { text, ramp: ramp(["0", "1"], color) };
  }

  protected body(): unknown {
    this.overview(); // asks for it
    return [
      this.grid.element,
      html`<p class="legend">${legendText(this.legend())}</p>`,
      this.readout,
      this.opened() ?? this.heads(),
    ];
  }

  private opened(): TemplateResult | null {
    const { open } = this.choices.state;
    if (!open) return null;
    const title = this.choices.where;
    return html`<section class="opened" aria-label=${title}>
      <p class="title">${title} <button aria-label="Close" data-tip="Close" @click=${() => this.close()}>×</button></p>
      ${this.detail.render(nothing)}${this.table()}
    </section>`;
  }

  /** While none is open: what is told of each head, as a table. */
  private heads(): unknown {
    const patterns = this.patterns();
    if (!this.choices.open.table || !patterns) return nothing;
    return tableText(this.patternTable(this.figure, this.choices.stack, patterns));
  }

  private toggle(cell: Cell, keys: boolean): void {
    const { open } = this.choices.state;
    const same = open?.layer === cell.layer && open.head === cell.head;
    this.choices.choose({ open: same ? null : cell });
    if (!same) this.host.updateComplete.then(() => this.reveal(keys));
  }

  private close(): void {
    const { open } = this.choices.state;
    this.choices.choose({ open: null });
    if (open) this.grid.focus(open);
  }

  /** Scrolls to what has opened below the grid if it is off the screen; else nothing moves under the pointer. */
  private reveal(keys: boolean): void {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const opened = this.detail.picture.element.closest(".opened");
    if (keys || (opened?.getBoundingClientRect().top ?? 0) > innerHeight - LEAST_SEEN)
      opened?.scrollIntoView({ block: "nearest", behavior: still ? "auto" : "smooth" });
  }

  protected free(): boolean {
    const { selected, open } = this.choices.state;
    if (selected) this.choices.choose({ selected: null });
    else if (open) this.close();
    return Boolean(selected ?? open);
  }

  hostUpdated(): void {
    if (!this.grid.element.isConnected) return;
    const { figure, choices } = this;
    const { stack } = choices;
    const offered = new Map(stack.layers.map(({ layer }) => [layer, offeredHeads(figure, stack, layer)]));
    const heads = [...new Set([...offered.values()].flat())].sort((a, b) => a - b);
    const patterns = this.patterns();
    if (patterns && choices.state.order === "pattern") {
      const cells = [...offered].flatMap(([layer, found]) => found.map((head) => ({ layer, head })));
      this.grid.group([...offered.keys()], heads, patterns.groups(cells));
    } else {
      this.grid.arrange(
        [...offered.keys()],
        heads,
        ({ layer, head }) => offered.get(layer)?.includes(head) ?? false,
        this.groups(heads),
      );
    }
    this.grid.mark(choices.state.open ?? null);
    if (patterns) this.describe(patterns, this.grid.arranged);
    this.layOut();
    this.detail.updated();
  }

  /** The heads that share keys, if they do so alike in all layers. */
  private groups(heads: number[]): [string, number[]][] {
    const { layers } = this.choices.stack;
    const [first] = layers as [LayerSource];
    const alike =
      first.kv_heads && layers.every((each) => each.heads === first.heads && each.kv_heads === first.kv_heads);
    return alike ? grouped(heads, (head) => sharedKeys(first, head)[0] as string) : [];
  }

  private layOut(): void {
    const { element } = this.grid;
    const width = element.clientWidth;
    if (width === 0) return;
    const pitch = this.grid.fit(width, this.room(AROUND));
    const thumbs = this.thumbs();
    this.tell();
    if (!thumbs) return;
    const { overview, rows, cols, dark, contrast, faded, hidden } = thumbs;
    const { arranged } = this.grid;
    this.paint(
      overview,
      arranged,
      width,
      pitch,
      devicePixelRatio,
      rows.start,
      rows.end,
      cols.start,
      cols.end,
      dark,
      contrast,
      faded,
      hidden,
    );
    this.host.drawn();
  }

  private thumbs(): Thumbs | undefined {
    const overview = this.overview();
    if (!overview) return undefined;
    const { stack, state } = this.choices;
    const [rows, cols] = [stack.rows, stack.cols].map((name, i) =>
      filteredParts(findSequence(this.figure, name), state.filter, i === 0),
    );
    if (!rows || !cols) return undefined;
    const { length } = findSequence(this.figure, stack.cols).tokens;
    const [faded, hidden] = (["fade", "leave_out"] as const).map((how) =>
      sinkOf(this.figure, state, how).map((token) => partOf(token, length)),
    ) as [number[], number[]];
    return { overview, rows, cols, dark: this.host.scheme.dark, contrast: state.contrast, faded, hidden };
  }

  private point(cell: Cell | null): void {
    this.pointed = cell;
    this.tell();
  }

  private tell(): void {
    const { pointed: cell } = this;
    const { overview } = this.choices.stack;
    const found = this.patterns();
    const hint = html`<span class="detail pale">Choose a head to see it in full</span>`;
    const empty = overview && !this.overview() ? this.host.notice("the overview", [overview]) : hint;
    render(
      cell
        ? html`<span class="detail">Layer ${cell.layer}, Head ${cell.head}${
            found ? `: ${found.text(cell.layer, cell.head)}` : ""
          }</span>`
        : empty,
      this.readout,
    );
  }

  private sheet(): Sheet | null {
    if (this.choices.state.open) return this.detail.sheet();
    const { dark, pale } = this.host.scheme;
    return this.overview() ? this.grid.sheet(inks(dark, pale).pale) : null;
  }

  protected summary(): string[] {
    const { open, selected, order } = this.choices.state;
    if (!open) return [this.choices.where, `sorted by ${new Map<string, string>(ORDERS).get(order as string)}`];
    if (selected) return [`${this.choices.where}, locked`, this.detail.text];
    const weighing = this.weighing();
    const strongest = weighing && spoken(strongestWeights(weighing, this.choices.stack.causal ?? false));
    const pattern = this.patterns()?.pattern(open.layer, open.head) ?? "open";
    return [`Layer ${open.layer}, head ${open.head}`, [pattern, strongest].filter(Boolean).join("; ")];
  }
}

function patternTable(figure: AttentionFigure, stack: Stack, patterns: Patterns): Table {
  const cells = stack.layers.flatMap(({ layer }) =>
    offeredHeads(figure, stack, layer).map((head) => ({ layer, head, ...patterns.at(layer, head) })),
  );
  const table = {
    caption: "What each head mostly attends to",
    columns: ["head", "mostly attends to", "share on average", "largest weight"],
    rows: cells.map(({ layer, head, what, share, largest: weight }): Part[] => [
      [`layer ${layer}, head ${head}`, ...sharedKeys(findLayer(stack, layer), head).slice(0, 1)].join(", "),
      what ?? "no single pattern",
      what ? share : "–",
      weight,
    ]),
  };
  return largest(
    table,
    cells.map(({ share }) => Number(share)),
    "clearest",
  );
}
