import type { Figure } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { ChoicesView } from "./experts/choices-view.js";
import { LoadsView } from "./experts/loads-view.js";

/** The experts that routers chose: for each token of a text, or counted over a corpus. */
export default class {
  static readonly styles = ChoicesView.styles;

  constructor(host: ViewHost, figure: Figure) {
    // biome-ignore lint/correctness/noConstructorReturn: two kinds of figure have one view, and the figure tells which
    return "loads" in figure ? new LoadsView(host, figure) : new ChoicesView(host, figure);
  }
}
