import type { Figure } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";

const ANNOUNCE_MS = 300;
const NOTE_MS = 4000;

/** The state of a view as its reader has chosen it, and the announcements of changes. */
export abstract class ViewState<State extends object, Change = Partial<State>> {
  /** The parts of the interface that are open; they do not belong to the state. */
  readonly open = { options: false, table: false };
  noted = "";
  readonly live = document.createElement("div");
  private current: State;
  private told: string[] = [];
  private announceTimer = 0;
  private noteTimer = 0;

  constructor(
    readonly host: ViewHost,
    readonly figure: Figure,
    readonly initial: State,
    private readonly merged: (old: State, change: Change) => State,
    /** Returns the sentences about the shown state, the first about where it is; each has a fixed place. */
    private readonly summary: () => string[],
  ) {
    this.current = initial;
    host.element.addEventListener("focusout", () => {
      this.told = []; // a reader who comes back hears everything
    });
    this.live.className = "unseen";
    this.live.setAttribute("aria-live", "polite");
  }

  disconnect(): void {
    clearTimeout(this.announceTimer);
    clearTimeout(this.noteTimer);
  }

  get state(): State {
    return this.current;
  }

  /** Change the state for a program. */
  merge(change: Change): void {
    this.current = this.merged(this.current, change);
    this.host.requestUpdate();
  }

  /** Change the state for the reader: the change is reported and announced. */
  choose(change: Change): void {
    this.merge(change);
    this.host.changed();
    this.announce();
  }

  toggle(part: "options" | "table"): void {
    this.open[part] = !this.open[part];
    this.host.requestUpdate();
  }

  /** Announce the new sentences, once the reader pauses and the data are loaded. */
  announce(): void {
    clearTimeout(this.announceTimer);
    this.announceTimer = window.setTimeout(async () => {
      await this.host.updateComplete;
      const { told } = this;
      this.told = this.summary();
      const [where, ...news] = this.told.map((sentence, i) => (sentence === told[i] ? "" : sentence));
      const said = [where, news.filter(Boolean).join(". ")].filter(Boolean).join(": ");
      if (said) this.say(said);
    }, ANNOUNCE_MS);
  }

  say(text: string): void {
    this.live.textContent = text;
  }

  /** Announce and show for a moment what was done. */
  note(text: string): void {
    this.noted = text;
    this.say(text);
    this.host.requestUpdate();
    clearTimeout(this.noteTimer);
    this.noteTimer = window.setTimeout(() => {
      this.noted = "";
      this.host.requestUpdate();
    }, NOTE_MS);
  }

  /** The name of the shown part of the figure, in a few words. */
  abstract get where(): string;

  /** The title of a saved picture. */
  get title(): string {
    return this.where;
  }
}
