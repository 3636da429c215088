import type { ViewClass } from "../element/view.js";
import { ActivationsView } from "./activations.js";
import { ComparedView } from "./compared.js";
import { attention } from "./index.js";
import { LensView } from "./lens.js";
import { PredictView } from "./predict.js";
import { TokensView } from "./tokens.js";

/** The views of the files in this folder; those in `own/` have scripts of their own. */
export const all: Record<string, ViewClass> = {
  ...attention,
  tokens: TokensView,
  predict: PredictView,
  lens: LensView,
  activations: ActivationsView,
  compared: ComparedView,
};
