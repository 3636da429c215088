import type { ViewClass } from "../element/view.js";
import { HeadView } from "./head.js";
import { MatrixView } from "./matrix.js";
import { ModelView } from "./model.js";
import { NeuronView } from "./neuron.js";

/** Views of attention: the script of pages that have no others. */
export const attention: Record<string, ViewClass> = {
  head: HeadView,
  matrix: MatrixView,
  model: ModelView,
  neuron: NeuronView,
};
