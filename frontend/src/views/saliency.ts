import type { Figure } from "../element/figure.js";
import type { ViewHost } from "../element/view.js";
import { MethodsView } from "./saliency/methods.js";
import { OneMethodView } from "./saliency/one-method.js";

/** The contribution of each token to an output: of one method as running text, or of several as strips. */
export default class {
  static readonly styles = [...OneMethodView.styles, ...MethodsView.styles];

  constructor(host: ViewHost, figure: Figure) {
    // biome-ignore lint/correctness/noConstructorReturn: two kinds of figure have one view, and the figure tells which
    return "methods" in figure ? new MethodsView(host, figure) : new OneMethodView(host, figure);
  }
}
