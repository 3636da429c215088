import type { ReactiveController, ReactiveControllerHost } from "lit";
import { contrast, luminance, over, type Rgba, toRgba } from "../lib/color.js";

/** The colours of the page around the figure. */
export interface Scheme {
  dark: boolean;
  /** The opacity of pale text: the smallest that has a contrast of 4.5:1. */
  pale: number;
  /** The colour behind the figure, as CSS. */
  background: string;
}

const PALE_CONTRAST = 4.6;

function backgroundOf(element: Element): Rgba | undefined {
  for (let at: Element | null = element; at; at = parentOf(at)) {
    const color = toRgba(getComputedStyle(at).backgroundColor);
    if (color[3] > 0.5) return color;
  }
  return undefined;
}

function parentOf(element: Element): Element | null {
  const root = element.getRootNode();
  return element.parentElement ?? (root instanceof ShadowRoot ? root.host : null);
}

export function palest(text: Rgba, background: Rgba): number {
  for (let share = 0.5; share < 1; share += 0.02) {
    const pale: Rgba = [text[0], text[1], text[2], text[3] * share];
    if (contrast(over(pale, background), background) >= PALE_CONTRAST) return Math.round(share * 100) / 100;
  }
  return 1;
}

/** Return the scheme around an element, judged by the colours themselves, so that it fits every theme and switch. */
export function schemeOf(element: Element): Scheme {
  const text = toRgba(getComputedStyle(element).color);
  const found = backgroundOf(element);
  const assumed: Rgba = luminance(text) > 0.4 ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const background = found ?? assumed;
  const dark = luminance(over(text, background)) > luminance(background);
  return { dark, pale: palest(text, background), background: `rgb(${background.slice(0, 3).join(" ")})` };
}

/** A controller that follows the scheme of the docs theme live. */
export class SchemeController implements ReactiveController {
  current: Scheme = { dark: false, pale: 0.75, background: "Canvas" };
  private readonly themeAttributes = new MutationObserver(() => this.refresh());
  private readonly preference = matchMedia("(prefers-color-scheme: dark)");

  constructor(private readonly host: ReactiveControllerHost & Element) {
    host.addController(this);
  }

  hostConnected(): void {
    for (const element of [document.documentElement, document.body])
      this.themeAttributes.observe(element, { attributes: true });
    this.preference.addEventListener("change", this.refresh);
    // A theme that fades from light to dark has its final colours only then.
    document.addEventListener("transitionend", this.onTransitionEnd);
    // Quarto's dark style sheet is loaded when a reader first asks for it, after the page has said that it is dark.
    document.addEventListener("load", this.refresh, true);
    this.refresh();
  }

  hostDisconnected(): void {
    this.themeAttributes.disconnect();
    this.preference.removeEventListener("change", this.refresh);
    document.removeEventListener("transitionend", this.onTransitionEnd);
    document.removeEventListener("load", this.refresh, true);
  }

  readonly refresh = (): void => {
    const found = schemeOf(this.host);
    const { dark, pale, background } = this.current;
    if (dark === found.dark && pale === found.pale && background === found.background) return;
    this.current = found;
    this.host.requestUpdate();
  };

  private readonly onTransitionEnd = ({ propertyName }: TransitionEvent): void => {
    if (propertyName.endsWith("color")) this.refresh();
  };
}
