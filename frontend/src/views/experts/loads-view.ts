import type { TemplateResult } from "lit";
import type { Sheet } from "../../charts/svg.js";
import { DEEPEST, tint } from "../../charts/tint.js";
import { type Grid, type GridCell, type GridPlace, TokenGrid } from "../../charts/token-grid.js";
import { gridSheet } from "../../charts/token-grid-sheet.js";
import { choice, numbers } from "../../controls/choice.js";
import { PanelView } from "../../controls/panel-view.js";
import { hint, named, type Part, type Reading } from "../../controls/reading.js";
import { inks } from "../../controls/save.js";
import { largest, type Table } from "../../controls/table.js";
import type { Figure } from "../../element/figure.js";
import type { LoadData, LoadsFigure, LoadsState } from "../../element/figure-data.js";
import type { ViewHost } from "../../element/view.js";
import { oneOf } from "../../lib/checks.js";
import { json } from "../../lib/json-blob.js";
import { memo } from "../../lib/memo.js";
import { percent, sharesOf, variation } from "./balance.js";
import { type BarPlace, type BarRow, ExpertBars } from "./bars.js";
import { expertColor } from "./color.js";
import { checkPlace, expertControl, groupOf, placeControls, whoseOf } from "./places.js";

const SHOWS = { load: "load of the experts", tokens: "tokens of one layer" } as const;
/** px that the names of rows take in a file. */
const NAMES = 112;

interface Loads {
  vocabulary: Record<string, { tokens: string[]; occurrences: number[] }>;
  mixtures: { counts: number[]; probabilities: number[] | null; tokens: [at: number, count: number][][] }[];
}

/** A token and how often it went to an expert. */
interface TokenLoad {
  token: string;
  count: number;
  occurrences: number;
}

/** The choices of the router of one layer, counted over the corpus. */
interface Layer {
  mixture: LoadData;
  counts: number[];
  shares: number[];
  probabilities: number[] | null;
  tokens: TokenLoad[][];
}

/** How many tokens of a corpus each expert got, layer by layer, and which tokens an expert gets most of. */
export class LoadsView extends PanelView<LoadsState, LoadsFigure> {
  private pointed: GridPlace | null = null;
  private place: BarPlace | null = null;
  private readonly bars = new ExpertBars({
    point: (place, announce) => {
      this.place = place;
      this.pointedAt(announce);
    },
    choose: ({ expert }) => this.toggle(expert),
  });
  private readonly grid = new TokenGrid("Experts and the tokens that they get the largest shares of", {
    point: (place, announce) => {
      this.pointed = place;
      this.pointedAt(announce);
    },
    choose: ({ row }) => this.toggle(row),
  });
  private readonly layersOf = memo(({ vocabulary, mixtures }: Loads): Layer[] =>
    mixtures.map(({ counts, probabilities, tokens }, number) => {
      const mixture = this.figure.mixtures[number] as LoadData;
      const known = vocabulary[mixture.stack] as Loads["vocabulary"][string];
      const load = ([at, count]: [number, number]): TokenLoad => ({
        token: known.tokens[at] as string,
        count,
        occurrences: known.occurrences[at] as number,
      });
      return { mixture, counts, shares: sharesOf(counts), probabilities, tokens: tokens.map((some) => some.map(load)) };
    }),
  );
  private readonly gridOf = memo(({ shares, tokens }: Layer): Grid => {
    const ranks = Math.max(1, ...tokens.map(({ length }) => length));
    const rows = shares.map((share, expert) => `expert ${expert} · ${percent(share)}`);
    const above = { name: "rank", tokens: Array.from({ length: ranks }, (_, rank) => `${rank + 1}.`) };
    return { rows, above, below: null };
  });

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as LoadsFigure, (figure as LoadsFigure).initial);
  }

  protected check({ show, expert, ...place }: LoadsState): void {
    checkPlace(this.figure.mixtures, place, expert);
    oneOf("show", show, Object.keys(SHOWS));
  }

  /** The layers of the stack and part in view, the last one first; undefined while they load. */
  private get layers(): Layer[] | undefined {
    const loads = this.host.blob(this.figure.loads, (bytes) => json<Loads>(bytes));
    if (!loads) return undefined;
    const every = this.layersOf(loads);
    return groupOf(this.figure.mixtures, this.choices.state).map(
      (mixture) => every.find((layer) => layer.mixture === mixture) as Layer,
    );
  }

  private get layer(): Layer | undefined {
    return this.layers?.find(({ mixture }) => mixture.layer === this.choices.state.layer);
  }

  private get experts(): number {
    return Math.max(...groupOf(this.figure.mixtures, this.choices.state).map(({ experts }) => experts));
  }

  protected get where(): string {
    const { show, layer, expert } = this.choices.state;
    const whose = whoseOf(this.figure.mixtures, this.choices.state);
    const what = show === "load" ? `Load of the experts${whose}` : `Tokens of the experts${whose} in layer ${layer}`;
    return expert === null ? what : `${what}, expert ${expert} alone`;
  }

  protected override controls(): unknown {
    const { mixtures } = this.figure;
    const { state } = this.choices;
    const shows = Object.entries(SHOWS) as [LoadsState["show"], string][];
    const layers = groupOf(mixtures, state).map(({ layer }) => layer);
    return [
      choice("Show", state.show, shows, (show) => this.choices.choose({ show })),
      placeControls(mixtures, state, (place) => this.choices.choose({ ...place, expert: null })),
      state.show === "tokens" && layers.length > 1
        ? choice("Layer", state.layer, numbers(layers.reverse()), (layer) => this.choices.choose({ layer }))
        : null,
      expertControl(this.experts, state.expert, (expert) => this.choices.choose({ expert })),
    ];
  }

  protected legend(): string {
    if (this.choices.state.show === "tokens") return "Depth: share of a token that went there";
    const isKnown = this.figure.mixtures.some(({ entropy }) => entropy !== null);
    const tick = isKnown ? " · tick: mean probability" : "";
    const bits = isKnown ? " · entropy: the router’s mean, in bits" : "";
    return `Bar: share of all choices${tick} · dashed: equal shares · CV: coefficient of variation${bits}`;
  }

  protected override notes(): string {
    return this.figure.notes.join(" · ");
  }

  protected body(): unknown {
    return this.choices.state.show === "load" ? this.bars.element : this.grid.element;
  }

  private color(expert: number): string {
    return expertColor(expert, this.experts, this.host.scheme.dark);
  }

  protected draw(): boolean {
    const { layers, layer } = this;
    if (!layers || !layer) return false;
    if (this.choices.state.show === "load") this.drawBars(layers);
    else {
      this.grid.show(this.gridOf(layer));
      this.grid.paint((place) => this.cell(layer, place));
    }
    this.mark();
    return true;
  }

  private drawBars(layers: Layer[]): void {
    const { expert } = this.choices.state;
    const most = Math.max(...layers.flatMap(({ shares, probabilities }) => [...shares, ...(probabilities ?? [])])) || 1;
    const rows = layers.map(({ mixture, shares, probabilities }): BarRow => {
      const bits = mixture.entropy === null ? "" : ` · entropy ${mixture.entropy.toFixed(2)}`;
      return {
        name: `layer ${mixture.layer}`,
        said: `CV ${variation(shares).toFixed(2)}${bits}`,
        shares: shares.map((share) => share / most),
        ticks: probabilities?.map((mean) => mean / most),
        even: 1 / shares.length / most,
        colors: shares.map((_, each) => this.color(each)),
        full: (each) => expert === null || each === expert,
      };
    });
    this.bars.show(rows);
    this.bars.label = `Load of ${this.experts} experts in ${layers.length} layers; arrow keys read the bars`;
  }

  private cell({ tokens }: Layer, { row, col }: GridPlace): GridCell {
    const { expert } = this.choices.state;
    const found = tokens[row]?.[col];
    if (!found) return { text: "" };
    const share = expert === null || expert === row ? found.count / found.occurrences : 0;
    const { background = "", ink = "" } = tint(this.color(row), DEEPEST * share, this.host.scheme);
    return { text: found.token, background: background && `${background} padding-box`, ink };
  }

  private mark(): void {
    const { expert } = this.choices.state;
    this.grid.mark(this.pointed, expert === null ? null : { row: expert, col: 0 });
    this.bars.mark(this.place);
  }

  private pointedAt(announce: boolean): void {
    this.mark();
    this.tell(announce);
  }

  private toggle(expert: number): void {
    this.choices.choose({ expert: this.choices.state.expert === expert ? null : expert });
  }

  protected override free(): boolean {
    const held = this.choices.state.expert !== null;
    if (held) this.choices.choose({ expert: null });
    return held;
  }

  protected notice(): TemplateResult {
    return this.host.notice("loads", [this.figure.loads]);
  }

  protected reading(): Reading | null {
    const { layers, layer, place, pointed } = this;
    if (!layers || !layer) return null;
    const { show, expert } = this.choices.state;
    if (show === "load") {
      const at = place && layers[place.row];
      return at
        ? { lines: [[loadText(at, place.expert)], [balanceText(at)]] }
        : { lines: [hint("a bar to read an expert’s load")], hint: true };
    }
    const found = pointed && layer.tokens[pointed.row]?.[pointed.col];
    if (found) return { lines: [tokenText(layer, pointed.row, found)] };
    if (expert !== null && !pointed) return { lines: [[loadText(layer, expert)]] };
    return { lines: [hint("a token to read how often it went to the expert")], hint: true };
  }

  protected sheet(): Sheet | null {
    const { layer, bars, host } = this;
    if (!layer) return null;
    const { dark, pale } = host.scheme;
    if (this.choices.state.show === "load") return { ...bars.size, draw: (pen) => bars.write(pen, inks(dark, pale)) };
    const cell = (place: GridPlace): GridCell => {
      const { background = "", ...rest } = this.cell(layer, place);
      return { ...rest, background: background.split(" ")[0] ?? "" };
    };
    return gridSheet(this.gridOf(layer), cell, inks(dark, pale), NAMES);
  }

  protected table(): Table | null {
    const { layers, layer } = this;
    if (!layers || !layer) return null;
    if (this.choices.state.show === "tokens") {
      const ranks = this.gridOf(layer).above?.tokens as string[];
      const rows = layer.tokens.map((tokens, expert): Part[] => [
        `expert ${expert}`,
        percent(layer.shares[expert] as number),
        ...ranks.map((_, rank) => {
          const found = tokens[rank];
          return found ? [{ token: found.token, at: null }, ` ${percent(found.count / found.occurrences)}`] : "";
        }),
      ]);
      const columns = ["", "load", ...ranks];
      return largest(
        { caption: `${this.where}, and the share that went there`, columns, rows },
        layer.counts,
        "largest",
      );
    }
    const experts = Array.from({ length: this.experts }, (_, expert) => expert);
    const rows = layers.map((each) => {
      const { mixture, shares, probabilities } = each;
      const both = experts.map((expert) => {
        const mean = probabilities?.[expert];
        return expert < shares.length
          ? `${percent(shares[expert] as number)}${mean === undefined ? "" : ` (${percent(mean)})`}`
          : "";
      });
      return [
        `layer ${mixture.layer}`,
        ...both,
        variation(shares).toFixed(2),
        mixture.entropy?.toFixed(2) ?? "",
        lossOf(each),
      ];
    });
    const columns = ["", ...experts.map((expert) => `expert ${expert}`), "CV", "entropy, bits", "balance loss"];
    return { caption: `${this.where}: share of the choices (mean probability)`, columns, rows };
  }

  /**
   * Returns what the router of one layer (by default that of the state) did: for each expert the number of its tokens,
   * the router's mean probability or null, and the tokens that it got the largest shares of.
   */
  async values(request: { layer?: number } = {}): Promise<object> {
    const { state } = this.choices;
    const { layer = state.layer } = request;
    this.check({ ...state, layer });
    const layers = await this.loaded("loads", () => this.layers);
    const { mixture, counts, probabilities, tokens } = layers.find((each) => each.mixture.layer === layer) as Layer;
    return { ...mixture, load: counts, probabilities, most: tokens };
  }
}

function loadText({ mixture, counts, shares, probabilities }: Layer, expert: number): string {
  const mean = probabilities?.[expert];
  return (
    `Layer ${mixture.layer}, expert ${expert}: ${percent(shares[expert] ?? 0)} of the choices ` +
    `(${(counts[expert] ?? 0).toLocaleString("en")} of ${mixture.tokens.toLocaleString("en")} tokens)` +
    `${mean === undefined ? "" : `; mean probability ${percent(mean)}`}`
  );
}

/** The entropies of the router and of the load, and the load-balancing loss. */
function balanceText(layer: Layer): string {
  const { mixture, shares } = layer;
  const spread = -shares.reduce((sum, share) => sum + (share ? share * Math.log2(share) : 0), 0);
  const most = Math.log2(mixture.experts).toFixed(2);
  const own = mixture.entropy === null ? [] : [`of the router ${mixture.entropy.toFixed(2)}`];
  const loss = lossOf(layer);
  const entropies = [...own, `of the load ${spread.toFixed(2)}`].join(", ");
  return `Entropy ${entropies} of ${most} bits${loss ? `; load-balancing loss ${loss}, 1 if balanced` : ""}`;
}

/** The loss of Switch Transformers: experts × Σ load × mean probability; "" if it is unknown. */
function lossOf({ shares, probabilities }: Layer): string {
  if (!probabilities) return "";
  const sum = shares.reduce((total, share, expert) => total + share * (probabilities[expert] as number), 0);
  return (shares.length * sum).toFixed(3);
}

function tokenText({ mixture, tokens }: Layer, expert: number, { token, count, occurrences }: TokenLoad): Part[] {
  const even = percent(mixture.top_k / mixture.experts);
  const texts = (tokens[expert] ?? []).map((each) => each.token);
  return [
    `Layer ${mixture.layer}, expert ${expert}: `,
    named(texts, texts.indexOf(token)),
    ` went here ${count.toLocaleString("en")} of the ${occurrences.toLocaleString("en")} times it occurs, ` +
      `${percent(count / occurrences)}; with equal loads it would be ${even}`,
  ];
}
