import type { Scene } from "../attention/scene.js";
import { type Ramp, ramp } from "../controls/legend.js";
import type { Scheme } from "../element/scheme.js";
import { neutral } from "../lib/palette.js";
import { opacities } from "./marks.js";
import { ground } from "./tint.js";

/** Return the ramp of the lines' opacity. It is grey for several heads, because it holds for each of their colours. */
export function linesRamp(scene: Scene, scheme: Scheme): Ramp {
  const [first = "", ...others] = scene.colors;
  const color = others.length > 0 ? neutral(scheme.dark) : first;
  const alphas = opacities(scene);
  return ramp(["0", "1"], (share) => ground(color, alphas[Math.round(255 * Math.sqrt(share))] as number, scheme));
}
