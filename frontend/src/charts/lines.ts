import { FADED, type Scene } from "../attention/scene.js";
import { ROW_HEIGHT } from "../lib/geometry.js";
import { type Marks, opacities } from "./marks.js";
import type { Pen } from "./svg.js";

/** The place of the drawing in CSS pixels: line ends at x = left and right; the canvas shows a window of the rows. */
export interface Frame {
  left: number;
  right: number;
  top: number;
  height: number;
}

/** The strongest lines are wider: two side by side, because without a graphics processor one takes longer than these. */
const WIDE_LINES = 80;
const ASIDE = 0.35;
/** The bend of a curve, as a share of its width. */
const BEND = 0.225;
const UNFOCUSED = 0.3;

/** Lines of several heads between the same two tokens lie side by side. */
function lane(slot: number, heads: number): number {
  return (slot - (heads - 1) / 2) * Math.min(1.75, 14 / heads);
}

/** Draws a line as two parabolas: to rasterise a cubic curve takes half as long again. */
export function addCurve(pen: Pen, left: number, from: number, right: number, to: number): void {
  const bend = (right - left) * BEND;
  pen.moveTo(left, from);
  pen.quadraticCurveTo(left + bend, from, (left + right) / 2, (from + to) / 2);
  pen.quadraticCurveTo(right - bend, to, right, to);
}

/** Lines of one colour and opacity are drawn at once. */
export function drawLines(pen: Pen, scene: Scene, frame: Frame, { offsets }: Marks): void {
  const { layer, heads, colors, rows, cols, focus, partner, faded } = scene;
  const slots = new Map(heads.map((head, slot) => [head, slot]));
  const opacity = opacities(scene);
  let [alpha, color] = [0, ""];
  pen.lineWidth = 1;
  offsets.forEach((at, rank) => {
    const [head, row, col] = layer.placeOf(at);
    const slot = slots.get(head) as number;
    const shift = ROW_HEIGHT / 2 + lane(slot, heads.length) - frame.top;
    const from = (row - rows.start) * ROW_HEIGHT + shift;
    const to = (col - cols.start) * ROW_HEIGHT + shift;
    if (Math.max(from, to) < 0 || Math.min(from, to) > frame.height) return;
    const other = focus?.side === "left" ? col : row;
    const strength = partner === null || other === partner ? 1 : UNFOCUSED;
    const next = strength * (faded?.includes(col) ? FADED : 1) * (opacity[layer.byte(head, row, col)] as number);
    if (next !== alpha || colors[slot] !== color) {
      if (color) pen.stroke();
      pen.globalAlpha = alpha = next;
      pen.strokeStyle = color = colors[slot] as string;
      pen.beginPath();
    }
    const aside = offsets.length - rank > WIDE_LINES ? 0 : ASIDE;
    const along = from < to ? aside : -aside;
    addCurve(pen, frame.left + along, from - aside, frame.right + along, to - aside);
    if (aside) addCurve(pen, frame.left - along, from + aside, frame.right - along, to + aside);
  });
  if (color) pen.stroke();
  pen.globalAlpha = 1;
}
