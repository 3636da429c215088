import type { ViewClass } from "../view.js";
import { ComparedView } from "./compared.js";
import { attention } from "./index.js";
import { SimilarityView } from "./similarity.js";
import { TokensView } from "./tokens.js";

/** One line for each file in this folder. */
export const all: Record<string, ViewClass> = {
  ...attention,
  compared: ComparedView,
  similarity: SimilarityView,
  tokens: TokensView,
};
