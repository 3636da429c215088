import { nothing, svg, type TemplateResult } from "lit";
import type { SvgPen } from "../../charts/svg.js";
import type { inks } from "../../controls/save.js";

type Inks = ReturnType<typeof inks>;
/** The page's text colour, the paler one, or a colour of its own. */
export type Ink = "ink" | "pale" | `#${string}`;

interface Dot {
  kind: "dot";
  x: number;
  y: number;
  fill: string;
  edge: string;
}

interface Cell {
  kind: "cell";
  x: number;
  y: number;
  width: number;
  height: number;
  fill: string;
}

interface Line {
  kind: "line";
  from: [number, number];
  to: [number, number];
  /** Axes are faint; what values are compared with is not. */
  faint: boolean;
}

interface Label {
  kind: "label";
  x: number;
  y: number;
  text: string;
  ink: Ink;
  anchor: "start" | "middle" | "end";
}

export type Mark = Dot | Cell | Line | Label;

/** The place of a head in a picture. */
export interface Place {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** A picture as data: drawn in the page and in a file. */
export interface Chart {
  width: number;
  height: number;
  marks: Mark[];
  /** The place of each head; null where it is not in the picture. */
  places: (Place | null)[];
  /** Marks are dots, not cells. */
  isRound: boolean;
}

export const RADIUS = 4.5;
const FAINT = 0.25;

export const label = (
  x: number,
  y: number,
  text: string,
  ink: Ink = "pale",
  anchor: Label["anchor"] = "middle",
): Label => ({
  kind: "label",
  x,
  y,
  text,
  ink,
  anchor,
});

export const line = (x1: number, y1: number, x2: number, y2: number, faint = true): Line => ({
  kind: "line",
  from: [x1, y1],
  to: [x2, y2],
  faint,
});

function markSvg(mark: Mark): TemplateResult {
  switch (mark.kind) {
    case "dot":
      return svg`<circle cx=${mark.x} cy=${mark.y} r=${RADIUS} fill=${mark.fill} stroke=${mark.edge}></circle>`;
    case "cell":
      return svg`<rect x=${mark.x} y=${mark.y} width=${mark.width} height=${mark.height} fill=${mark.fill}></rect>`;
    case "line":
      return svg`<path class=${mark.faint ? "faint" : "reference"} d="M${mark.from}L${mark.to}"></path>`;
    case "label": {
      const fill = mark.ink.startsWith("#") ? mark.ink : nothing;
      return svg`<text class=${fill === nothing ? mark.ink : "on"} x=${mark.x} y=${mark.y} text-anchor=${mark.anchor} fill=${fill}>${mark.text}</text>`;
    }
  }
}

export const chartSvg = ({ width, height, marks }: Chart): TemplateResult =>
  svg`<svg aria-hidden="true" width=${width} height=${height} viewBox="0 0 ${width} ${height}">${marks.map(markSvg)}</svg>`;

export function drawChart(pen: SvgPen, marks: Mark[], { ink, pale }: Inks): void {
  for (const mark of marks)
    if (mark.kind === "label") {
      const color = mark.ink === "ink" ? ink : mark.ink === "pale" ? pale : mark.ink;
      pen.text(mark.text, mark.x, mark.y, { anchor: mark.anchor, size: 12, color });
    } else if (mark.kind === "line") {
      pen.globalAlpha = mark.faint ? FAINT : 1;
      pen.strokeStyle = pale;
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(...mark.from);
      pen.quadraticCurveTo(...mark.to, ...mark.to);
      pen.stroke();
      pen.globalAlpha = 1;
    } else {
      pen.fillStyle = mark.fill;
      if (mark.kind === "cell") pen.fillRect(mark.x, mark.y, mark.width, mark.height);
      else drawDot(pen, mark);
    }
}

const ARCS = 8;

/** A pen only strokes curves: a circle of half the radius, as wide as the radius, is a dot. */
function drawDot(pen: SvgPen, { x, y, fill }: Dot): void {
  const half = RADIUS / 2;
  const outer = half / Math.cos(Math.PI / ARCS);
  pen.strokeStyle = fill;
  pen.lineWidth = RADIUS;
  pen.beginPath();
  pen.moveTo(x + half, y);
  for (let arc = 1; arc <= ARCS; arc++) {
    const [to, through] = [(2 * Math.PI * arc) / ARCS, (2 * Math.PI * (arc - 0.5)) / ARCS];
    const [right, down] = [x + half * Math.cos(to), y + half * Math.sin(to)];
    pen.quadraticCurveTo(x + outer * Math.cos(through), y + outer * Math.sin(through), right, down);
  }
  pen.stroke();
}
