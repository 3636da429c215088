import { html, type TemplateResult } from "lit";
import type { Choices } from "./choices.js";
import type { Figure } from "./figure.js";
import { layerKey, stackSelect } from "./parts/controls.js";
import { type OptionsOf, optionsButton, optionsPanel } from "./parts/options.js";
import { WeightTable } from "./parts/table.js";
import { Reader } from "./reader.js";
import type { Change, State } from "./state.js";
import type { View, ViewHost } from "./view.js";

/** Closes the options if they are open; the keyboard, if it was in there, comes back to their button. */
export function closeOptions(choices: Pick<Choices<object>, "open" | "toggle">, event: KeyboardEvent): boolean {
  if (!choices.open.options) return false;
  choices.toggle("options");
  if ((event.target as Element).closest(".options"))
    (event.currentTarget as Element).querySelector<HTMLElement>(".more")?.focus();
  return true;
}

/** What the views of weights share: a reader's state, one line of controls, options, a table, keys. */
export abstract class ReaderView implements View {
  protected readonly reader: Reader;
  private readonly weights: WeightTable;

  constructor(
    protected readonly host: ViewHost,
    protected readonly figure: Figure,
  ) {
    this.reader = new Reader(host, figure, () => this.summary());
    this.weights = new WeightTable(this.reader);
    host.addController(this);
  }

  get state(): State {
    return structuredClone(this.reader.state);
  }

  set state(change: Change) {
    this.reader.merge(change);
  }

  abstract hostConnected(): void;

  hostDisconnected(): void {
    this.reader.disconnect();
  }

  /** What follows the choice of a stack. */
  protected abstract controls(): unknown;
  protected abstract options(): OptionsOf;
  protected abstract body(): unknown;
  /** What is announced after a change. */
  protected abstract summary(): string[];
  /** Frees what is locked. Returns false if there is nothing. */
  protected abstract free(): boolean;
  /** Whether brackets turn to another layer. */
  protected turns = (): boolean => true;

  render(): TemplateResult {
    const { reader } = this;
    return html`<div class="view ${this.figure.view}-view" @keydown=${this.keydown}>
      <div class="controls">${stackSelect(reader)}${this.controls()}${optionsButton(reader)}</div>
      ${optionsPanel(reader, this.options())}${this.body()}${reader.live}
    </div>`;
  }

  protected table(): unknown {
    return this.weights.render(this.reader.shown());
  }

  /** The height that the page has kept, less what stands around the picture. */
  protected room(around: number): number {
    const kept = Number.parseFloat(getComputedStyle(this.host).minHeight) || 0;
    return Math.max(kept, 200) - around;
  }

  private readonly keydown = (event: KeyboardEvent): void => {
    if ((this.turns() && layerKey(this.reader, event)) || event.key !== "Escape") return;
    if (this.free() || closeOptions(this.reader, event)) event.preventDefault();
  };
}
