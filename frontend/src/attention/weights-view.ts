import { html, nothing, type TemplateResult } from "lit";
import { closeOptions, optionsButton } from "../controls/menu.js";
import { tableText } from "../controls/table.js";
import type { Figure } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { memo } from "../lib/memo.js";
import { stackSelect } from "./controls.js";
import { type AttentionFigure, attentionOf } from "./figure.js";
import { layerKey } from "./layer-key.js";
import { type OptionsOf, optionsPanel } from "./options.js";
import type { Change, State } from "./state.js";
import type { Weighing } from "./strongest.js";
import { AttentionView } from "./view.js";
import { weightTable } from "./weight-table.js";
import { WeightsController } from "./weights-controller.js";

/** Pixels of the legend below a picture, as `LEGEND` in `figure/figure.py` has them. */
const LEGEND = 24;

/** The first and last position of the rows, and of the columns. */
type Ends = [number, number, number, number];

/** The base of all views of weights: a reader's state, one line of controls, options, a table, keys. */
export abstract class WeightsView extends AttentionView<State, Change> {
  protected readonly choices: WeightsController;
  private readonly weightsTable = memo(
    (where: string, layer: Weighing["layer"], heads: number[], rows: string[], cols: string[], ...[a, b, c, d]: Ends) =>
      weightTable({ layer, heads, rows, cols, from: { start: a, end: b }, to: { start: c, end: d } }, where),
  );

  protected readonly figure: AttentionFigure;

  constructor(
    protected readonly host: ViewHost,
    figure: Figure,
  ) {
    super();
    this.figure = attentionOf(figure);
    this.choices = new WeightsController(host, this.figure, () => this.summary());
    host.addController(this);
  }

  /** The controls that follow the choice of a stack. */
  protected abstract controls(): unknown;
  protected abstract options(): OptionsOf;
  protected abstract body(): unknown;
  /** The sentence that is announced after a change. */
  protected abstract summary(): string[];
  /** Frees what is locked. Returns false if there is nothing. */
  protected abstract free(): boolean;
  /** Return whose layer a key turns. */
  protected at(_: Event): WeightsController {
    return this.choices;
  }
  /** True if the keys [ and ] turn to another layer. */
  protected turns = (): boolean => true;

  render(): TemplateResult {
    const { choices } = this;
    return html`<div class="view ${this.figure.view}-view" @keydown=${this.keydown}>
      <div class="controls">${stackSelect(choices)}${this.controls()}${optionsButton(choices)}</div>
      ${optionsPanel(choices, this.options())}${this.body()}${choices.live}
    </div>`;
  }

  /** The weights that are shown as numbers, if the reader wants them. */
  protected table(choices = this.choices, label = "Weights as a table"): unknown {
    const found = this.weighing(choices); // asks for the weights
    if (!this.choices.open.table || !found) return nothing;
    const { layer, heads, rows, cols, from, to } = found;
    const table = this.weightsTable(choices.what, layer, heads, rows, cols, from.start, from.end, to.start, to.end);
    return tableText(table, label);
  }

  /** The weights that are shown; a preview has no numbers to read. */
  protected weighing(choices = this.choices): Weighing | null {
    const shown = choices.shown();
    if (!shown || shown.layer.share < 1) return null;
    const { layer, heads } = shown;
    const [rows, cols] = [choices.tokens("left").tokens, choices.tokens("right").tokens];
    return { layer, heads, rows, cols, from: choices.range("left"), to: choices.range("right") };
  }

  /** The height that the page has kept, less what stands around the picture. */
  protected room(around: number): number {
    const kept = Number.parseFloat(getComputedStyle(this.host.element).minHeight) || 0;
    return Math.max(kept, 200) - around - LEGEND;
  }

  private readonly keydown = (event: KeyboardEvent): void => {
    if ((this.turns() && layerKey(this.at(event), event)) || event.key !== "Escape") return;
    if (this.free() || closeOptions(this.choices, event)) event.preventDefault();
  };
}
