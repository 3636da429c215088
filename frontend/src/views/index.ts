import type { ViewClass } from "../element/view.js";
import { HeadView } from "./head.js";
import { MatrixView } from "./matrix.js";
import { ModelView } from "./model.js";
import { NeuronView } from "./neuron.js";

/** The views of attention: all that the script of a page without others needs. */
export const attention: Record<string, ViewClass> = {
  head: HeadView,
  matrix: MatrixView,
  model: ModelView,
  neuron: NeuronView,
};
