import { ROW_HEIGHT } from "../place.js";
import { type Marks, opacities } from "./marks.js";
import type { Scene } from "./scene.js";

/** Where it is to be drawn, in CSS pixels: line ends at x = left and right; the canvas shows a window of the rows. */
export interface Frame {
  left: number;
  right: number;
  top: number;
  height: number;
}

/** The strongest lines are wider. Without a graphics processor a wide line takes 60 µs, one of a pixel 10. */
const WIDE_LINES = 80;
const UNFOCUSED = 0.3;

/** Lines of several heads between the same two tokens lie side by side. */
function lane(slot: number, heads: number): number {
  return (slot - (heads - 1) / 2) * Math.min(1.75, 14 / heads);
}

export function drawLines(context: CanvasRenderingContext2D, scene: Scene, frame: Frame, { offsets }: Marks): void {
  const { layer, heads, colors, rows, cols, focus, partner } = scene;
  const slots = new Map(heads.map((head, slot) => [head, slot]));
  const opacity = opacities(scene);
  const bend = (frame.right - frame.left) * 0.4;
  offsets.forEach((at, rank) => {
    const row = at % layer.rows;
    const col = Math.floor(at / layer.rows) % layer.cols;
    const slot = slots.get(Math.floor(at / (layer.rows * layer.cols))) as number;
    const shift = ROW_HEIGHT / 2 + lane(slot, heads.length) - frame.top;
    const from = (row - rows.start) * ROW_HEIGHT + shift;
    const to = (col - cols.start) * ROW_HEIGHT + shift;
    if (Math.max(from, to) < 0 || Math.min(from, to) > frame.height) return;
    const other = focus?.side === "left" ? col : row;
    const strength = partner === null || other === partner ? 1 : UNFOCUSED;
    context.globalAlpha = strength * (opacity[layer.bytes[at] as number] as number);
    context.strokeStyle = colors[slot] as string;
    context.lineWidth = offsets.length - rank > WIDE_LINES ? 1 : 1.75;
    context.beginPath();
    context.moveTo(frame.left, from);
    context.bezierCurveTo(frame.left + bend, from, frame.right - bend, to, frame.right, to);
    context.stroke();
  });
  context.globalAlpha = 1;
}
