import type { Codec, Codecs } from "../element/view.js";

const numbers = (text: string): number[] => text.split(",").map(Number);

/** Two numbers: "2,8". */
const pair = <A extends string, B extends string>(a: A, b: B): Codec => ({
  write: (value: Record<A | B, number>) => `${value[a]},${value[b]}`,
  read: (text) => {
    const [first, second] = numbers(text);
    return { [a]: first, [b]: second };
  },
});

/** The codecs for the parts of the state that views of attention have: `heads=3,5&selected=left,1`. */
export const CODECS: Codecs = {
  heads: { write: (heads: number[]) => heads.join(), read: numbers },
  cell: pair("row", "col"),
  open: pair("layer", "head"),
  beside: pair("layer", "head"),
  selected: {
    write: ({ side, index, indices = [index] }) => [side, ...indices].join(),
    read: (text) => {
      const [side, ...indices] = text.split(",");
      return { side, indices: indices.map(Number) };
    },
  },
};
