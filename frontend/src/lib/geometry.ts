/** The place of a token in a picture of two columns: left ones attend, right ones are attended to. */
export interface TokenRef {
  side: Side;
  index: number;
}

/** The token, or tokens of one side, whose lines are shown. */
export interface Focus extends TokenRef {
  indices?: number[];
}

export type Side = "left" | "right";

/** Indices from start up to, not including, end. */
export interface Range {
  start: number;
  end: number;
}

export const ROW_HEIGHT = 24;
/** The page keeps room for so many rows; longer inputs scroll. */
export const RESERVED_ROWS = 24;

export const opposite = (side: Side): Side => (side === "left" ? "right" : "left");
export const focused = ({ index, indices }: Focus): number[] => indices ?? [index];
export const only = (index: number): Range => ({ start: index, end: index + 1 });
export const inRange = (index: number, { start, end }: Range): boolean => index >= start && index < end;
export const sameRange = (a: Range, b: Range): boolean => a.start === b.start && a.end === b.end;

export function indices({ start, end }: Range): number[] {
  return Array.from({ length: end - start }, (_, i) => start + i);
}
