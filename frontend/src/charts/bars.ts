import { facing, mean, type Scene, weightsWith } from "../attention/scene.js";
import { indices, ROW_HEIGHT } from "../lib/geometry.js";
import type { Frame } from "./lines.js";
import type { Pen } from "./svg.js";

const THICKNESS = 3;
/** A bar of full length stands for the largest mean weight, but for no less than this. */
const SHORTEST_SCALE = 0.1;

/**
 * Under each token that faces the one in focus, a bar as long as the mean weight, one segment for each head. It starts
 * at the lines and grows outwards; `width` is the width of the column.
 */
export function drawBars(pen: Pen, scene: Scene, frame: Frame, width: number): void {
  if (!scene.focus) return;
  const weights = indices(facing(scene)).map((index) => weightsWith(scene, index));
  const unit = width / Math.max(SHORTEST_SCALE, ...weights.map(mean)) / scene.heads.length;
  const [origin, direction] = scene.focus.side === "left" ? [frame.right, 1] : [frame.left, -1];
  weights.forEach((perHead, i) => {
    const y = (i + 1) * ROW_HEIGHT - THICKNESS - 1 - frame.top;
    if (y < -THICKNESS || y > frame.height) return;
    let x = origin;
    perHead.forEach((weight, slot) => {
      const length = weight * unit;
      pen.fillStyle = scene.colors[slot] as string;
      pen.fillRect(direction > 0 ? x : x - length, y, length, THICKNESS);
      x += direction * length;
    });
  });
}
