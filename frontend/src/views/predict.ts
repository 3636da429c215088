import { html, type TemplateResult, unsafeCSS } from "lit";
import flowCss from "../charts/flow.css";
import { Flow, type FlowGroup, groupsOf } from "../charts/flow.js";
import { type Predictions, predictionsOf, predictionTable, topAt } from "../charts/predictions.js";
import type { Sheet } from "../charts/svg.js";
import { accent } from "../charts/tint.js";
import topCss from "../charts/top.css";
import { percent, type Top, topLines, topList } from "../charts/top.js";
import { PanelView } from "../controls/panel-view.js";
import type { Part, Reading } from "../controls/reading.js";
import { inks } from "../controls/save.js";
import type { Table } from "../controls/table.js";
import type { Figure, Sequence, Stretch } from "../element/figure.js";
import type { PredictFigure, PredictState } from "../element/figure-data.js";
import type { ViewHost } from "../element/view.js";
import { oneOf } from "../lib/checks.js";
import { memo } from "../lib/memo.js";
import { plainText } from "../lib/token.js";
import css from "./predict.css";

/** Tasks of which a text has one output, in no token's place. */
const WHOLE = { classes: "Likeliest classes", answer: "Likeliest answers" } as Record<string, string>;
const [ROW, NAMES, LENGTH, NUMBER] = [24, 180, 420, 80];
const PALE = "color-mix(in srgb, currentColor var(--pale), transparent)";

/** The tokens that a model held likely in one place, as bars; the place is chosen in the text above. */
export default class PredictView extends PanelView<PredictState, PredictFigure> {
  static readonly styles = [unsafeCSS(flowCss), unsafeCSS(topCss), unsafeCSS(css)];

  private pointed: number | null = null;
  private readonly flow = new Flow("Tokens", {
    point: (index, announce) => {
      if (index === this.pointed) return;
      this.pointed = index;
      this.host.requestUpdate();
      if (announce) this.choices.announce();
    },
    choose: (index) => this.choices.choose({ position: this.places[index] as number }),
  });
  private readonly groups = memo(placesIn);

  constructor(host: ViewHost, figure: Figure) {
    super(host, figure as PredictFigure, (figure as PredictFigure).initial);
  }

  protected check({ position }: PredictState): void {
    oneOf("position", position, this.figure.positions);
  }

  /** The position that each token of the flow stands for; null for one of another sequence. */
  private get places(): (number | null)[] {
    const { figure } = this;
    return figure.texts.flatMap(({ name, start }, i) =>
      (this.groups(figure)[i] as FlowGroup).tokens.map((_, at) => (name === figure.predicted ? start + at : null)),
    );
  }

  /** The place that is shown: the one pointed at, else the one that is chosen. */
  private get shown(): number {
    return (this.pointed === null ? null : this.places[this.pointed]) ?? this.choices.state.position;
  }

  private token(position: number): string | undefined {
    return (this.figure.sequences[this.figure.predicted] as Sequence).tokens[position];
  }

  protected get where(): string {
    const { figure, shown } = this;
    const whole = WHOLE[figure.task];
    if (whole) return whole;
    const token = this.token(shown);
    if (token === undefined) return "What comes next";
    return `${figure.task === "labels" ? "Labels" : "In place"} of ${shown}, ${plainText(token)}`;
  }

  protected legend(): string {
    return "";
  }

  protected override notes(): string {
    return "A bar over the full width: certain";
  }

  private get predictions(): Predictions | undefined {
    return predictionsOf(this.host, this.figure.predictions);
  }

  private top(position: number, predictions: Predictions): Top {
    return topAt(predictions, position) as Top; // the author's and the reader's positions are checked
  }

  protected override controls(): unknown {
    return html`<span class="title">${this.where}</span>`;
  }

  protected body(): unknown {
    const { predictions, shown } = this;
    const bars = predictions && topList(this.top(shown, predictions), accent(this.host.scheme), this.given(shown));
    return html`${this.flow.element}<div class="asked" ?hidden=${!predictions}>${bars}</div>`;
  }

  /** The actual token there; none if the model was asked to fill it in. */
  private given(position: number): string | undefined {
    return this.predictions?.actual[position] ? this.token(position) : undefined;
  }

  protected draw(): boolean {
    const { figure, shown, predictions, choices } = this;
    this.flow.show(this.groups(figure));
    const { places } = this;
    const later = figure.task === "next" || figure.task === "target";
    this.flow.paint((index) => {
      const place = places[index] as number | null;
      return later && place !== null && place > shown ? { ink: PALE } : {};
    });
    this.flow.mark(this.pointed, WHOLE[figure.task] ? null : places.indexOf(choices.state.position));
    return predictions !== undefined;
  }

  protected notice(): TemplateResult {
    return this.host.notice("predictions", [this.figure.predictions]);
  }

  protected reading(): Reading | null {
    const { predictions, shown } = this;
    if (!predictions) return null;
    const top = this.top(shown, predictions);
    const together = percent(top.probabilities.reduce((sum, each) => sum + each, 0));
    const [actual, entropy] = [predictions.actual[shown], predictions.entropy[shown]];
    const known: Part = actual
      ? [{ token: this.token(shown) as string, at: null }, `: ${percent(actual[0])}, rank ${actual[1]} · `]
      : "";
    const said = [
      WHOLE[this.figure.task] ? "" : `these ${top.tokens.length} together: ${together}`,
      typeof entropy === "number" ? `perplexity ${equally(entropy)}` : "",
    ];
    const sums = said.filter(Boolean).join(" · ");
    return { lines: [[known, sums]], listed: topLines(top) };
  }

  protected override free(): boolean {
    const { state, initial } = this.choices;
    const moved = state.position !== initial.position;
    if (moved) this.choices.choose({ ...initial });
    return moved;
  }

  protected sheet(): Sheet | null {
    const { predictions, shown } = this;
    if (!predictions) return null;
    const { dark, pale } = this.host.scheme;
    const { tokens, probabilities } = this.top(shown, predictions);
    const [color, ink] = [accent(this.host.scheme), inks(dark, pale)];
    return {
      width: NAMES + LENGTH + NUMBER,
      height: ROW * tokens.length,
      draw: (pen) =>
        tokens.forEach((token, row) => {
          const [y, share] = [ROW * row, probabilities[row] as number];
          pen.text(plainText(token), NAMES - 8, y + 17, { anchor: "end" });
          pen.fillStyle = color;
          pen.fillRect(NAMES, y + 5, Math.max(1, LENGTH * share), 14);
          pen.text(percent(share), NAMES + LENGTH * share + 8, y + 17, { color: ink.pale });
        }),
    };
  }

  /** The table of all likely tokens of one place, or of the likeliest in each of several. */
  protected table(): Table | null {
    const { predictions, figure, where } = this;
    const { positions, sequences, predicted } = figure;
    if (!predictions) return null;
    if (positions.length > 1)
      return predictionTable(
        predictions,
        (sequences[predicted] as Sequence).tokens,
        positions,
        "What is likely in each place",
      );
    const { tokens, probabilities } = this.top(positions[0] as number, predictions);
    const rows = tokens.map((token, i): Part[] => [{ token, at: null }, percent(probabilities[i] as number)]);
    return { caption: where, columns: ["likeliest", "probability"], rows };
  }

  /** Returns the likely tokens in the place of `position`, by default of the one that is chosen. */
  async values({ position = this.choices.state.position }: Partial<PredictState>): Promise<object> {
    this.check({ position });
    const predictions = await this.loaded("predictions", () => this.predictions);
    const [probability, rank] = predictions.actual[position] ?? [null, null];
    const token = this.given(position) ?? null;
    const top = this.top(position, predictions);
    return { position, token, probability, rank, entropy: predictions.entropy[position], top };
  }
}

/** Returns the number of equally likely tokens that would have this entropy (perplexity). */
function equally(entropy: number): string {
  const many = Math.exp(entropy);
  return many < 100 ? many.toFixed(1) : Math.round(many).toLocaleString("en");
}

/** The text, and a place for what follows it where that is predicted. */
function placesIn(figure: PredictFigure): FlowGroup[] {
  const { predicted, positions, task, texts } = figure;
  const chosen = new Set(WHOLE[task] ? [] : positions);
  const groups = groupsOf(figure, (name, at) => ({ inactive: !(name === predicted && chosen.has(at)) }));
  const { name, end } = texts.at(-1) as Stretch;
  if (name === predicted && chosen.has(end))
    groups.at(-1)?.tokens.push({ text: "…", special: true, note: String(end) });
  return groups;
}
