/** The share of all choices that fell on each expert. */
export function sharesOf(counts: number[]): number[] {
  const total = counts.reduce((sum, count) => sum + count, 0) || 1;
  return counts.map((count) => count / total);
}

/** The standard deviation over the mean. */
export function variation(shares: number[]): number {
  const mean = 1 / shares.length;
  return Math.sqrt(shares.reduce((sum, share) => sum + (share - mean) ** 2, 0) / shares.length) / mean;
}

export const percent = (share: number): string => `${Number((100 * share).toPrecision(3))}%`;
