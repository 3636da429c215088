import { html, nothing, render, type TemplateResult } from "lit";
import type { Sheet } from "../charts/svg.js";
import { closeOptions, files, optionsButton } from "../controls/menu.js";
import { type Figure, labelled } from "../element/figure.js";
import type { View, ViewHost } from "../element/view.js";
import { partsOf } from "../lib/checks.js";
import { type Legend, legendText, type Ramp } from "./legend.js";
import { type Reading, readingText, sentences } from "./reading.js";
import { type Table, tableText } from "./table.js";
import { ViewState } from "./view-state.js";

/** A function that checks a state before it is taken; it throws a RangeError that names the bad value. */
export type Check<State> = (next: State) => void;

class PanelViewState<State extends object> extends ViewState<State> {
  where = "";
}

/**
 * The base of views of other things than attention: one line of controls, options behind a button, a body, a read-out
 * below it, keys. A state is flat: texts, numbers, true or false, and null.
 */
export abstract class PanelView<State extends object, Shown extends Figure = Figure> implements View {
  protected readonly choices: PanelViewState<State>;
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
    this.choices = new PanelViewState(host, figure, initial, merged, () => this.summary());
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

  /** Check a state; throw a RangeError that names a bad value. */
  protected abstract check(next: State): void;
  /** A name for the shown part of the figure: the title of a saved picture, and the first words announced. */
  protected abstract get where(): string;
  /** Further parts of the state that belong to the figure's accessible name. */
  protected get how(): string[] {
    return [];
  }
  /** Return the content of the line of controls; it may be nothing. */
  protected controls(): unknown {
    return nothing;
  }
  /** Return the options of this view, which stand beside the files; there may be none. */
  protected more(): unknown {
    return nothing;
  }
  /** Return the meaning of the colours, in parts between " · ", the most important first; "" if they have none. */
  protected abstract legend(): string;
  /** Return the scale of the colours, or null if there is none. */
  protected ramp(): Ramp | null {
    return null;
  }
  /** Return a text about how the numbers were computed, which stands behind the options. */
  protected notes(): string {
    return "";
  }
  protected abstract body(): unknown;
  /** Return what stands below the read-out. */
  protected detail(): unknown {
    return nothing;
  }
  /** Draw after each rendering. Return false while data are still missing. */
  protected abstract draw(): boolean;
  /** Return the reading of the mark that is pointed at, or else of the one that says most; null while data load. */
  protected abstract reading(): Reading | null;
  /** Return the text in place of the reading while data load. */
  protected abstract notice(): TemplateResult;
  protected abstract sheet(): Sheet | null;
  /** Return the figure's numbers as a table; null while data load. */
  protected abstract table(): Table | null;
  /** The mark that the reader holds, or null. */
  protected get locked(): unknown {
    return null;
  }
  /** Free the locked mark. Return false if there is none. */
  protected free(): boolean {
    return false;
  }

  abstract values(request: object): Promise<object>;

  /** Return what `read` gives once it is loaded; reading asks for it. Rejects if it cannot be loaded. */
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

  /** Draw changes that were made while the figure had no width, in a hidden tab. */
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

  /** Write the read-out anew, after something else is pointed at. */
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
      ${this.options()}${this.body()}${this.legend() ? this.legendLine : nothing}${this.readout}${this.detail()}${choices.open.table ? tableText(this.table()) : nothing}${choices.live}
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
