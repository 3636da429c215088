import { type TemplateResult, unsafeCSS } from "lit";
import flowCss from "../charts/flow.css";
import { Flow, groupsOf, type Paint } from "../charts/flow.js";
import { flowSheet } from "../charts/flow-sheet.js";
import { type Predictions, predictionsOf, predictionTable, topAt } from "../charts/predictions.js";
import type { Sheet } from "../charts/svg.js";
import { accent, DEEPEST, ground, tint } from "../charts/tint.js";
import topCss from "../charts/top.css";
import { percent, topLines, topList } from "../charts/top.js";
import { choice } from "../controls/choice.js";
import { type Ramp, ramp } from "../controls/legend.js";
import { PanelView } from "../controls/panel-view.js";
import { named, type Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import type { Table } from "../controls/table.js";
import type { Figure, Sequence } from "../element/figure.js";
import type { TokensFigure, TokensState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf, position } from "../lib/checks.js";
import { memo } from "../lib/memo.js";
import css from "./tokens.css";

const SHADES = { probability: "probability", rank: "rank", none: "nothing" } as const;

/** The place of a shown token. */
interface Place {
  name: string;
  index: number;
}

/** A text's tokens, each with what the model held likely in its place. */
export default class TokensView extends PanelView<TokensState, TokensFigure> {
  static readonly styles = [unsafeCSS(flowCss), unsafeCSS(topCss), unsafeCSS(css)];

  private pointed: number | null = null;
  private readonly flow = new Flow("Tokens", {
    point: (index, announce) => {
      if (index === this.pointed) return;
      this.pointed = index;
      this.mark();
      this.tell(announce);
    },
    choose: (index) => this.choices.choose({ selected: this.choices.state.selected === index ? null : index }),
  });
  private readonly groups = memo((figure: TokensFigure) => groupsOf(figure));
  private readonly placesOf = memo(placesOf);

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as TokensFigure, (figure as TokensFigure).initial);
  }

  protected check({ shade, selected }: TokensState): void {
    oneOf("shade", shade, Object.keys(SHADES));
    position("selected", selected, this.places.length);
  }

  protected get where(): string {
    return this.figure.texts.length > 1 ? "Input and output" : "Tokens";
  }

  protected override get how(): string[] {
    return [`colour: ${SHADES[this.choices.state.shade]}`];
  }

  protected override controls(): unknown {
    const options = Object.entries(SHADES) as [keyof typeof SHADES, string][];
    return choice("Colour", this.choices.state.shade, options, (shade) => this.choices.choose({ shade }));
  }

  protected legend(): string {
    const { shade } = this.choices.state;
    const colour = { probability: "Probability of the token · ", rank: "Rank of the token · ", none: "" }[shade];
    return `${colour}numbers are positions`;
  }

  protected override ramp(): Ramp | null {
    const { shade } = this.choices.state;
    if (shade === "none") return null;
    const ends: Ramp["ends"] = shade === "rank" ? ["last", "first"] : ["0%", "100%"];
    return ramp(ends, (share) => ground(accent(this.host.scheme), DEEPEST * share, this.host.scheme));
  }

  protected body(): unknown {
    return this.flow.element;
  }

  private get places(): Place[] {
    return this.placesOf(this.figure);
  }

  private get predictions(): Predictions | undefined {
    return predictionsOf(this.host, this.figure.predictions);
  }

  protected draw(): boolean {
    this.flow.show(this.groups(this.figure));
    const { predictions } = this;
    if (!predictions) return false;
    this.flow.paint((index) => this.paint(index, predictions));
    this.mark();
    return true;
  }

  private mark(): void {
    this.flow.mark(this.read, this.choices.state.selected);
  }

  private actual(index: number, { actual }: Predictions): [number, number] | null {
    const place = this.places[index];
    return place?.name === this.figure.predicted ? (actual[place.index] ?? null) : null;
  }

  private paint(index: number, predictions: Predictions): Paint {
    const { shade } = this.choices.state;
    const actual = this.actual(index, predictions);
    if (!actual || shade === "none") return {};
    const share = shade === "probability" ? actual[0] : 1 / actual[1];
    return tint(accent(this.host.scheme), DEEPEST * share, this.host.scheme);
  }

  protected notice(): TemplateResult {
    return this.host.notice("predictions", [this.figure.predictions]);
  }

  /** The token that is read: pointed at, held, or the least expected one. */
  private get read(): number | null {
    const { predictions } = this;
    return this.pointed ?? this.choices.state.selected ?? (predictions ? this.least(predictions) : null);
  }

  protected reading(): Reading | null {
    const { predictions, read: index } = this;
    if (!predictions) return null;
    if (index === null) return { lines: [["The model has predicted none of these tokens"]], hint: true };
    const { name, index: at } = this.places[index] as Place;
    const { tokens } = this.figure.sequences[name] as Sequence;
    const found = name === this.figure.predicted ? topAt(predictions, at) : null;
    if (!found) return { lines: [[named(tokens, at), ": given, not predicted"]] };
    const actual = this.actual(index, predictions);
    const held = actual ? `${percent(actual[0])}, rank ${actual[1]}` : "to be filled in";
    const chosen = this.pointed ?? this.choices.state.selected;
    const first = chosen === null && actual ? "Least expected: " : "";
    return {
      lines: [[first, named(tokens, at), `: ${held}`]],
      list: topList(found, accent(this.host.scheme), tokens[at]),
      listed: topLines(found),
    };
  }

  /** The token that the model held least likely; where it was to fill one in, that one. */
  private least(predictions: Predictions): number | null {
    const known = this.places.flatMap(({ name, index }, at) =>
      name === this.figure.predicted && predictions.top[index]
        ? [{ at, probability: predictions.actual[index]?.[0] ?? -1 }]
        : [],
    );
    return known.length ? known.reduce((a, b) => (b.probability < a.probability ? b : a)).at : null;
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
    const { predictions } = this;
    const { dark, pale } = this.host.scheme;
    return predictions
      ? flowSheet(this.groups(this.figure), (index) => this.paint(index, predictions), inks(dark, pale))
      : null;
  }

  protected table(): Table | null {
    const { predictions, places, figure } = this;
    const at = places.flatMap(({ name, index }) => (name === figure.predicted ? [index] : []));
    const { tokens } = figure.sequences[figure.predicted] as Sequence;
    return predictions ? predictionTable(predictions, tokens, at, "How likely the model held each token") : null;
  }

  /** Returns the probability, rank and entropy of each token of the predicted sequence, and the likeliest token. */
  async values(): Promise<object> {
    const predictions = await this.loaded("predictions", () => this.predictions);
    const { tokens } = this.figure.sequences[this.figure.predicted] as Sequence;
    return tokens.map((token, index) => {
      const actual = predictions.actual[index];
      const top = topAt(predictions, index);
      return {
        token,
        probability: actual?.[0] ?? null,
        rank: actual?.[1] ?? null,
        entropy: predictions.entropy[index],
        top,
      };
    });
  }
}

function placesOf({ texts }: TokensFigure): Place[] {
  return texts.flatMap(({ name, start, end }) =>
    Array.from({ length: end - start }, (_, i) => ({ name, index: start + i })),
  );
}
