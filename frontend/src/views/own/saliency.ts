import type { Figure } from "../../element/figure.js";
import type { ViewHost } from "../../element/view.js";
import { MethodsView } from "./saliency/methods.js";
import { OneMethodView } from "./saliency/one-method.js";

/** What each token adds to an output: by one method, as running text, or by several, as strips that are compared. */
export default class {
  static readonly styles = [...OneMethodView.styles, ...MethodsView.styles];

  constructor(host: ViewHost, figure: Figure) {
    // biome-ignore lint/correctness/noConstructorReturn: two kinds of figure have one view, and the figure tells which
    return "methods" in figure ? new MethodsView(host, figure) : new OneMethodView(host, figure);
  }
}
