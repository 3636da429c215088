/** Checks of a state's parts. Each throws a RangeError that names the bad value and what is allowed. */

/** The parts that a change sets must be parts of the state. */
export function partsOf(state: object, change: object): void {
  for (const key of Object.keys(change)) if (!(key in state)) throw new RangeError(`${key}: not a part of the state`);
}

/** A value that must be one of some. */
export function oneOf(name: string, value: unknown, allowed: readonly unknown[]): void {
  if (!allowed.includes(value)) throw new RangeError(`${name} ${value}: not one of ${allowed.map(String).join(", ")}`);
}

/** A number from `least` to `most`, or none. */
export function between(name: string, value: unknown, least: number, most: number): void {
  if (value !== null && !(typeof value === "number" && value >= least && value <= most))
    throw new RangeError(`${name} ${value}: not a number from ${least} to ${most}`);
}

/** A position from 0 to below `end`, or none. */
export function position(name: string, value: unknown, end: number): void {
  between(name, Number.isInteger(value) || value === null ? value : String(value), 0, end - 1);
}
