/** Checked by tsc alone: what `attnviz.d.ts` promises to other packages' views is what the element has and takes. */
import type * as shipped from "../../mkdocs_attnviz/static/attnviz.js";
import type { Blob, Figure } from "../src/element/figure.js";
import type { Scheme } from "../src/element/scheme.js";
import type { Decode } from "../src/element/store.js";
import type { ViewClass, ViewHost } from "../src/element/view.js";

type Takes<Wanted, Given extends Wanted> = Given;

export type Promises = [
  Takes<shipped.Host, ViewHost>,
  Takes<ViewClass, shipped.ViewClass>,
  Takes<shipped.Figure, Figure>,
  Takes<shipped.Scheme, Scheme>,
  Takes<Blob, shipped.Blob>,
  Takes<Decode<number>, shipped.Decode<number>>,
];
