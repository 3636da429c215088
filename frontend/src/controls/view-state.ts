import type { Figure } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";

const ANNOUNCE_MS = 300;
const NOTE_MS = 4000;

/** The choices of a reader, and their announcements. `merged` returns the state after a change, or throws. */
export abstract class Choices<State extends object, Change = Partial<State>> {
  /** Which parts of the interface are open; no part of the state. */
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
    /** Sentences about what is shown, each in a place of its own. */
    private readonly summary: () => string[],
  ) {
    this.current = initial;
    host.element.addEventListener("focusout", () => {
      this.told = []; // who comes back hears all of it
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

  /** What a program does. */
  merge(change: Change): void {
    this.current = this.merged(this.current, change);
    this.host.requestUpdate();
  }

  /** What the reader does. */
  choose(change: Change): void {
    this.merge(change);
    this.host.changed();
    this.announce();
  }

  toggle(part: "options" | "table"): void {
    this.open[part] = !this.open[part];
    this.host.requestUpdate();
  }

  /** Says what of that which is shown is new, once the reader pauses and it is there. */
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

  /** Says what was done, for ears and eyes. */
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

  /** A name for the shown part of the figure, in a few words. */
  abstract get where(): string;

  /** The title of a saved picture. */
  get title(): string {
    return this.where;
  }
}
