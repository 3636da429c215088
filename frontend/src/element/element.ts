import {
  adoptStyles,
  type CSSResultOrNative,
  html,
  LitElement,
  nothing,
  type ReactiveController,
  type TemplateResult,
  unsafeCSS,
} from "lit";
import { aboutText } from "../controls/about.js";
import controlsCss from "../controls/controls.css";
import { showTips } from "../controls/tip.js";
import tokensCss from "../controls/tokens.css";
import { hexToRgba, PALETTES } from "../lib/palette.js";
import css from "./element.css";
import { type Blob, type Figure, parseFigure } from "./figure.js";
import { installReceiver, loading } from "./files.js";
import { asked, decodeState, encodeState } from "./link.js";
import { runWaiting, tools } from "./public.js";
import { reveal } from "./reveal.js";
import { palest, type Scheme, SchemeController } from "./scheme.js";
import { type Decode, Store } from "./store.js";
import { type Answers, answer, type View, type ViewClass, type ViewHost } from "./view.js";

/** The distance from the screen at which a figure begins to load, in screen heights. */
const NEAR = "100% 0px";

function forced(dark: boolean): Scheme {
  const { text, background } = dark ? PALETTES.dark : PALETTES.light;
  return { dark, pale: palest(hexToRgba(text), hexToRgba(background)), background };
}

const FORCED: Record<"light" | "dark", Scheme> = { light: forced(false), dark: forced(true) };

/** Return what the observer would report, but at once: the first picture does not wait for it. */
function isNear(element: Element): boolean {
  const { top, bottom, width } = element.getBoundingClientRect();
  return width > 0 && top < 2 * innerHeight && bottom > -innerHeight;
}

/** The error of a figure whose view comes with a script that has not run yet. */
class Awaited extends Error {}

/** `<attn-viz>`: reads its figure, waits until the reader comes near, then lets a view draw. */
export class AttnViz extends LitElement implements ViewHost {
  static override readonly styles = [css, tokensCss, controlsCss].map(unsafeCSS);
  private static readonly views: Record<string, ViewClass> = {};
  private static readonly sheets = new Map<ViewClass, CSSResultOrNative[]>();
  /** The data files of the page's figures, by name. */
  static readonly files = loading;

  /**
   * Tell the page's scripts of this one, and run those that came before it. The global is assigned whatever it was: an
   * element of that name or id would hide it from other scripts.
   */
  static publish(): void {
    globalThis.attnviz = { define: (views) => AttnViz.define(views), ...tools };
    runWaiting();
    if (document.readyState === "complete") AttnViz.complete();
    else for (const event of ["DOMContentLoaded", "load"]) addEventListener(event, AttnViz.complete, { once: true });
  }

  /** Make the element known, though no script has brought a view: one that waits for the element may. */
  private static readonly complete = (): void => {
    if (!customElements.get("attn-viz")) AttnViz.define({});
  };

  /**
   * Make views known, and the element when this is called first. Instant navigation may run scripts again on the same
   * page, or others that have more views.
   */
  static define(views: Record<string, ViewClass>): void {
    const known = customElements.get("attn-viz") as typeof AttnViz | undefined;
    if (!known) installReceiver();
    (known ?? AttnViz).add(views);
    if (!known) customElements.define("attn-viz", AttnViz);
  }

  private static add(views: Record<string, ViewClass>): void {
    Object.assign(AttnViz.views, views);
    for (const figure of document.querySelectorAll<AttnViz>("attn-viz")) figure.retry?.();
  }

  /** Return the style sheets of a view; all figures that have it share them. */
  private static sheetsOf(view: ViewClass): CSSResultOrNative[] {
    const { styles = [] } = view;
    const sheets =
      AttnViz.sheets.get(view) ?? AttnViz.finalizeStyles(typeof styles === "string" ? unsafeCSS(styles) : styles);
    AttnViz.sheets.set(view, sheets);
    return sheets;
  }

  /** Fulfilled when the first picture is drawn. Rejects if the data cannot be read or fetched; a retry renews it. */
  ready!: Promise<void>;

  private resolveReady!: () => void;
  private rejectReady!: (reason: unknown) => void;
  private figure: Figure | undefined;
  private readonly store = new Store();
  /** The decoders of the blobs that were asked for, to fetch failed ones again. */
  private readonly decoders = new Map<Blob, Decode<unknown>>();
  private view: View | undefined;
  /** The controllers of a view that is being made. */
  private added: ReactiveController[] | null = null;
  /** The style sheets of the element and of the views in it. */
  private readonly worn = new Set(AttnViz.elementStyles);
  private initial = {};
  readonly element = this;
  readonly about = "";
  isDrawn = false;
  private near = false;
  private problem = "";
  private readonly surroundings = new SchemeController(this);
  private readonly approach = new IntersectionObserver((entries) => this.onApproach(entries), { rootMargin: NEAR });

  constructor() {
    super();
    this.renewReady();
  }

  private renewReady(): void {
    this.ready = new Promise((resolve, reject) => Object.assign(this, { resolveReady: resolve, rejectReady: reject }));
    this.ready.catch(() => {}); // callers who await it still get the rejection
  }

  override connectedCallback(): void {
    this.restoreStyles();
    if (!this.figure && !this.problem) this.read();
    super.connectedCallback();
    addEventListener("hashchange", this.follow);
    this.follow();
    // The script that makes tabs may be loaded only with the rest of the page.
    if (document.readyState !== "complete") addEventListener("load", this.follow, { once: true });
    this.near ||= isNear(this);
    if (this.near) this.requestUpdate();
    else this.approach.observe(this);
  }

  protected override createRenderRoot(): HTMLElement | DocumentFragment {
    const root = super.createRenderRoot();
    adoptStyles(root as ShadowRoot, [...this.worn]);
    showTips(root);
    return root;
  }

  /** Set the figure's styles again by script: a Content-Security-Policy may have blocked the attributes. */
  private restoreStyles(): void {
    const figure = this.closest("figure") ?? this;
    for (const element of [figure, ...figure.querySelectorAll<HTMLElement>("[style]")])
      if (!element.style.length) element.style.cssText = element.getAttribute("style") ?? "";
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener("hashchange", this.follow);
    this.approach.disconnect();
  }

  /** Try to draw again after a script has brought more views, since this figure's may be among them. */
  private retry(): void {
    if (this.view || !this.renderRoot) return; // without a root, it has yet to be told that it is in the page
    this.read();
    this.follow();
    this.requestUpdate();
  }

  private read(): void {
    this.added = [];
    try {
      const figure = parseFigure(this.getAttribute("data-figure"));
      this.view = this.make(figure, this);
      if (figure.state) this.begin(this.view, figure.state);
      this.initial = this.view.state;
      this.figure = figure;
    } catch (error) {
      if (!(error instanceof Awaited)) this.fail(error);
    }
    this.toggleAttribute("data-waits", !this.figure && !this.problem); // notebooks tell what is missing
    const { added } = this;
    this.added = null;
    if (this.figure) for (const controller of added) this.addController(controller);
  }

  /** Add a controller. One that a view adds while it is made may be told that it is in the page only once it is whole. */
  override addController(controller: ReactiveController): void {
    if (this.added) this.added.push(controller);
    else super.addController(controller);
  }

  make(figure: Figure, host: ViewHost): View {
    const ViewOfFigure = AttnViz.views[figure.view];
    if (!ViewOfFigure) throw new Awaited();
    for (const sheet of AttnViz.sheetsOf(ViewOfFigure)) this.worn.add(sheet);
    if (this.renderRoot) adoptStyles(this.renderRoot as ShadowRoot, [...this.worn]);
    return new ViewOfFigure(host, figure);
  }

  /** Set the state that the author chose to begin with. */
  private begin(view: View, state: string): void {
    try {
      view.state = decodeState(state, view.codecs);
    } catch {
      // the figure was built for another version
    }
  }

  /** Take the state from a link to this figure, as changes of the first state; a bad link changes nothing. */
  private readonly follow = (): void => {
    const { view } = this;
    const change = asked(this);
    if (change === null || !view) return;
    const hidden = reveal(this);
    if (location.hash.includes("~")) this.turnTo(view, change);
    else if (!hidden) return; // the browser has scrolled there already
    requestAnimationFrame(() => this.scrollIntoView({ block: "nearest" }));
  };

  private turnTo(view: View, change: string): void {
    const old = view.state;
    try {
      view.state = this.initial;
      if (change) view.state = decodeState(change, view.codecs);
    } catch {
      view.state = old; // the link is of another build, or mistyped
    }
  }

  private onApproach(entries: IntersectionObserverEntry[]): void {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    this.approach.disconnect();
    this.near = true;
    this.requestUpdate();
  }

  override render(): TemplateResult {
    const { figure, view } = this;
    try {
      if (figure && view && !this.problem) return this.picture(figure, view, this.near && view.render());
    } catch (error) {
      this.fail(error);
    }
    return html`<slot></slot>${
      this.problem &&
      html`<p class="alert" role="alert" dir="ltr">This interactive figure cannot be shown: its data are damaged.</p>`
    }`;
  }

  private fail(error: unknown): void {
    this.problem = String((error as Error)?.message || error);
    this.rejectReady(error);
    console.warn(error);
  }

  private picture(figure: Figure, view: View, shown: unknown): TemplateResult {
    const { scheme } = this;
    const forced = figure.theme === "auto" ? "" : "forced";
    // The figure's sentence describes the first state only.
    const label = (this.encoded && view.label) || figure.label;
    const style = `--pale:${scheme.pale * 100}%;--page:${scheme.background}`;
    return html`<div class="static ${this.near ? "" : "waiting"}"><slot></slot><p hidden dir="ltr">${figure.label}</p></div>
      ${
        shown
          ? html`<div class="figure ${scheme.dark ? "dark" : "light"} ${forced}" hidden dir="ltr" role="group" aria-label=${label} .style=${style}>
              ${shown}${view.hasMenu ? nothing : aboutText(figure)}
            </div>`
          : nothing
      }`;
  }

  /** Resolve when everything in the present state is drawn, including fetched data and the frame that shows it. */
  protected override async getUpdateComplete(before = 0): Promise<boolean> {
    const complete = await super.getUpdateComplete();
    const asked = await this.store.settled();
    if (asked > before) return this.getUpdateComplete(asked); // the loaded data may need more
    await new Promise<unknown>((drawn) => (document.hidden ? drawn(0) : requestAnimationFrame(drawn)));
    return complete;
  }

  // The methods of `ViewHost`, for views

  get whole(): Figure {
    return this.figure as Figure;
  }

  get scheme(): Scheme {
    const theme = this.figure?.theme ?? "auto";
    return theme === "auto" ? this.surroundings.current : FORCED[theme];
  }

  get encoded(): string {
    const { view, initial } = this;
    return view ? encodeState(view.state, initial, view.codecs) : "";
  }

  blob<T>(blob: Blob, decode: Decode<T>): T | undefined {
    const decoded = this.store.peek<T>(blob);
    if (decoded === undefined && !this.store.hasFailed(blob)) this.fetch(blob, decode);
    return decoded;
  }

  load<T>(blob: Blob, decode: Decode<T>): Promise<T> {
    return this.store.load(blob, decode);
  }

  private fetch<T>(blob: Blob, decode: Decode<T>): void {
    this.decoders.set(blob, decode);
    const update = () => this.requestUpdate();
    this.load(blob, decode).then(update, (error) => {
      if (!this.isDrawn) this.rejectReady(error);
      update();
    });
  }

  notice(what: string, blobs: readonly Blob[]): TemplateResult {
    const failed = blobs.filter((blob) => this.store.hasFailed(blob));
    if (failed.length === 0) return html`<span class="detail pale">Loading ${what} …</span>`;
    const retry = () => {
      if (!this.isDrawn) this.renewReady();
      for (const blob of failed) this.fetch(blob, this.decoders.get(blob) as Decode<unknown>);
      this.requestUpdate();
    };
    const sentence = `${what[0]?.toUpperCase()}${what.slice(1)} could not be loaded.`;
    return html`<span class="failure" role="alert"
      >${sentence} <button @click=${retry}>Try again</button></span>`;
  }

  drawn(): void {
    this.resolveReady();
    if (this.isDrawn) return;
    this.isDrawn = true;
    // The full data behind a preview are fetched once the picture is on the screen.
    setTimeout(() => this.requestUpdate(), 200);
  }

  changed(): void {
    this.dispatchEvent(new CustomEvent("attnviz-change", { bubbles: true, composed: true, detail: this.state }));
  }

  // The public methods, for scripts in the page

  /** The state that the reader sees. Setting merges; a bad value throws a RangeError that names it. */
  get state(): object {
    return this.opened().state;
  }

  set state(change: object) {
    this.opened().state = change;
  }

  /** Return one head's weights, `{stack, layer, head}`, within 0.004 of the model's. It works for hidden figures, too. */
  async weights(request: object): Promise<object> {
    return this.ask("weights", request);
  }

  /** Return the queries, keys and scores behind one head's weights. Rejects in every view but the neuron view. */
  async neurons(request: object): Promise<object> {
    return this.ask("neurons", request);
  }

  /** Return the numbers of a view that shows no attention; `request` selects a part where there is a choice. */
  async values(request: object = {}): Promise<object> {
    return this.ask("values", request);
  }

  private ask(what: keyof Answers, request: object): Promise<object> {
    return answer(this.opened(), what, request);
  }

  private opened(): View {
    if (!this.figure && !this.problem) this.read();
    const { figure, view } = this;
    if (!figure || !view) throw new Error(this.problem || "not ready");
    return view;
  }
}
