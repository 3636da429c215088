import { html, nothing, type TemplateResult, unsafeCSS } from "lit";
import type { Figure } from "../element/figure.js";
import type { ComparedFigure } from "../element/figure-data.js";
import { SubHost } from "../element/sub-host.js";
import type { Codecs } from "../element/view.js";
import { answer, type View, type ViewHost } from "../element/view.js";
import css from "./compared.css";

type ComparedState = { before: boolean } & Record<string, unknown>;

const capital = (text: string): string => `${text[0]?.toUpperCase()}${text.slice(1)}`;

/** Any view twice, of which one is shown: the model with heads or neurons scaled, and the model as it is. */
export default class ComparedView implements View {
  static readonly styles = unsafeCSS(css);

  private readonly figure: ComparedFigure;
  private readonly sides = new Map<boolean, SubHost>();
  private before = false;

  constructor(
    private readonly host: ViewHost,
    figure: Figure,
  ) {
    this.figure = figure as ComparedFigure;
    this.side(false);
    host.addController(this);
  }

  private side(before: boolean): SubHost {
    const known = this.sides.get(before);
    if (known) return known;
    const { interventions, of, before: asItIs } = this.figure;
    const about = `The model ${before ? "as it is" : interventions}`;
    const side = new SubHost(this.host, about, before ? asItIs : of);
    this.sides.set(before, side);
    return side;
  }

  private get shown(): SubHost {
    return this.side(this.before);
  }

  get codecs(): Codecs {
    return this.shown.view.codecs ?? {};
  }

  get hasMenu(): boolean {
    return Boolean(this.shown.view.hasMenu);
  }

  get label(): string {
    const { about, view } = this.shown;
    return `${about}. ${view.label ?? (this.before ? this.figure.before : this.figure.of).label}`;
  }

  get state(): object {
    return { ...this.shown.view.state, before: this.before };
  }

  set state({ before = this.before, ...change }: Partial<ComparedState>) {
    if (typeof before !== "boolean") throw new RangeError(`before ${before}: not one of true, false`);
    const old = this.before;
    this.turn(before);
    try {
      this.shown.view.state = change;
    } catch (error) {
      this.turn(old);
      throw error;
    }
  }

  /** Applies the reader's choices to the other side, as far as it has them. */
  private turn(before: boolean): void {
    if (before === this.before) return;
    const { shown, host } = this;
    const other = this.side(before);
    shown.disconnect();
    this.before = before;
    adopt(other.view, shown.view.state);
    if (host.element.isConnected) other.connect();
    host.requestUpdate();
  }

  private readonly choose = (before: boolean): void => {
    if (before === this.before) return;
    this.turn(before);
    this.host.changed();
  };

  weights = (request: object): Promise<object> => answer(this.shown.view, "weights", request);
  neurons = (request: object): Promise<object> => answer(this.shown.view, "neurons", request);
  values = (request: object): Promise<object> => answer(this.shown.view, "values", request);

  hostConnected(): void {
    this.shown.connect();
  }

  hostDisconnected(): void {
    this.shown.disconnect();
  }

  hostUpdate(): void {
    this.shown.update();
  }

  hostUpdated(): void {
    this.shown.updated();
  }

  render(): TemplateResult {
    const changed = capital(this.figure.interventions);
    const button = (before: boolean, text: string) =>
      html`<button aria-pressed=${before === this.before} @click=${() => this.choose(before)}>${text}</button>`;
    const picture = this.shown.view.render();
    // Each side in a place of its own: what one has drawn is no part of the other.
    return html`<div class="view compared" role="group" aria-label="The model">
        ${button(true, "As it is")}${button(false, changed)}
      </div>
      ${this.before ? picture : nothing}${this.before ? nothing : picture}`;
  }
}

function adopt(view: View, state: object): void {
  try {
    view.state = state;
  } catch {
    for (const [key, value] of Object.entries(state))
      try {
        view.state = { [key]: value };
      } catch {} // the other text has no such token
  }
}
