/** Draws once in the next frame, however often it is asked to. */
export class NextFrame {
  private request = 0;

  constructor(private readonly draw: () => void) {}

  ask(): void {
    this.request ||= requestAnimationFrame(() => {
      this.request = 0;
      this.draw();
    });
  }

  cancel(): void {
    cancelAnimationFrame(this.request);
    this.request = 0;
  }
}

/** A box that scrolls within itself. It is drawn again when its size changes, and in the next frame after scrolling. */
export abstract class Scroller {
  readonly element = document.createElement("div");
  private readonly resizes = new ResizeObserver(() => this.redraw());
  private readonly frame = new NextFrame(() => this.scrolled());

  constructor(protected readonly redraw: () => void) {
    this.element.addEventListener("scroll", () => this.frame.ask(), { passive: true });
  }

  connect(): void {
    this.resizes.observe(this.element);
  }

  disconnect(): void {
    this.resizes.disconnect();
    this.frame.cancel();
  }

  get visible(): boolean {
    return this.element.clientWidth > 0;
  }

  /** Draws what has come into view. */
  protected abstract scrolled(): void;
}
