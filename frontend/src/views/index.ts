import type { ViewClass } from "../view.js";
import { HeadView } from "./head.js";

/** One line for each file in this folder. */
export const views: Record<string, ViewClass> = { head: HeadView };
