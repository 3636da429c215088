import { pieces } from "../lib/token.js";
import type { Sheet } from "./svg.js";
import { columnsOf, type Grid, type GridCell, type GridPlace } from "./token-grid.js";

const [ROW, CHARACTER] = [26, 8];

/** A grid of tokens for a file; `names` are the px that the rows' names take. */
export function gridSheet(
  grid: Grid,
  cell: (place: GridPlace) => GridCell,
  { ink, pale }: { ink: string; pale: string },
  names = 96,
): Sheet {
  const { rows, above, below } = grid;
  const columns = columnsOf(grid);
  const shown = (token: string | null | undefined) =>
    pieces(token ?? " ")
      .map(({ text }) => text)
      .join("");
  const lines = [
    ...(above ? [{ name: above.name, cells: above.tokens.map((token): GridCell => ({ text: token ?? "" })) }] : []),
    ...rows.map((name, row) => ({ name, cells: columns.map((_, col) => cell({ row, col })) })),
    ...(below ? [{ name: below.name, cells: below.tokens.map((text): GridCell => ({ text })) }] : []),
  ];
  const widths = columns.map((_, col) =>
    Math.max(32, ...lines.map(({ cells }) => CHARACTER * shown(cells[col]?.text).length + 12)),
  );
  const starts = widths.map((_, col) => widths.slice(0, col).reduce((sum, width) => sum + width, names));
  return {
    width: widths.reduce((sum, width) => sum + width, names),
    height: ROW * lines.length,
    draw: (pen) =>
      lines.forEach(({ name, cells }, line) => {
        const y = ROW * line;
        pen.text(name, 0, y + 18, { color: pale });
        cells.forEach(({ text, background, ink: own }, col) => {
          const [x, width] = [starts[col] as number, widths[col] as number];
          if (background) {
            pen.fillStyle = background;
            pen.fillRect(x + 1, y + 1, width - 2, ROW - 2);
          }
          if (text !== "") pen.text(shown(text), x + width / 2, y + 18, { anchor: "middle", color: own || ink });
        });
      }),
  };
}
