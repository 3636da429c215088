import { html, nothing, type ReactiveController, type TemplateResult, unsafeCSS } from "lit";
import { type Figure, parseFigure } from "../figure.js";
import type { View, ViewClass, ViewHost } from "../view.js";
import css from "./compared.css";

interface ComparedFigure extends Figure {
  /** The change of the model, as it follows "the model": "without head 1 of layer 0". */
  interventions: string;
  /** Drawn of the changed model, and of the model as it is. */
  of: Figure;
  before: Figure;
}

/** A figure of the changed model, or of the model as it is; and what of the element's life it takes part in. */
interface Side {
  figure: Figure;
  view: View;
  controllers: ReactiveController[];
}

type ComparedState = { before: boolean } & Record<string, unknown>;

const capital = (text: string): string => `${text[0]?.toUpperCase()}${text.slice(1)}`;

/** Any view twice, of which one is shown: the model with heads or neurons scaled, and the model as it is. */
export class ComparedView implements View {
  static readonly styles = unsafeCSS(css);

  private readonly figure: ComparedFigure;
  private readonly sides = new Map<boolean, Side>();
  private before = false;

  constructor(
    private readonly host: ViewHost,
    figure: Figure,
  ) {
    this.figure = figure as ComparedFigure;
    this.side(false);
    this.tell();
    host.addController(this);
  }

  private tell(): void {
    this.host.about = `The model ${this.before ? "as it is" : this.figure.interventions}`;
  }

  /** The element's other views are made with its own script. What they add to the element is kept here. */
  private side(before: boolean): Side {
    const known = this.sides.get(before);
    if (known) return known;
    const { host } = this;
    const figure = parseFigure(JSON.stringify(before ? this.figure.before : this.figure.of));
    const { views } = host.constructor as unknown as { views: Record<string, ViewClass> };
    const ViewOfFigure = views[figure.view];
    if (!ViewOfFigure) throw new Error(`data-figure: there is no view ${figure.view}`);
    const controllers: ReactiveController[] = [];
    host.addController = (controller) => void controllers.push(controller);
    try {
      const side = { figure, view: new ViewOfFigure(host, figure), controllers };
      this.sides.set(before, side);
      return side;
    } finally {
      delete (host as Partial<ViewHost>).addController; // the element's own is behind it
    }
  }

  private get shown(): Side {
    return this.side(this.before);
  }

  get present(): Figure {
    return this.shown.figure;
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

  /** What the reader has chosen holds on the other side, as far as it is there. */
  private turn(before: boolean): void {
    if (before === this.before) return;
    const { view, controllers } = this.shown;
    const { host } = this;
    for (const controller of controllers) controller.hostDisconnected?.();
    this.before = before;
    this.tell();
    const other = this.shown;
    adopt(other.view, view.state);
    if (host.isConnected) for (const controller of other.controllers) controller.hostConnected?.();
    host.requestUpdate();
  }

  private readonly choose = (before: boolean): void => {
    if (before === this.before) return;
    this.turn(before);
    this.host.changed();
  };

  async values(request: object): Promise<object> {
    const { view } = this.shown;
    if (!view.values) throw new Error("this figure shows attention: weights()");
    return view.values(request);
  }

  hostConnected(): void {
    for (const controller of this.shown.controllers) controller.hostConnected?.();
  }

  hostDisconnected(): void {
    for (const controller of this.shown.controllers) controller.hostDisconnected?.();
  }

  hostUpdate(): void {
    for (const controller of this.shown.controllers) controller.hostUpdate?.();
  }

  hostUpdated(): void {
    for (const controller of this.shown.controllers) controller.hostUpdated?.();
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
