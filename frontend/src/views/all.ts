import type { ViewClass } from "../view.js";
import { attention } from "./index.js";
import { LensView } from "./lens.js";
import { TokensView } from "./tokens.js";

/** One line for each file in this folder. */
export const all: Record<string, ViewClass> = {
  ...attention,
  tokens: TokensView,
  lens: LensView,
};
