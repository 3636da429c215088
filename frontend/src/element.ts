import { html, LitElement, nothing, type TemplateResult, unsafeCSS } from "lit";
import css from "./element.css";
import { type Figure, findLayer, findSequence, findStack, parseFigure } from "./figure.js";
import { hexToRgba, PALETTES } from "./palette.js";
import { palest, type Scheme, SchemeController } from "./scheme.js";
import { LayerStore } from "./store.js";
import type { View, ViewHost } from "./view.js";
import { views } from "./views/index.js";
import type { Layer } from "./weights.js";

export interface WeightsRequest {
  stack?: string;
  layer: number;
  head: number;
}

export interface Weights {
  rows: string[];
  cols: string[];
  /** Shape (rows, cols). */
  values: number[][];
}

/** How far from the screen a figure begins to load, in screens. */
const NEAR = "100% 0px";

const FORCED: Record<"light" | "dark", Scheme> = {
  light: { dark: false, pale: palest(hexToRgba(PALETTES.light.text), hexToRgba(PALETTES.light.background)) },
  dark: { dark: true, pale: palest(hexToRgba(PALETTES.dark.text), hexToRgba(PALETTES.dark.background)) },
};

/** As the observer would say, but at once: the first picture is not to wait for it. */
function isNear(element: Element): boolean {
  const { top, bottom, width } = element.getBoundingClientRect();
  return width > 0 && top < 2 * innerHeight && bottom > -innerHeight;
}

/** `<attn-viz>`: reads its figure, waits until the reader comes near, then lets a view draw. */
export class AttnViz extends LitElement implements ViewHost {
  static override styles = [unsafeCSS(css), ...Object.values(views).map((view) => view.styles)];

  /** The first picture is drawn. Rejects if the figure's data cannot be read. */
  readonly ready: Promise<void>;

  private resolveReady!: () => void;
  private rejectReady!: (reason: unknown) => void;
  private figure: Figure | undefined;
  private store: LayerStore | undefined;
  private view: View | undefined;
  private near = false;
  private problem = "";
  private readonly surroundings = new SchemeController(this);
  private readonly approach = new IntersectionObserver((entries) => this.onApproach(entries), { rootMargin: NEAR });

  constructor() {
    super();
    this.ready = new Promise((resolve, reject) => Object.assign(this, { resolveReady: resolve, rejectReady: reject }));
    this.ready.catch(() => {}); // whoever awaits it still hears of it
  }

  override connectedCallback(): void {
    if (!this.figure && !this.problem) this.read();
    super.connectedCallback();
    this.near ||= isNear(this);
    if (this.near) this.requestUpdate();
    else this.approach.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.approach.disconnect();
  }

  private read(): void {
    try {
      const figure = parseFigure(this.getAttribute("data-figure"));
      const ViewOfFigure = views[figure.view];
      if (!ViewOfFigure) throw new Error(`view ${figure.view}: not one of ${Object.keys(views).join(", ")}`);
      this.store = new LayerStore(figure);
      this.view = new ViewOfFigure(this, figure);
      this.figure = figure;
    } catch (error) {
      this.problem = (error as Error).message;
      this.rejectReady(error);
    }
  }

  private onApproach(entries: IntersectionObserverEntry[]): void {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    this.approach.disconnect();
    this.near = true;
    this.requestUpdate();
  }

  override render(): TemplateResult {
    const { figure, view, scheme } = this;
    if (!figure || !view)
      return html`<slot></slot>
        <p class="alert" role="alert">This interactive figure cannot be shown: its data are damaged.</p>`;
    const forced = figure.theme === "auto" ? "" : "forced";
    const style = `--pale:${scheme.pale * 100}%`;
    return html`<div class="static ${this.near ? "" : "waiting"}"><slot></slot><p>${figure.label}</p></div>
      ${
        this.near
          ? html`<div class="figure ${scheme.dark ? "dark" : "light"} ${forced}" role="group" aria-label=${figure.label} style=${style}>
              ${view.render()}
            </div>`
          : nothing
      }`;
  }

  // What a view may ask

  get scheme(): Scheme {
    const theme = this.figure?.theme ?? "auto";
    return theme === "auto" ? this.surroundings.current : FORCED[theme];
  }

  layer(stack: string, layer: number): Layer | undefined {
    const { store } = this;
    const decoded = store?.peek(stack, layer);
    if (!decoded && !store?.hasFailed(stack, layer)) this.load(stack, layer);
    return decoded;
  }

  private load(stack: string, layer: number): void {
    const update = () => this.requestUpdate();
    this.store?.load(stack, layer).then(update, update);
  }

  notice(stack: string, layer: number): TemplateResult {
    if (!this.store?.hasFailed(stack, layer)) return html`<span class="detail pale">Loading layer ${layer} …</span>`;
    const retry = () => {
      this.load(stack, layer);
      this.requestUpdate();
    };
    return html`<span class="failure" role="alert"
      >Layer ${layer} could not be loaded. <button @click=${retry}>Try again</button></span>`;
  }

  drawn(): void {
    this.resolveReady();
  }

  changed(): void {
    this.dispatchEvent(new CustomEvent("attnviz-change", { bubbles: true, composed: true, detail: this.state }));
  }

  // What a program may ask

  /** What the reader sees. Setting merges; a bad value throws a RangeError that names it. */
  get state(): object {
    return this.opened().view.state;
  }

  set state(change: object) {
    this.opened().view.state = change;
  }

  /** The weights of one head, as stored: within 0.004 of the model's. Works for hidden figures too. */
  async weights({ stack, layer, head }: WeightsRequest): Promise<Weights> {
    const { figure, store } = this.opened();
    const name = stack ?? (Object.keys(figure.stacks)[0] as string);
    const found = findStack(figure, name);
    const { heads } = findLayer(found, layer);
    if (!(Number.isInteger(head) && head >= 0 && head < heads))
      throw new RangeError(`head ${head}: not one of 0 to ${heads - 1}`);
    const weights = await store.load(name, layer);
    const tokens = (sequence: string) => [...findSequence(figure, sequence).tokens];
    return { rows: tokens(found.rows), cols: tokens(found.cols), values: weights.matrix(head) };
  }

  private opened(): { figure: Figure; store: LayerStore; view: View } {
    if (!this.figure && !this.problem) this.read();
    const { figure, store, view } = this;
    if (!figure || !store || !view) throw new Error(this.problem);
    return { figure, store, view };
  }
}
