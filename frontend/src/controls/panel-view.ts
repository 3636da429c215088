import { html, nothing, render, type TemplateResult } from "lit";
import { files, optionsButton } from "../attention/options.js";
import { closeOptions } from "../attention/weights-view.js";
import type { Sheet } from "../charts/svg.js";
import { type Figure, labelled } from "../element/figure.js";
import type { View, ViewHost } from "../element/view.js";
import { partsOf } from "../lib/checks.js";
import { type Legend, legendText, type Ramp } from "./legend.js";
import { type Reading, readingText, sentences } from "./reading.js";
import { type Table, tableText } from "./table.js";
import { Choices } from "./view-state.js";

/** `key: value` pairs that are checked before they become the state; throws a RangeError that names the bad value. */
export type Check<State> = (next: State) => void;

class PanelChoices<State extends object> extends Choices<State> {
  where = "";
}

/**
 * What views of other things than attention share: one line of controls, options behind a button, a body, a read-out
 * below it, keys. A state is flat: texts, numbers, true or false, and null.
 */
export abstract class PanelView<State extends object, Shown extends Figure = Figure> implements View {
  protected readonly choices: PanelChoices<State>;
  protected readonly readout = Object.assign(document.createElement("div"), { className: "panel-readout" });
  private readonly legendLine = Object.assign(document.createElement("p"), { className: "legend" });

  private readonly resizes = new ResizeObserver(() => this.resized());
  private unseen = false;
  readonly hasMenu = true;

  constructor(
    protected readonly host: ViewHost,
    protected readonly figure: Shown,
    initial: State,
  ) {
    const merged = (old: State, change: Partial<State>): State => {
      partsOf(old, change);
      const next = { ...old, ...change };
      this.check(next);
      return next;
    };
    this.choices = new PanelChoices(host, figure, initial, merged, () => this.summary());
    host.addController(this);
  }

  get state(): State {
    return structuredClone(this.choices.state);
  }

  set state(change: Partial<State>) {
    this.choices.merge(change);
  }

  get label(): string {
    return labelled([this.where, ...this.how].join(", "), this.figure);
  }

  /** Throws a RangeError that names what cannot be. */
  protected abstract check(next: State): void;
  /** A name for the shown part of the figure: the title of a saved picture, and the first words announced. */
  protected abstract get where(): string;
  /** Further parts of the state that belong to the figure's accessible name. */
  protected get how(): string[] {
    return [];
  }
  /** What stands in the line of controls; may be nothing. */
  protected controls(): unknown {
    return nothing;
  }
  /** What stands behind the button beside the files. */
  protected more(): unknown {
    return nothing;
  }
  /** Return what the colours stand for, in parts between " · ", the most important first; "" where they say nothing. */
  protected abstract legend(): string;
  /** Return the scale of the colours, where there is one. */
  protected ramp(): Ramp | null {
    return null;
  }
  /** Return what else is to be known of the numbers: it stands behind the options. */
  protected notes(): string {
    return "";
  }
  protected abstract body(): unknown;
  /** Draws after each rendering; false while something is still to come. */
  protected abstract draw(): boolean;
  /** Return the reading of the mark that is pointed at, or else of the one that says most; null while data load. */
  protected abstract reading(): Reading | null;
  /** Return the text that stands in its place until then. */
  protected abstract notice(): TemplateResult;
  protected abstract sheet(): Sheet | null;
  /** Return the figure's numbers as a table; null while data load. */
  protected abstract table(): Table | null;
  /** The mark that the reader holds, or null. */
  protected get locked(): unknown {
    return null;
  }
  /** Frees what is locked; false if there is nothing. */
  protected free(): boolean {
    return false;
  }

  abstract values(request: object): Promise<object>;

  /** What `read` gives once it is there; reading asks for it. Rejects where it cannot be loaded. */
  protected async loaded<T>(what: string, read: () => T | undefined): Promise<T> {
    if (!read()) await this.host.updateComplete;
    const found = read();
    if (!found) throw new Error(`the ${what} could not be loaded`);
    return found;
  }

  hostConnected(): void {
    this.resizes.observe(this.host.element);
  }

  hostDisconnected(): void {
    this.resizes.disconnect();
    this.choices.disconnect();
  }

  /** The width is another, or there is one at last: what was changed meanwhile, in a hidden tab, is drawn. */
  protected resized(): void {
    if (this.unseen) this.host.requestUpdate();
  }

  hostUpdated(): void {
    if (!this.readout.isConnected) return;
    this.unseen = this.host.element.clientWidth === 0;
    if (this.unseen) return;
    const drawn = this.draw();
    render(legendText(this.keyToColors()), this.legendLine);
    if (drawn) {
      this.tell();
      this.host.drawn();
    }
  }

  /** The read-out follows what is pointed at. */
  protected tell(announce = false): void {
    const reading = this.reading();
    render(reading ? readingText(reading) : this.notice(), this.readout);
    if (announce) this.choices.announce();
  }

  private keyToColors(): Legend {
    return { text: this.legend(), ramp: this.ramp(), notes: this.notes() };
  }

  private summary(): string[] {
    const reading = this.reading();
    return [`${this.where}${this.locked === null ? "" : ", locked"}`, ...(reading ? sentences(reading) : [])];
  }

  render(): TemplateResult {
    const { choices, figure } = this;
    choices.where = this.where;
    return html`<div class="view panel ${figure.view}-view" @keydown=${this.keydown}>
      <div class="controls">${this.controls()}${optionsButton(choices)}</div>
      ${this.options()}${this.body()}${this.legend() ? this.legendLine : nothing}${this.readout}${choices.open.table ? tableText(this.table()) : nothing}${choices.live}
    </div>`;
  }

  private options(): TemplateResult | typeof nothing {
    if (!this.choices.open.options) return nothing;
    const notes = this.notes();
    return html`<div class="options" role="group" aria-label="Options">
      ${this.more()}${files(this.choices, { sheet: () => this.sheet(), legend: this.keyToColors() })}
      ${notes ? html`<p class="notes">${notes}</p>` : nothing}
    </div>`;
  }

  private readonly keydown = (event: KeyboardEvent): void => {
    if (event.key === "Escape" && (this.free() || closeOptions(this.choices, event))) event.preventDefault();
  };
}
