import type { Pointing } from "../controls/pointing.js";
import type { Picture } from "./picture.js";
import { NextFrame } from "./scroller.js";

const LOADING_MS = 150;

/** The reader's choices of which a click elsewhere takes back the selection. */
interface Freed {
  readonly state: { readonly selected: unknown };
  readonly host: { readonly element: Element };
  choose(change: { selected: null }): void;
}

/** A picture between two columns of tokens: drawn once in a frame, and freed of its selection by a click elsewhere. */
export abstract class PairStage {
  protected abstract readonly pointing: Pointing;
  abstract readonly picture: Picture;
  private readonly frame = new NextFrame(() => {
    if (this.isThere()) this.draw();
  });
  private loadingTimer = 0;

  constructor(private readonly freed: Freed) {}

  connect(): void {
    this.picture.connect();
    document.addEventListener("click", this.freeFromOutside);
  }

  disconnect(): void {
    this.picture.disconnect();
    document.removeEventListener("click", this.freeFromOutside);
    this.frame.cancel();
    clearTimeout(this.loadingTimer);
  }

  private readonly freeFromOutside = (event: Event): void => {
    if (!this.freed.state.selected || event.composedPath().includes(this.freed.host.element)) return;
    this.pointing.reset();
    this.freed.choose({ selected: null });
  };

  /** Draws at once if the weights are there; else keeps the last picture for a moment, so that nothing flickers. */
  protected refresh(): void {
    if (!this.picture.visible) return;
    clearTimeout(this.loadingTimer);
    if (this.isThere()) this.draw();
    else this.loadingTimer = window.setTimeout(() => this.draw(), LOADING_MS);
  }

  protected schedule(): void {
    this.frame.ask();
  }

  /** Looks for what the picture needs, and returns whether it is there. */
  protected abstract isThere(): boolean;

  protected abstract draw(): void;
}
