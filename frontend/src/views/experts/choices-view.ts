import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import { readableDepth } from "../../charts/readable-depth.js";
import textCss from "../../charts/running-text.css";
import { RunningText, type Stripe } from "../../charts/running-text.js";
import type { Sheet } from "../../charts/svg.js";
import { DEEPEST, ground, tint } from "../../charts/tint.js";
import gridCss from "../../charts/token-grid.css";
import { type Grid, type GridCell, type GridPlace, TokenGrid } from "../../charts/token-grid.js";
import { gridSheet } from "../../charts/token-grid-sheet.js";
import { choice, numbers } from "../../controls/choice.js";
import { within } from "../../controls/keyboard.js";
import { PanelView } from "../../controls/panel-view.js";
import { hint, named, type Part, type Reading, seen } from "../../controls/reading.js";
import { inks } from "../../controls/save.js";
import { largest, type Table } from "../../controls/table.js";
import type { Figure, Sequence } from "../../element/figure.js";
import type { ExpertsFigure, ExpertsState, MixtureData } from "../../element/figure-data.js";
import type { ViewHost } from "../../element/view.js";
import { oneOf, position } from "../../lib/checks.js";
import { json } from "../../lib/json-blob.js";
import { memo } from "../../lib/memo.js";
import css from "../experts.css";
import { percent, sharesOf, variation } from "./balance.js";
import { type BarPlace, type BarRow, ExpertBars } from "./bars.js";
import { Choices, Router, type Share } from "./choices.js";
import { expertColor } from "./color.js";
import { checkPlace, expertControl, groupOf, placeControls, whoseOf } from "./places.js";

const SHOWS = { grid: "layers × tokens", text: "text of one layer", load: "load of the experts" } as const;
/** The largest grid in cells; `views/experts.py` has the same. */
const MOST_CELLS = 6000;
/** px: a line of text, and below it the strips of a token's first expert and of the others. */
const [LINE, FIRST, OTHER] = [24, 8, 4];
/** The largest number of a token's experts that have strips of their own. */
const STRIPS = 4;
/** px of a cell's lower edge that has the colour of the second expert. */
const SECOND = 5;
/** The largest share of an expert's colour behind text. */
const BEHIND = 0.4;

interface Text {
  text: string;
  ends: number[] | null;
}

/** Tokens × layers, coloured by the experts that routers chose; running text; and how many tokens each expert got. */
export class ChoicesView extends PanelView<ExpertsState, ExpertsFigure> {
  static readonly styles = [unsafeCSS(textCss), unsafeCSS(gridCss), unsafeCSS(css)];

  private pointed: GridPlace | null = null;
  private place: BarPlace | null = null;
  private readonly grid = new TokenGrid("Experts by layer and token, the last layer on top", {
    point: (place, announce) => this.point(place, announce),
    choose: ({ row, col }) => this.hold(this.layerOf(row), col),
  });
  private readonly running = new RunningText({
    point: (token, announce) => this.point(token === null ? null : { row: 0, col: token }, announce),
    toggle: (token) => this.hold(this.choices.state.layer, token),
    turn: (by) => this.turn(by),
  });
  private readonly loads = new ExpertBars({
    point: (place, announce) => this.pointAt(place, announce),
    choose: ({ row, expert }) => this.choices.choose({ layer: this.layerOf(row), expert: this.other(expert) }),
  });
  private readonly routers = new ExpertBars({
    point: (place, announce) => this.pointAt(place, announce),
    choose: ({ row, expert }) => this.choices.choose({ layer: this.layerOf(row), expert: this.other(expert) }),
  });
  private readonly tokens = memo(({ text, ends }: Text): string[] =>
    ends ? ends.map((end, i) => text.slice(ends[i - 1] ?? 0, end)) : text.split(""),
  );
  private readonly gridOf = memo((layers: Choices[]): Grid => {
    const { tokens, special } = this.sequence;
    const rows = layers.map(({ mixture }) => `layer ${mixture.layer}`);
    return { rows, above: null, below: { name: "input", tokens, special } };
  });

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as ExpertsFigure, (figure as ExpertsFigure).initial);
  }

  protected override resized(): void {
    super.resized();
    if (this.choices.state.show === "text") this.host.requestUpdate();
  }

  protected check({ show, expert, token, ...place }: ExpertsState): void {
    checkPlace(this.figure.mixtures, place, expert);
    oneOf("show", show, Object.keys(SHOWS));
    position("token", token, this.sequenceOf(place.stack).tokens.length);
  }

  private nameOf(stack: string): string {
    return stack === "decoder" ? "target" : "text";
  }

  private sequenceOf(stack: string): Sequence {
    return this.figure.sequences[this.nameOf(stack)] as Sequence;
  }

  private get sequence(): Sequence {
    return this.sequenceOf(this.choices.state.stack);
  }

  /** The mixtures of the stack and part in view, the last layer first. */
  private get group(): MixtureData[] {
    return groupOf(this.figure.mixtures, this.choices.state);
  }

  private get experts(): number {
    return Math.max(...this.group.map(({ experts }) => experts));
  }

  /** Their choices, or undefined while some load. */
  private get layers(): Choices[] | undefined {
    const found = this.group.map((mixture) => this.host.blob(mixture.choices, (bytes) => new Choices(bytes, mixture)));
    return found.every((each) => each !== undefined) ? found : undefined;
  }

  private get text(): string[] | undefined {
    const found = this.host.blob(this.figure.texts[this.nameOf(this.choices.state.stack)] ?? {}, (bytes) =>
      json<Text>(bytes),
    );
    return found && this.tokens(found);
  }

  private layerOf(row: number): number {
    return (this.group[row] as MixtureData).layer;
  }

  private rowOf(layer: number): number {
    return this.group.findIndex((mixture) => mixture.layer === layer);
  }

  private get fits(): boolean {
    const cells = this.group.length * this.sequence.tokens.length;
    return cells <= MOST_CELLS || this.figure.initial.show === "grid";
  }

  protected get where(): string {
    const { show, layer } = this.choices.state;
    const whose = whoseOf(this.figure.mixtures, this.choices.state);
    if (show === "load") return `Load of the experts${whose}`;
    return show === "text" ? `Experts${whose} in layer ${layer}` : `Experts${whose} by layer and token`;
  }

  protected override get how(): string[] {
    const { expert } = this.choices.state;
    return expert === null ? [] : [`expert ${expert} alone`];
  }

  protected override controls(): unknown {
    const { state } = this.choices;
    const shows = Object.entries(SHOWS).filter(([show]) => show !== "grid" || this.fits) as [
      ExpertsState["show"],
      string,
    ][];
    const layers = this.group.map(({ layer }) => layer).reverse();
    return [
      choice("Show", state.show, shows, (show) => this.choices.choose({ show })),
      placeControls(this.figure.mixtures, state, (change) =>
        this.choices.choose({ ...change, expert: null, token: null }),
      ),
      state.show === "text" && layers.length > 1
        ? choice("Layer", state.layer, numbers(layers), (layer) => this.choices.choose({ layer }))
        : nothing,
      expertControl(this.experts, state.expert, (expert) => this.choices.choose({ expert })),
    ];
  }

  protected legend(): string {
    const { show, expert, token } = this.choices.state;
    const several = Math.max(...this.group.map(({ top_k }) => top_k)) > 1;
    if (show === "load") return "Bar: share of all choices · dashed: equal shares · CV: coefficient of variation";
    const bars = token === null ? "" : " · bars: the router’s probabilities, pale if not chosen";
    if (expert !== null) return `Coloured: tokens that expert ${expert} got${bars}`;
    const mark = show === "text" ? "strips below: all its experts" : "mark below: its second expert";
    const first = show === "text" ? "Colour: a token’s first expert" : "Number and colour: a token’s first expert";
    return `${first}${several ? ` · ${mark}` : ""}${bars}`;
  }

  protected override notes(): string {
    return this.figure.notes.join(" · ");
  }

  protected body(): unknown {
    const { show } = this.choices.state;
    return show === "load" ? this.loads.element : show === "text" ? this.running.element : this.grid.element;
  }

  /** Return what the router gives all experts at the token that is held, in each layer. */
  protected override detail(): unknown {
    const { token, show } = this.choices.state;
    if (token === null || show === "load" || this.group.every(({ stored }) => !stored)) return nothing;
    return html`<p class="heading">Router at ${seen(named(this.sequence.tokens, token))} in each layer</p>${this.routers.element}`;
  }

  private color(expert: number): string {
    return expertColor(expert, this.experts, this.host.scheme.dark);
  }

  /** The experts of a token that are shown in colour. */
  private shown(layer: Choices, token: number): Share[] {
    const { expert } = this.choices.state;
    const chosen = layer.at(token);
    return expert === null ? chosen : chosen.filter((each) => each.expert === expert);
  }

  protected draw(): boolean {
    const { layers } = this;
    const { show, token, layer } = this.choices.state;
    if (!layers) return false;
    if (show === "load") this.drawLoads(layers);
    else if (show === "text") {
      const { text, running } = this;
      if (!text) return false;
      running.show(text);
      running.label = `${text.length} tokens; left and right read them, up and down turn to other layers`;
      running.paint(this.stripes(layers[this.rowOf(layer)] as Choices), getComputedStyle(running.element).color);
    } else {
      this.grid.show(this.gridOf(layers));
      this.grid.paint((place) => this.cell(layers, place));
    }
    if (token !== null && show !== "load") this.drawRouters(layers, token);
    this.mark();
    return true;
  }

  private cell(layers: Choices[], { row, col }: GridPlace): GridCell {
    const layer = layers[row] as Choices;
    const [first, second] = this.shown(layer, col);
    const text = String((first ?? layer.at(col)[0])?.expert ?? "–");
    if (!first) return { text };
    const { background = "", ink = "" } = tint(this.color(first.expert), DEEPEST, this.host.scheme);
    if (!second) return { text, background: `${background} padding-box`, ink };
    const edge = ground(this.color(second.expert), DEEPEST, this.host.scheme);
    return {
      text,
      ink,
      background: `linear-gradient(to top,${edge} ${SECOND}px,${background} ${SECOND}px) padding-box`,
    };
  }

  /** The first expert's colour behind the text, as deep as the text can be read on, and all experts in strips below. */
  private stripes(layer: Choices): Stripe[] {
    const { scheme } = this.host;
    const ink = getComputedStyle(this.running.element).color;
    const pale = Array.from({ length: this.experts }, (_, expert) => {
      const share = readableDepth(this.color(expert), ink, scheme, { most: BEHIND, least: 0.15, step: 0.02 });
      return ground(this.color(expert), share, scheme);
    });
    const at = (rank: number) => (token: number) => {
      const found = this.shown(layer, token)[rank];
      return found ? ground(this.color(found.expert), DEEPEST, scheme) : "";
    };
    const behind = (token: number) => pale[this.shown(layer, token)[0]?.expert ?? -1] ?? "";
    const strips = this.choices.state.expert === null ? Math.min(STRIPS, layer.mixture.top_k) : 1;
    return [
      { color: behind, height: LINE },
      ...Array.from({ length: strips }, (_, rank) => ({ color: at(rank), height: rank ? OTHER : FIRST })),
    ];
  }

  private drawLoads(layers: Choices[]): void {
    const { expert } = this.choices.state;
    const most = Math.max(...layers.flatMap(({ mixture }) => sharesOf(mixture.load)));
    const rows = layers.map(({ mixture }): BarRow => {
      const shares = sharesOf(mixture.load);
      return {
        name: `layer ${mixture.layer}`,
        said: `CV ${variation(shares).toFixed(2)} · most ${percent(Math.max(...shares))}`,
        shares: shares.map((share) => share / (most || 1)),
        even: 1 / shares.length / (most || 1),
        colors: shares.map((_, each) => this.color(each)),
        full: (each) => expert === null || each === expert,
      };
    });
    this.loads.show(rows);
    this.loads.label = `Load of ${this.experts} experts in ${layers.length} layers; arrow keys read the bars`;
  }

  private drawRouters(layers: Choices[], token: number): void {
    const rows = layers.map((layer): BarRow => {
      const { mixture } = layer;
      const shares = new Array<number>(mixture.experts).fill(0);
      for (const { expert, value } of this.routerAt(mixture, token) ?? []) shares[expert] = value;
      const bits = layer.entropy(token);
      return {
        name: `layer ${mixture.layer}`,
        said: bits === null ? "" : `entropy ${bits.toFixed(2)} of ${Math.log2(mixture.experts).toFixed(2)} bits`,
        shares,
        even: 1 / mixture.experts,
        colors: shares.map((_, expert) => this.color(expert)),
        full: (expert) => layer.went(token, expert),
      };
    });
    this.routers.show(rows);
    this.routers.label = `Probabilities of ${this.experts} experts in ${layers.length} layers; arrow keys read the bars`;
  }

  /** Return what a router gives the experts at a token, as far as it is stored; undefined while it loads. */
  private routerAt({ router, stored }: MixtureData, token: number): Share[] | undefined {
    return router && this.host.blob(router, (bytes) => new Router(bytes, stored))?.at(token);
  }

  protected override get locked(): GridPlace | null {
    const { token, layer } = this.choices.state;
    return token === null ? null : { row: this.rowOf(layer), col: token };
  }

  private mark(): void {
    this.grid.mark(this.pointed, this.locked);
    this.running.mark(this.pointed?.col ?? this.choices.state.token);
    this.loads.mark(this.place);
    this.routers.mark(this.place);
  }

  private point(place: GridPlace | null, announce: boolean): void {
    if (place?.row === this.pointed?.row && place?.col === this.pointed?.col && !announce) return;
    this.pointed = place;
    this.mark();
    this.tell(announce);
  }

  private pointAt(place: BarPlace | null, announce: boolean): void {
    if (place?.row === this.place?.row && place?.expert === this.place?.expert && !announce) return;
    this.place = place;
    this.mark();
    this.tell(announce);
  }

  private hold(layer: number, token: number): void {
    const { state } = this.choices;
    const same = state.token === token && state.layer === layer;
    this.choices.choose({ layer, token: same ? null : token });
  }

  private other(expert: number): number | null {
    return this.choices.state.expert === expert ? null : expert;
  }

  /** The text is coloured by another layer. */
  private turn(by: number): void {
    const row = within(this.rowOf(this.choices.state.layer) + by, { start: 0, end: this.group.length });
    this.choices.choose({ layer: this.layerOf(row) });
  }

  protected notice(): TemplateResult {
    return this.host.notice(
      "choices",
      this.group.map(({ choices }) => choices),
    );
  }

  protected reading(): Reading | null {
    const { layers } = this;
    if (!layers) return null;
    const { show, token, layer } = this.choices.state;
    if (this.place) {
      const at = layers[this.place.row];
      return at ? { lines: [show === "load" ? this.loadLine(at) : this.routerLine(at, token ?? 0)] } : null;
    }
    if (show === "load") return { lines: [hint("a bar to read an expert’s load")], hint: true };
    const read = this.pointed ?? this.locked;
    const at = layers[show === "text" ? this.rowOf(layer) : (read?.row ?? 0)];
    if (!read || !at) return { lines: [hint("a token to read its experts")], hint: true };
    return { lines: this.tokenLines(at, read.col) };
  }

  private tokenLines(layer: Choices, token: number): Part[][] {
    const { mixture } = layer;
    const chosen = layer.at(token).map(({ expert, value }) => `expert ${expert} with weight ${value.toFixed(2)}`);
    const which = chosen.length ? chosen.join(", ") : "no expert: it was dropped or skipped";
    const bits = layer.entropy(token);
    const spread =
      bits === null
        ? []
        : [[`Entropy of the router: ${bits.toFixed(2)} of ${Math.log2(mixture.experts).toFixed(2)} bits`]];
    return [[`Layer ${mixture.layer}, `, named(this.sequence.tokens, token), `: ${which}`], ...spread];
  }

  private loadLine({ mixture }: Choices): Part[] {
    const expert = this.place?.expert ?? 0;
    const [count = 0, share = 0] = [mixture.load[expert], sharesOf(mixture.load)[expert]];
    const tokens = this.sequence.tokens.length;
    return [
      `Layer ${mixture.layer}, expert ${expert}: ${count} of ${tokens} tokens, ${percent(share)} of the choices; ` +
        `equal shares are ${percent(1 / mixture.experts)}`,
    ];
  }

  private routerLine(layer: Choices, token: number): Part[] {
    const { mixture } = layer;
    const expert = this.place?.expert ?? 0;
    const known = this.routerAt(mixture, token)?.find((each) => each.expert === expert);
    const chosen = layer.at(token).find((each) => each.expert === expert);
    const weight = chosen ? `, chosen with weight ${chosen.value.toFixed(2)}` : ", not chosen";
    const probability = known ? percent(known.value) : "a probability too small to be stored";
    return [
      `Layer ${mixture.layer}, expert ${expert} at `,
      named(this.sequence.tokens, token),
      `: ${probability}${weight}`,
    ];
  }

  protected override free(): boolean {
    const held = this.choices.state.token !== null;
    if (held) this.choices.choose({ token: null });
    return held;
  }

  protected sheet(): Sheet | null {
    const { layers, running, loads, host } = this;
    const { show, layer } = this.choices.state;
    if (!layers) return null;
    const { dark, pale } = host.scheme;
    if (show === "load") return { ...loads.size, draw: (pen) => loads.write(pen, inks(dark, pale)) };
    if (show === "grid")
      return gridSheet(this.gridOf(layers), (place) => this.savedCell(layers, place), inks(dark, pale));
    const { text } = this;
    if (!text) return null;
    const stripes = this.stripes(layers[this.rowOf(layer)] as Choices);
    return running.sheet(stripes, text);
  }

  /** A file has the numbers of all experts in place of marks. */
  private savedCell(layers: Choices[], place: GridPlace): GridCell {
    const layer = layers[place.row] as Choices;
    const text = layer
      .at(place.col)
      .map(({ expert }) => expert)
      .join(" ");
    const [first] = this.shown(layer, place.col);
    return { text: text || "–", ...(first ? tint(this.color(first.expert), DEEPEST, this.host.scheme) : {}) };
  }

  protected table(): Table | null {
    const { layers } = this;
    if (!layers) return null;
    if (this.choices.state.show === "load") {
      const columns = ["", ...Array.from({ length: this.experts }, (_, expert) => `expert ${expert}`), "CV"];
      const rows = layers.map(({ mixture }) => [
        `layer ${mixture.layer}`,
        ...Array.from({ length: this.experts }, (_, expert) => String(mixture.load[expert] ?? "")),
        variation(sharesOf(mixture.load)).toFixed(2),
      ]);
      return { caption: `${this.where}: tokens of each expert`, columns, rows };
    }
    const { tokens } = this.sequence;
    const ordered = [...layers].reverse();
    const rows = tokens.map((token, at): Part[] => [
      { token, at: null },
      String(at),
      ...ordered.map((layer) =>
        layer
          .at(at)
          .map(({ expert, value }) => `${expert} (${value.toFixed(2)})`)
          .join(", "),
      ),
    ]);
    const columns = ["token", "position", ...ordered.map(({ mixture }) => `layer ${mixture.layer}`)];
    const spread = tokens.map((_, at) => ordered.reduce((sum, layer) => sum + (layer.entropy(at) ?? 0), 0));
    return largest(
      { caption: "Experts of each token, with their weights", columns, rows },
      spread,
      "least certain tokens",
    );
  }

  /**
   * Returns the choices of one layer's router (by default that of the state): for each token the experts, their weights
   * and the entropy in bits; for each expert the number of its tokens. With `token`, also the router's probabilities.
   */
  async values(request: { layer?: number; token?: number } = {}): Promise<object> {
    const { state } = this.choices;
    const { layer = state.layer, token } = request;
    this.check({ ...state, layer, token: token ?? null });
    const choices = (await this.loaded("choices", () => this.layers))[this.rowOf(layer)] as Choices;
    const { mixture } = choices;
    const each = Array.from({ length: choices.tokens }, (_, at) => choices.at(at));
    const about = { stack: state.stack, part: state.part, layer, experts: mixture.experts };
    const router =
      token === undefined || !mixture.router
        ? {}
        : { router: await this.loaded("router", () => this.routerAt(mixture, token)) };
    return {
      ...about,
      chosen: each.map((shares) => shares.map(({ expert }) => expert)),
      weights: each.map((shares) => shares.map(({ value }) => value)),
      entropy: each.map((_, at) => choices.entropy(at)),
      load: mixture.load,
      ...router,
    };
  }
}
