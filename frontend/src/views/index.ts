import type { ViewClass } from "../view.js";
import { HeadView } from "./head.js";
import { MatrixView } from "./matrix.js";
import { ModelView } from "./model.js";
import { NeuronView } from "./neuron.js";

/** One line for each file in this folder. */
export const views: Record<string, ViewClass> = {
  head: HeadView,
  matrix: MatrixView,
  model: ModelView,
  neuron: NeuronView,
};
