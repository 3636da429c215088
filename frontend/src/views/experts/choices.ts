import type { MixtureData } from "../../element/figure-data.js";

const NONE = 65535;
const STEPS = 65535;

/** An expert with its weight or its probability at a token. */
export interface Share {
  expert: number;
  value: number;
}

/** The experts that a mixture's router chose for each token; `views/router_choices.py` reads the same bytes. */
export class Choices {
  readonly tokens: number;
  private readonly numbers: Uint16Array;

  constructor(
    bytes: Uint8Array,
    readonly mixture: MixtureData,
  ) {
    const { top_k, stored } = mixture;
    this.numbers = numbersOf(bytes);
    this.tokens = this.numbers.length / (stored ? 3 * top_k + 1 : 2 * top_k);
    if (!Number.isInteger(this.tokens))
      throw new Error(`${bytes.length} bytes are not the choices of ${top_k} experts`);
  }

  /** Return the experts of a token with their weights, the heaviest first; none if it was dropped. */
  at(token: number): Share[] {
    const { top_k, scale } = this.mixture;
    const found: Share[] = [];
    for (let i = token * top_k; i < (token + 1) * top_k; i++) {
      const expert = this.numbers[i] as number;
      const step = this.numbers[this.tokens * top_k + i] as number;
      if (expert !== NONE) found.push({ expert, value: (step / STEPS) * scale });
    }
    return found;
  }

  /** Return whether a token went to an expert. */
  went(token: number, expert: number): boolean {
    const { top_k } = this.mixture;
    return this.numbers.subarray(token * top_k, (token + 1) * top_k).includes(expert);
  }

  /** Return the entropy of the router's distribution at a token in bits; null if it is unknown. */
  entropy(token: number): number | null {
    const { top_k, stored, experts } = this.mixture;
    if (!stored) return null;
    return ((this.numbers[3 * this.tokens * top_k + token] as number) / STEPS) * Math.log2(experts);
  }
}

/** The likeliest experts of each token, with the probabilities that the router gives them. */
export class Router {
  private readonly numbers: Uint16Array;
  private readonly tokens: number;

  constructor(
    bytes: Uint8Array,
    private readonly stored: number,
  ) {
    this.numbers = numbersOf(bytes);
    this.tokens = this.numbers.length / (2 * stored);
    if (!Number.isInteger(this.tokens)) throw new Error(`${bytes.length} bytes are not ${stored} experts a token`);
  }

  at(token: number): Share[] {
    const { stored, tokens, numbers } = this;
    return Array.from({ length: stored }, (_, i) => ({
      expert: numbers[token * stored + i] as number,
      value: (numbers[(tokens + token) * stored + i] as number) / STEPS,
    }));
  }
}

function numbersOf(bytes: Uint8Array): Uint16Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(2 * i, true));
}
