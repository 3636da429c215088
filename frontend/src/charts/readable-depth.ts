import type { Scheme } from "../element/scheme.js";
import { contrast, over, toRgba } from "../lib/color.js";
import { hexToRgba } from "../lib/palette.js";
import { DEEPEST, ground, signedColor } from "./tint.js";

/** The contrast that text has on what is drawn behind it. */
const READABLE = 4.5;

/** Return the largest share of a colour behind text of this ink, from `most` down to `least`, on which it is readable. */
export function readableDepth(
  color: string,
  ink: string,
  scheme: Scheme,
  { most = DEEPEST, least = 0.2, step = 0.01 } = {},
): number {
  const [text, page] = [toRgba(ink), toRgba(scheme.background)];
  const [r, g, b] = hexToRgba(color);
  let share = most;
  while (share > least && contrast(text, over([r, g, b, share], page)) < READABLE) share -= step;
  return share;
}

/** The depth of the colours of negative and of positive values at which the text is still readable. */
export type SignedDepths = [negative: number, positive: number];

/** Return the depths for text of this ink. */
export const signedDepths = (ink: string, scheme: Scheme): SignedDepths => [
  readableDepth(signedColor(-1, scheme), ink, scheme),
  readableDepth(signedColor(1, scheme), ink, scheme),
];

/** Return what a share, −1 to 1, looks like behind text. */
export function signedGround(share: number, [negative, positive]: SignedDepths, scheme: Scheme): string {
  const depth = share < 0 ? negative : positive;
  return ground(signedColor(share, scheme), Math.min(1, Math.abs(share)) * depth, scheme);
}
